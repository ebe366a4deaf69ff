//! Tests of what is granted, and of what is not.

use krsi_plugin_schema::latest::{
    Hook, HookSet, IfUnread, IfUnresolved, KeyKind, KeyKinds, Kill, ProcessKey, Refusal, Rule,
    RuleMode, Subject,
};

use super::super::asked::Asked;
use super::grant::PATH_MAX;
use super::*;
use crate::kernel::map::namespace::CgroupError;

/// A plugin without other rules.
const ALONE: Others<'static> = &|_| ();

fn rule() -> Rule<'static> {
    Rule {
        token: 1,
        cause_boot_ns: 0,
        key: RuleKey::File(FileKey { ino: 1, dev: 1, generation: 1 }),
        subject: Subject::Any,
        labels: krsi_plugin_schema::latest::LabelTest::default(),
        hooks: HookSet::default().with(Hook::FileOpen),
        ttl_ms: 1000,
        reason: "".into(),
    }
}

fn only(kind: KeyKind) -> KeyKinds {
    [kind].into_iter().collect()
}

fn asked() -> Asked {
    let deny_hooks = HookSet::default().with(Hook::FileOpen);
    Asked { deny_keys: only(KeyKind::File), deny_hooks, kill: true, ..Asked::default() }
}

fn grant() -> Grant {
    Grant::new(asked(), GrantSpec::default())
}

fn deny(rule: Rule<'static>, errno: u16) -> Option<Refusal> {
    let action =
        Action::Deny(Deny { rule, errno, mode: RuleMode::Enforce, if_unread: IfUnread::Pass });
    check(&grant(), &action).err().map(|error| error.refusal())
}

#[test]
fn the_ungranted_and_the_invalid_are_told_apart() {
    assert_eq!(deny(rule(), 13), None);
    assert_eq!(deny(rule(), 0), Some(Refusal::Invalid));
    assert_eq!(deny(rule(), 512), Some(Refusal::NotGranted));
    assert_eq!(deny(Rule { ttl_ms: 0, ..rule() }, 13), Some(Refusal::NotGranted));
    assert_eq!(deny(Rule { ttl_ms: u64::MAX, ..rule() }, 13), Some(Refusal::NotGranted));
    let key = RuleKey::Process(ProcessKey::default());
    assert_eq!(deny(Rule { key, ..rule() }, 13), Some(Refusal::NotGranted));
    let exec = rule().hooks.with(Hook::BprmCheckSecurity);
    assert_eq!(deny(Rule { hooks: exec, ..rule() }, 13), Some(Refusal::NotGranted));
    assert_eq!(deny(Rule { hooks: HookSet(0), ..rule() }, 13), Some(Refusal::Invalid));
    assert_eq!(deny(Rule { hooks: HookSet(1 << 127), ..rule() }, 13), Some(Refusal::Invalid));
    let allow = Action::Allow(Allow { rule: Rule { ttl_ms: 0, ..rule() } });
    assert_eq!(check(&grant(), &allow), Ok(()));
}

#[test]
fn a_file_that_nothing_tells_from_later_ones_has_no_rules() {
    let machine = Machine { has_generations: Some(|dev| dev == 1), ..Machine::default() };
    let refused = |dev, generation| {
        let rule = Rule { key: RuleKey::File(FileKey { ino: 1, dev, generation }), ..rule() };
        let deny = Deny {
            rule: rule.clone(),
            errno: 1,
            mode: RuleMode::Enforce,
            if_unread: IfUnread::Pass,
        };
        let [deny, allow] = [Action::Deny(deny), Action::Allow(Allow { rule })]
            .map(|action| check_on(&machine, &grant(), &action, ALONE).err());
        assert_eq!(deny, allow);
        deny.map(|error| (error.refusal(), error.to_string()))
    };
    // 0 is a generation where there are generations.
    assert_eq!((refused(1, 0), refused(1, 7), refused(2, 7)), (None, None, None));
    let (refusal, words) = refused(3 << 20 | 2, 0).unwrap();
    assert_eq!(refusal, Refusal::Unsupported);
    assert!(words.starts_with("the file system of 3:2 does not tell"), "{words}");
}

#[test]
fn every_kind_of_key_is_granted_by_its_own_word() {
    let path = |prefix: &str| RuleKey::Path {
        prefix: prefix.to_owned(),
        if_unresolved: IfUnresolved::Pass,
    };
    let keys = [
        (RuleKey::Cgroup(1), KeyKind::Cgroup),
        (path("/etc/"), KeyKind::Path),
        (RuleKey::Digest([1; 32]), KeyKind::Digest),
        (RuleKey::Hook, KeyKind::Hook),
    ];
    for (key, kind) in keys {
        assert_eq!(key.kind(), kind);
        assert_eq!(KeyKind::from_name(&kind.to_string()), Some(kind));
        let action = Action::Deny(Deny {
            rule: Rule { key, ..rule() },
            errno: 1,
            mode: RuleMode::Enforce,
            if_unread: IfUnread::Pass,
        });
        let unasked = check(&grant(), &action).unwrap_err();
        assert_eq!(unasked, CapabilityError::UnaskedKey { key: kind });
        assert!(unasked.to_string().contains("manifest does not ask"), "{unasked}");
        let granted = Grant::new(Asked { deny_keys: only(kind), ..asked() }, GrantSpec::default());
        assert_eq!(check(&granted, &action), Ok(()));
    }
    let asked = Asked { deny_keys: only(KeyKind::Path), ..asked() };
    for prefix in ["", "etc", "/\0", &format!("/{}", "x".repeat(PATH_MAX))] {
        let rule = Rule { key: path(prefix), ..rule() };
        let action = Action::Allow(Allow { rule });
        let granted = Grant::new(asked.clone(), GrantSpec::default());
        assert_eq!(check(&granted, &action), Err(CapabilityError::Path), "{prefix:?}");
    }
}

#[test]
fn what_is_broad_needs_a_word_of_its_own() {
    let hook = Rule { key: RuleKey::Hook, ..rule() };
    let deny =
        Deny { rule: hook.clone(), errno: 1, mode: RuleMode::Enforce, if_unread: IfUnread::Pass };
    let (deny, allow) = (Action::Deny(deny), Action::Allow(Allow { rule: hook }));
    let machine = Machine::default();
    let check = |grant: &Grant, action| check_on(&machine, grant, action, ALONE);
    let error = check(&grant(), &deny).unwrap_err();
    assert_eq!(error.refusal(), Refusal::NotGranted);
    assert!(error.to_string().contains("`broad = true`"), "{error}");
    assert_eq!(check(&grant(), &allow), Ok(()));
    let granted = GrantSpec { broad: true, ..GrantSpec::default() };
    assert_eq!(check(&Grant::new(asked(), granted), &deny), Ok(()));
}

#[test]
fn cgroups_that_tell_nobody_apart_are_no_keys() {
    let why = CgroupError::None;
    let machine = Machine { without_cgroups: Some(why), ..Machine::default() };
    let granted = GrantSpec { broad: true, ..GrantSpec::default() };
    let allow = |key| Action::Allow(Allow { rule: Rule { key, ..rule() } });
    let check = |action| check_on(&machine, &Grant::new(asked(), granted.clone()), &action, ALONE);
    let refused = check(allow(RuleKey::Cgroup(7)));
    assert_eq!(refused, Err(CapabilityError::Cgroups { why }));
    assert_eq!(check(allow(RuleKey::Hook)), Ok(()));
}

#[test]
fn killing_needs_both_words() {
    let kill = Action::Kill(Kill { token: 1, process: ProcessKey::default() });
    let granted = GrantSpec { kill: true, ..GrantSpec::default() };
    assert_eq!(check(&grant(), &kill), Err(CapabilityError::Kill));
    assert_eq!(check(&Grant::new(asked(), granted.clone()), &kill), Ok(()));
    let unasked = Grant::new(Asked::default(), granted);
    assert_eq!(check(&unasked, &kill), Err(CapabilityError::UnaskedKill));
}

#[test]
fn the_operators_word_cuts_what_is_asked() {
    let spec = GrantSpec {
        deny_keys: Some(only(KeyKind::Network)),
        errnos: Some([1].into()),
        ..GrantSpec::default()
    };
    let action = Action::Deny(Deny {
        rule: rule(),
        errno: 1,
        mode: RuleMode::Enforce,
        if_unread: IfUnread::Pass,
    });
    let denied = check(&Grant::new(asked(), spec.clone()), &action);
    assert_eq!(denied, Err(CapabilityError::Key { key: KeyKind::File }));
    let spec = GrantSpec { deny_keys: None, ..spec };
    assert_eq!(check(&Grant::new(asked(), spec.clone()), &action), Ok(()));
    let action = Action::Deny(Deny {
        rule: rule(),
        errno: 13,
        mode: RuleMode::Enforce,
        if_unread: IfUnread::Pass,
    });
    let denied = check(&Grant::new(asked(), spec), &action);
    assert_eq!(denied, Err(CapabilityError::ErrnoGrant { errno: 13 }));
}

#[test]
fn techniques_and_names_are_matched_in_full() {
    let good = ["", "T1496", "T1055.001"];
    let bad = ["T149", "T14960", "T1055.01", "t1496", "T1055.", "T١٤٩٦", "xT1496", "T1496\n"];
    assert!(good.iter().all(|text| is_technique(text)));
    assert!(!bad.iter().any(|text| is_technique(text)));
    assert!(is_metric_name("opens_2") && !is_metric_name("") && !is_metric_name("a b"));
}

#[test]
fn what_runs_already_is_told_to_whom_execs_may_be() {
    let may = |hooks: Option<Hook>| {
        let hooks = hooks.map(|hook| HookSet::default().with(hook));
        let asked = Asked { running: true, ..Asked::default() };
        Grant::new(asked, GrantSpec { hooks, ..GrantSpec::default() }).may().running
    };
    let told = [None, Some(Hook::BprmCommittedCreds), Some(Hook::FileOpen)].map(may);
    assert_eq!(told, [true, true, false]);
}
