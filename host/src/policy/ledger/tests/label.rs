//! Labels: whom leases name, who runs already, and how long a label is in use.

use krsi_plugin_schema::latest::{Label, LabelExec, LabelFull, LabelTest, SetLabel};

use super::super::label_book::LabelError;
use super::*;

fn declared(ledger: &mut Ledger<Fake>, names: &[(&str, LabelExec)], others: Undeclared) {
    let label = |(name, exec): &(&str, LabelExec)| Label {
        name: (*name).to_owned(),
        exec: *exec,
        full: LabelFull::Count,
    };
    let labels: Vec<Label> = names.iter().map(label).collect();
    ledger.declare_labels(&"p".into(), &labels, others).unwrap();
}

fn gives(label: &str, spec: RuleSpec) -> RuleSpec {
    let hooks = HookSet::default().with(Hook::BprmCheckSecurity);
    RuleSpec { mode: Mode::Label, gives: Some(label.into()), hooks, ..spec }
}

fn lacks(label: &str, spec: RuleSpec) -> RuleSpec {
    let labels = LabelTest { has: Vec::new(), lacks: vec![label.to_owned().into()] };
    RuleSpec { labels, ..spec }
}

fn flag_at(ledger: &Ledger<Fake>, hook: AbiHook) -> u64 {
    ledger.store.flag(hook) & flag::LABELS
}

#[test]
fn a_lease_carries_its_labels_and_processes_are_followed_while_there_are_any() {
    let mut ledger = ledger();
    assert_eq!(add(&mut ledger, gives("a", spec(1, file(1)))), Err(Refusal::Invalid));
    declared(&mut ledger, &[("a", LabelExec::Keep), ("b", LabelExec::Drop)], Undeclared::End);
    let followed = [
        AbiHook::SchedProcessFork,
        AbiHook::SchedProcessExit,
        AbiHook::BprmCredsForExec,
        AbiHook::BprmCommittedCreds,
    ];
    assert!(followed.iter().all(|hook| flag_at(&ledger, *hook) != 0));
    add(&mut ledger, gives("b", spec(1, file(1)))).unwrap();
    add(&mut ledger, lacks("a", spec(2, file(2)))).unwrap();
    let lease = |ino| {
        let key = krsi_host_abi::deny::FileKey { ino, dev: 1, generation: 0 };
        ledger.store.maps.entries[&EntryKey::File(key)].slots[0]
    };
    assert_eq!((lease(1).mode, lease(1).label, lease(1).asks_labels()), (5, 1, false));
    assert_eq!((lease(2).if_labels, lease(2).unless_labels), (0, 1));
    // Another key, or another hook of an exec, gives none.
    let digest = gives("a", spec(3, RuleKey::Digest([1; 32])));
    assert!(add(&mut ledger, digest).is_err());
    let hooks = HookSet::default().with(Hook::BprmCredsForExec);
    let other = RuleSpec { hooks, ..gives("a", spec(3, RuleKey::Hook)) };
    assert_eq!(add(&mut ledger, other), Err(Refusal::Invalid));
}

#[test]
fn what_runs_already_is_labelled_with_its_descendants_if_they_would_keep_it() {
    for (exec, expected) in [(LabelExec::Keep, 3), (LabelExec::Drop, 1)] {
        let mut ledger = ledger();
        declared(&mut ledger, &[("a", exec)], Undeclared::End);
        let children = |key: ProcessKey| {
            if key.tgid == 10 { vec![process(11), process(12)] } else { Vec::new() }
        };
        let running = |_: &RuleKey| vec![process(10)];
        let kinship = Kinship { exists: &|_| true, descendants: &children, running: &running };
        let rule = gives("a", spec(1, file(1)));
        ledger.add(RuleSpec { asked: Mode::Label, ..rule }, NOW, kinship).unwrap();
        assert_eq!(ledger.labels()[0].processes, expected);
        // By hand too, and taken again.
        let set = SetLabel {
            token: 1,
            process: process(10),
            descendants: true,
            label: "a".into(),
            gives: false,
        };
        ledger.set_label("p", &set, kinship).unwrap();
        assert_eq!(ledger.labels()[0].processes, 0);
        let error = ledger.set_label("p", &SetLabel { label: "b".into(), ..set }, kinship);
        assert!(matches!(error, Err(LedgerError::Label(LabelError::Undeclared { .. }))));
    }
}

#[test]
fn a_label_that_is_declared_no_more_ends_when_no_rule_names_it() {
    let mut ledger = ledger();
    declared(&mut ledger, &[("a", LabelExec::Keep)], Undeclared::End);
    let everybody = Kinship {
        exists: &|_| true,
        descendants: &|_| Vec::new(),
        running: &|_| vec![process(20)],
    };
    let rule = gives("a", spec(1, file(1)));
    ledger.add(RuleSpec { asked: Mode::Label, ..rule }, NOW, everybody).unwrap();
    let asks = add(&mut ledger, lacks("a", spec(2, file(2)))).unwrap();
    // A version on probation declares it no more: the one before may come back.
    declared(&mut ledger, &[("b", LabelExec::Keep)], Undeclared::Stay);
    ledger.expire(NOW);
    assert_eq!(ledger.labels().len(), 2);
    declared(&mut ledger, &[("b", LabelExec::Keep)], Undeclared::End);
    ledger.revoke(0, 1, NOW).unwrap();
    ledger.expire(NOW);
    assert_eq!(ledger.labels()[0].processes, 1, "a rule names it");
    assert!(ledger.refuses_who_lacks(asks));
    ledger.revoke(0, 2, NOW).unwrap();
    ledger.expire(NOW);
    let views = ledger.labels();
    assert_eq!(views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>(), ["p.b"]);
    assert!(ledger.store.maps.labels.values().all(|bits| *bits == 0));
    assert_eq!(ledger.store.maps.label_rules.live, views[0].bit);
    declared(&mut ledger, &[], Undeclared::End);
    ledger.expire(NOW);
    assert_eq!(flag_at(&ledger, AbiHook::SchedProcessFork), 0);
}

#[test]
fn the_administrator_sees_who_has_which_label_and_clears_a_process() {
    let mut ledger = ledger();
    declared(&mut ledger, &[("a", LabelExec::Keep), ("b", LabelExec::Drop)], Undeclared::End);
    let kinship =
        Kinship { exists: &|_| true, descendants: &|_| Vec::new(), running: &|_| Vec::new() };
    for (tgid, label) in [(11, "a"), (10, "a"), (10, "b")] {
        let (process, label) = (process(tgid), label.into());
        let set = SetLabel { token: 1, process, descendants: false, label, gives: true };
        ledger.set_label("p", &set, kinship).unwrap();
    }
    let has = |ledger: &Ledger<_>| -> Vec<(u32, String)> {
        let labelled = ledger.labelled().unwrap().into_iter();
        labelled.map(|(tgid, labels)| (tgid, labels.join(" "))).collect()
    };
    assert_eq!(has(&ledger), [(10, "p.a p.b".to_owned()), (11, "p.a".to_owned())]);
    assert_eq!(ledger.clear_labels(10).unwrap(), ["p.a", "p.b"]);
    assert_eq!(has(&ledger), [(11, "p.a".to_owned())]);
    assert_eq!(ledger.clear_labels(10).unwrap(), [""; 0]);
}

#[test]
fn a_label_that_a_watch_names_keeps_its_number_until_the_watch_is_gone() {
    let mut ledger = ledger();
    declared(&mut ledger, &[("a", LabelExec::Keep)], Undeclared::End);
    let names = ledger.published_labels();
    ledger.hold_labels(1);
    ledger.declare_labels(&"p".into(), &[], Undeclared::End).unwrap();
    ledger.expire(NOW);
    assert_eq!((ledger.labels().len(), ledger.held_labels()), (1, 1));
    assert_eq!(names.now().of(1, 0).had, ["p.a"]);
    ledger.hold_labels(0);
    ledger.expire(NOW);
    assert_eq!(ledger.labels().len(), 0);
    assert_eq!(names.now().of(1, 0).had.len(), 0);
    // A plugin of the administrator's name has no labels, and takes none of his.
    let own = [Label { name: "own".into(), exec: LabelExec::Keep, full: LabelFull::Count }];
    ledger.declare_own_labels(&own).unwrap();
    assert_eq!(ledger.check_labels("host", &own), Err(LabelError::Host));
    assert!(ledger.declare_labels(&"host".into(), &own, Undeclared::End).is_err());
    ledger.declare_labels(&"host".into(), &[], Undeclared::End).unwrap();
    ledger.expire(NOW);
    assert_eq!(ledger.named_label(None, "host.own"), Ok(56));
}
