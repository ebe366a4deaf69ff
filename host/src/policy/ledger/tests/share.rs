//! Rules that are made again, rules that are checked again, and what one plugin leaves to others.

use super::*;

#[test]
fn a_rule_made_again_is_renewed_under_whatever_token() {
    let mut ledger = ledger();
    let until = |token, end| RuleSpec { expires_boot_ns: end, ..spec(token, net("10.1.2.3/8", 0)) };
    let id = add(&mut ledger, until(1, 2000)).unwrap();
    // The naive plugin, every few seconds under a new token.
    for token in 2..200 {
        assert_eq!(add(&mut ledger, until(token, 2000 + u64::from(token))), Ok(id), "{token}");
    }
    // The same network, written otherwise, with an earlier end.
    let other = RuleSpec { key: net("10.0.0.0/8", 0), ..until(200, 1500) };
    assert_eq!(add(&mut ledger, other), Ok(id));
    assert_eq!((ledger.owned(0), ledger.store.maps.entries.len()), (1, 1));
    assert!(ledger.expire(2198).is_empty());
    assert_eq!(ledger.expire(2199)[0].ending, Some(Ending::Expired));
    assert_eq!(ledger.store.maps, MemoryMaps::default());
    assert!(ledger.identities.is_empty() && ledger.by_token.is_empty());

    // Without end is the latest end; the first token and the last are both answered.
    let id = add(&mut ledger, until(1, 0)).unwrap();
    assert_eq!(add(&mut ledger, until(2, 5000)), Ok(id));
    assert_eq!(ledger.explain(id).unwrap().expires_boot_ns, 0);
    assert_eq!(ledger.revoke(0, 1, NOW).unwrap().rule_id, id);
    assert!(ledger.revoke(0, 2, NOW).is_err());
    // What differs in anything that counts is another rule.
    let id = add(&mut ledger, spec(1, file(5))).unwrap();
    let hooks = HookSet::default().with(Hook::FileOpen).with(Hook::FilePermission);
    let mut others = vec![
        RuleSpec { errno: 1, ..spec(2, file(5)) },
        RuleSpec { subject: Subject::Lineage(process(10)), ..spec(3, file(5)) },
        RuleSpec { hooks, ..spec(4, file(5)) },
    ];
    for other in others.drain(..) {
        let made = add(&mut ledger, other.clone());
        assert!(made.is_ok_and(|made| made != id) || other.token == 4, "{other:?}");
        ledger.revoke(0, other.token, NOW).ok();
    }
    for other in [RuleSpec { owner: 1, ..spec(1, file(5)) }, allow(spec(5, file(5)))] {
        assert_ne!(add(&mut ledger, other).unwrap(), id);
    }
}

#[test]
fn a_renewal_takes_the_token_from_the_rule_that_had_it() {
    let mut ledger = ledger();
    let one = add(&mut ledger, spec(1, file(1))).unwrap();
    let two = add(&mut ledger, spec(2, file(2))).unwrap();
    assert_eq!(add(&mut ledger, spec(2, file(1))), Ok(one));
    assert_eq!(ledger.explain(two).unwrap().ending, Some(Ending::Replaced));
    assert_eq!(ledger.revoke(0, 2, NOW).unwrap().rule_id, one);
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn a_rule_of_init_stays_while_one_of_its_tokens_does() {
    use krsi_plugin_schema::latest::INIT_TOKEN;
    let mut ledger = ledger();
    let init = |at| INIT_TOKEN + at;
    let id = add(&mut ledger, spec(init(3), file(1))).unwrap();
    let gone = add(&mut ledger, spec(init(4), file(2))).unwrap();
    let both = add(&mut ledger, spec(init(5), file(3))).unwrap();
    add(&mut ledger, spec(7, file(3))).unwrap();
    // The next version makes the first rule as its ninth.
    assert_eq!(add(&mut ledger, spec(init(9), file(1))), Ok(id));
    for rule in ledger.ids_of(0) {
        ledger.withdraw_init(rule, &[init(9)].into(), NOW);
    }
    assert_eq!(ledger.explain(gone).unwrap().ending, Some(Ending::Replaced));
    assert!(ledger.revoke(0, init(3), NOW).is_err(), "a token of the version before");
    assert!(ledger.revoke(0, init(5), NOW).is_err());
    assert_eq!(ledger.revoke(0, init(9), NOW).unwrap().rule_id, id);
    assert_eq!(ledger.revoke(0, 7, NOW).unwrap().rule_id, both);
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn rules_that_are_off_take_nothing_from_anybody() {
    let mut ledger = ledger();
    let off =
        |token: u32, key| RuleSpec { mode: Mode::Off, errno: token as u16, ..spec(token, key) };
    for token in 1..=8 {
        add(&mut ledger, off(token, path("/", IfUnresolved::Apply))).unwrap();
        add(&mut ledger, off(10 + token, RuleKey::Lineage(process(10)))).unwrap();
    }
    assert_eq!(ledger.store.maps, MemoryMaps::default());
    let id = add(&mut ledger, RuleSpec { owner: 1, ..spec(1, path("/", IfUnresolved::Pass)) });
    assert_eq!(opens_path(&ledger, Object::Path("/etc")), Some((id.unwrap(), true)));
    ledger.withdraw(1, NOW);
    ledger.withdraw(0, NOW);
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn no_plugin_fills_a_key_a_map_or_a_processs_marks() {
    let mut ledger = ledger();
    let rule = |token: u32, key| RuleSpec { errno: 1 + token as u16, ..spec(token, key) };
    // Slots of one key, those of covering prefixes among them.
    let nested = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32"];
    for (token, text) in (0..).zip(nested) {
        let added = add(&mut ledger, rule(token, net(text, 443)));
        assert_eq!(added.err(), (token == 3).then_some(Refusal::KeyFull), "{text}");
    }
    let other = RuleSpec { owner: 1, ..rule(3, net("10.1.2.0/24", 443)) };
    add(&mut ledger, other).unwrap();
    ledger.withdraw(0, NOW);
    ledger.withdraw(1, NOW);

    // Keys of a map.
    ledger.store.room = Some(16);
    let fill = |ledger: &mut Ledger<Fake>, owner: u8| {
        (0..20)
            .take_while(|at| {
                let key = file(u64::from(owner) * 100 + at);
                add(ledger, RuleSpec { owner, ..spec(*at as u32, key) }).is_ok()
            })
            .count()
    };
    assert_eq!([0, 1, 2, 3].map(|owner| fill(&mut ledger, owner)), [8, 4, 2, 1]);
    assert_eq!(add(&mut ledger, spec(90, file(90))), Err(Refusal::TooManyRules));
    // In place of another one there is room, and in another map.
    add(&mut ledger, spec(0, file(91))).unwrap();
    add(&mut ledger, spec(92, RuleKey::Cgroup(1))).unwrap();
    (0..4).for_each(|owner| drop(ledger.withdraw(owner, NOW)));

    // Marks of a process: each is an ancestor of 31.
    ledger.store.room = None;
    let everybody = Kinship {
        exists: &|_| true,
        descendants: &|_| vec![process(31)],
        running: &|_| Vec::new(),
    };
    let mut lineage = |owner, tgid| {
        let rule = RuleSpec { owner, ..spec(tgid, RuleKey::Lineage(process(tgid))) };
        ledger.add(rule, NOW, everybody).err().map(|error| (error.refusal(), error.to_string()))
    };
    let own = [50, 51, 52].map(|tgid| lineage(0, tgid));
    assert_eq!(own, [None, None, None]);
    let (refusal, why) = lineage(0, 53).unwrap();
    assert!(refusal == Refusal::KeyFull && why.contains("others need the rest"), "{why}");
    // Another plugin finds the last place, and a place in the lineages that are marked already.
    assert_eq!([lineage(1, 54), lineage(1, 50)], [None, None]);
    assert!(lineage(0, 54).is_some());
}

#[test]
fn another_grant_changes_rules_in_force_and_they_come_back() {
    let mut ledger = ledger();
    let kinship = Kinship {
        exists: &|_| true,
        descendants: &|_| vec![process(11)],
        running: &|_| Vec::new(),
    };
    let rule = spec(1, RuleKey::Lineage(process(10)));
    let id = add(&mut ledger, rule).unwrap();
    let in_force = ledger.store.maps.clone();
    let to = |ledger: &mut Ledger<Fake>, mode| {
        ledger.regrant(id, GrantVerdict::Granted(mode), NOW, kinship)
    };
    assert!(to(&mut ledger, Mode::Enforce).is_none(), "nothing changes");
    assert!(matches!(to(&mut ledger, Mode::Audit), Some(Regranted::Changed(_))));
    assert_eq!(opens(&ledger, 11, 1, NOW), Some((id, false)));
    to(&mut ledger, Mode::Off);
    assert_eq!(opens(&ledger, 11, 1, NOW), None);
    let MemoryMaps { entries, marks, flags, .. } = &ledger.store.maps;
    assert!(entries.is_empty() && marks.is_empty() && flags.is_empty(), "{marks:?} {flags:?}");
    to(&mut ledger, Mode::Enforce);
    assert_eq!(opens(&ledger, 11, 1, NOW), Some((id, true)));
    assert_eq!(ledger.store.maps.entries.len(), in_force.entries.len());
    let refused = GrantVerdict::Refused(Refusal::NotGranted, "no more".into());
    let Some(Regranted::Ended(view, refusal, why)) = ledger.regrant(id, refused, NOW, kinship)
    else {
        panic!("in force")
    };
    assert_eq!((refusal, &*why), (Refusal::NotGranted, "no more"));
    assert_eq!(view.ending, Some(Ending::Ungranted));
    assert_eq!(ledger.store.maps, MemoryMaps::default());

    // One that was off and finds no room for what it does now ends, and says so.
    let off = RuleSpec { mode: Mode::Off, ..spec(1, file(1)) };
    let id = add(&mut ledger, off).unwrap();
    for owner in 1..=4 {
        add(&mut ledger, RuleSpec { owner, ..spec(1, file(1)) }).unwrap();
    }
    let became = ledger.regrant(id, GrantVerdict::Granted(Mode::Enforce), NOW, kinship);
    assert!(matches!(became, Some(Regranted::Ended(_, Refusal::KeyFull, _))), "{became:?}");
}

#[test]
fn a_plugin_that_makes_and_ends_rules_hides_nobody_elses() {
    let mut ledger = ledger();
    let other = add(&mut ledger, RuleSpec { owner: 1, ..spec(1, file(1)) }).unwrap();
    ledger.revoke(1, 1, NOW).unwrap();
    for at in 0..3000 {
        add(&mut ledger, spec(1, file(at))).unwrap();
    }
    assert_eq!(ledger.explain(other).unwrap().ending, Some(Ending::Revoked));
}
