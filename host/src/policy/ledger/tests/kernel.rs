//! Which of several rules decides a call: the order of keys, `allow`, protocols, labels, digests, lineages by fork.

use krsi_plugin_schema::latest::{Label, LabelExec, LabelFull, LabelTest};

use super::super::memory::{CallAddress, CallKeys, CallPath, Ruling};
use super::*;

/// A call of process 11 that opens file 7, which is `/etc/shadow`, in cgroup 5.
fn open(ledger: &Ledger<Fake>) -> Option<u64> {
    let object = CallKeys {
        cgroup: 5,
        file: Some(krsi_host_abi::deny::FileKey { ino: 7, dev: 1, generation: 0 }),
        path: CallPath::At("/etc/shadow"),
        ..CallKeys::default()
    };
    let decided = ledger.store.maps.decide(AbiHook::FileOpen, abi(process(11)), &object, NOW);
    decided.by.map(|(rule_id, _)| rule_id)
}

fn connect(ledger: &Ledger<Fake>, to: &str, protocol: u16) -> Option<u64> {
    let to = Some(CallAddress::new(to.parse().unwrap(), protocol));
    let object = CallKeys { to, ..CallKeys::default() };
    let decided = ledger.store.maps.decide(AbiHook::SocketConnect, abi(process(1)), &object, NOW);
    decided.by.map(|(rule_id, _)| rule_id)
}

#[test]
fn the_first_key_in_the_order_of_the_kernel_decides() {
    let mut ledger = ledger();
    let keys = [
        RuleKey::Hook,
        path("/etc", IfUnresolved::Pass),
        path("/etc/shadow", IfUnresolved::Pass),
        file(7),
        RuleKey::Cgroup(5),
        RuleKey::Lineage(process(10)),
        RuleKey::Process(process(11)),
    ];
    // Each of them comes before those that are in force already, whatever its id.
    for (token, key) in (1..).zip(keys) {
        let id = add(&mut ledger, spec(token, key.clone())).unwrap();
        assert_eq!(open(&ledger), Some(id), "{key:?}");
    }
    // An `allow` lifts what is looked up at its key, whatever its id, and after it; not what comes before.
    add(&mut ledger, allow(spec(8, file(7)))).unwrap();
    let of_process = open(&ledger);
    assert!(of_process.is_some());
    for token in 5..=7 {
        ledger.revoke(0, token, NOW).unwrap();
    }
    assert_eq!(open(&ledger), None);
    let others = add(&mut ledger, RuleSpec { owner: 1, ..spec(9, RuleKey::Hook) }).unwrap();
    assert_eq!(open(&ledger), Some(others));
}

#[test]
fn a_destination_is_looked_up_with_its_port_and_then_on_every_port() {
    let mut ledger = ledger();
    let wide = add(&mut ledger, spec(1, net("10.0.0.0/8", 25))).unwrap();
    // More specific, but of every port: looked up after.
    add(&mut ledger, allow(spec(2, net("10.1.1.1/32", 0)))).unwrap();
    assert_eq!(connect(&ledger, "10.1.1.1:25", 6), Some(wide));
    add(&mut ledger, allow(spec(3, net("10.1.1.1/32", 25)))).unwrap();
    assert_eq!(connect(&ledger, "10.1.1.1:25", 6), None);
    assert_eq!(connect(&ledger, "10.1.1.2:25", 6), Some(wide));
    assert_eq!(connect(&ledger, "[::ffff:10.1.1.2]:25", 6), Some(wide));
    // The longest prefix carries what covers it: another owner's is not hidden.
    let other = add(&mut ledger, RuleSpec { owner: 1, ..spec(4, net("10.1.0.0/16", 25)) }).unwrap();
    assert_eq!(connect(&ledger, "10.1.1.1:25", 6), Some(other));
    let udp = RuleKey::Transport {
        address: "10.2.0.0".parse().unwrap(),
        prefix: 16,
        port: 53,
        protocol: 17,
    };
    let udp = add(&mut ledger, spec(5, udp)).unwrap();
    let asked = [17, 6].map(|protocol| connect(&ledger, "10.2.1.1:53", protocol));
    assert_eq!(asked, [Some(udp), None]);
    // An unspecified address leads to the machine's own.
    let own = add(&mut ledger, spec(6, net("127.0.0.1/32", 80))).unwrap();
    assert_eq!(connect(&ledger, "0.0.0.0:80", 6), Some(own));
    assert_eq!(connect(&ledger, "[::]:80", 6), Some(own));
}

#[test]
fn labels_are_given_by_what_passes_and_asked_for_by_rules() {
    let mut ledger = ledger();
    ledger.set_digests(Ok(()));
    let label = |name: &str, exec| Label { name: name.into(), exec, full: LabelFull::Count };
    let labels = [label("keep", LabelExec::Keep), label("drop", LabelExec::Drop)];
    ledger.declare_labels(&"p".into(), &labels, Undeclared::End).unwrap();
    let gives = |token, name: &str, ino, hook| RuleSpec {
        mode: Mode::Label,
        gives: Some(name.into()),
        hooks: HookSet::default().with(hook),
        ..spec(token, file(ino))
    };
    add(&mut ledger, gives(1, "drop", 1, Hook::FileOpen)).unwrap();
    add(&mut ledger, gives(2, "keep", 2, Hook::BprmCheckSecurity)).unwrap();
    let has = |token, name: &str, ino| RuleSpec {
        labels: LabelTest { has: vec![name.to_owned().into()], lacks: Vec::new() },
        ..spec(token, file(ino))
    };
    let by_drop = add(&mut ledger, has(3, "drop", 3)).unwrap();
    let by_keep = add(&mut ledger, has(4, "keep", 4)).unwrap();
    let (one, child) = (abi(process(20)), abi(process(21)));
    let call = |ledger: &mut Ledger<Fake>, hook, who, ino| -> Ruling {
        let file = Some(krsi_host_abi::deny::FileKey { ino, dev: 1, generation: 0 });
        let object = CallKeys { file, ..CallKeys::default() };
        ledger.store.maps.call(hook, who, &object, NOW)
    };
    let opens = |ledger: &mut Ledger<Fake>, who, ino| {
        call(ledger, AbiHook::FileOpen, who, ino).by.map(|(rule_id, _)| rule_id)
    };
    assert_eq!(opens(&mut ledger, one, 3), None);
    assert_eq!(opens(&mut ledger, one, 1), None);
    assert_eq!(opens(&mut ledger, one, 3), Some(by_drop));
    ledger.store.maps.fork(one, child);
    assert_eq!(opens(&mut ledger, child, 3), Some(by_drop));
    // What an exec gives is given at its end, and what it takes is taken then.
    call(&mut ledger, AbiHook::BprmCheckSecurity, one, 2);
    assert_eq!(opens(&mut ledger, one, 4), None);
    ledger.store.maps.exec_done(one);
    assert_eq!((opens(&mut ledger, one, 4), opens(&mut ledger, one, 3)), (Some(by_keep), None));
    // One that failed before its end gives nothing to the next.
    call(&mut ledger, AbiHook::BprmCheckSecurity, child, 2);
    call(&mut ledger, AbiHook::BprmCheckSecurity, child, 9);
    ledger.store.maps.exec_done(child);
    assert_eq!(opens(&mut ledger, child, 4), None);
    // An open on the way to an exec gives nothing.
    let file = Some(krsi_host_abi::deny::FileKey { ino: 1, dev: 1, generation: 0 });
    let object = CallKeys { file, is_executed: true, ..CallKeys::default() };
    ledger.store.maps.call(AbiHook::FileOpen, child, &object, NOW);
    assert_eq!(opens(&mut ledger, child, 3), None);
}

#[test]
fn a_digest_is_asked_for_after_all_other_keys() {
    let mut ledger = ledger();
    ledger.set_digests(Ok(()));
    let exec = |spec| RuleSpec { hooks: HookSet::default().with(Hook::BprmCheckSecurity), ..spec };
    let by_digest = add(&mut ledger, exec(spec(1, RuleKey::Digest([3; 32])))).unwrap();
    let decide = |ledger: &Ledger<Fake>, digest| {
        let file = Some(krsi_host_abi::deny::FileKey { ino: 7, dev: 1, generation: 0 });
        let object = CallKeys { file, digest: Some([digest; 32]), ..CallKeys::default() };
        let who = abi(process(1));
        ledger.store.maps.decide(AbiHook::BprmCheckSecurity, who, &object, NOW)
    };
    let id = |decided: Ruling| decided.by.map(|(rule_id, _)| rule_id);
    assert_eq!((id(decide(&ledger, 3)), id(decide(&ledger, 4))), (Some(by_digest), None));
    // What would be refused for its file is reported, unless the digest is refused.
    let audit = RuleSpec { mode: Mode::Audit, ..exec(spec(2, file(7))) };
    let audit = add(&mut ledger, audit).unwrap();
    assert_eq!((id(decide(&ledger, 4)), decide(&ledger, 4).is_denied), (Some(audit), false));
    assert_eq!((id(decide(&ledger, 3)), decide(&ledger, 3).is_denied), (Some(by_digest), true));
    let by_file = add(&mut ledger, RuleSpec { owner: 1, ..exec(spec(3, file(7))) }).unwrap();
    assert_eq!(id(decide(&ledger, 3)), Some(by_file));
}
