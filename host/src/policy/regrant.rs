//! What a grant says of a rule that is in force already: the operator may have said something else since.

use krsi_host_abi::deny::Mode;
use krsi_plugin_schema::latest::{
    Action, Allow, Deny, LabelRule, ProcessKey, Refusal, Rule, RuleKey, RuleMode, Subject,
};

use super::broad::Machine;
use super::capability::{self, Grant};
use super::ledger::{GrantVerdict, RuleSpec};
use super::turns::Others;
use crate::route::scope::Scope;

/// Nanoseconds of a millisecond.
const MS_NS: u64 = 1_000_000;

/// What a grant says of a rule in force: that it may be made now, on this machine and beside the plugin's
/// others, for as long as it has left. `within` tells whether a process lies within the grant's scope.
#[must_use]
pub(crate) fn recheck_rule(
    (grant, machine): (&Grant, &Machine),
    rule: &RuleSpec,
    others: Others<'_>,
    now_boot_ns: u64,
    within: &dyn Fn(ProcessKey) -> bool,
) -> GrantVerdict {
    let action = remade(rule, now_boot_ns);
    let checked = capability::check(grant, &action)
        .and_then(|()| capability::check_on(machine, grant, &action, others));
    let refused = match checked {
        Err(error) => Some((error.refusal(), error.to_string())),
        Ok(()) if applies_beyond_scope(grant, rule, within) => {
            let scope = &grant.spec().scope;
            Some((Refusal::OutOfScope, format!("only {scope} may be concerned")))
        }
        Ok(()) => None,
    };
    match refused {
        Some((refusal, why)) => GrantVerdict::Refused(refusal, why),
        None => GrantVerdict::Granted(grant.mode_of(rule.asked)),
    }
}

/// The action that would make a rule now.
fn remade(spec: &RuleSpec, now_boot_ns: u64) -> Action<'static> {
    let left_ms = match spec.expires_boot_ns {
        0 => 0,
        until => until.saturating_sub(now_boot_ns).div_ceil(MS_NS).max(1),
    };
    let rule = Rule {
        token: spec.token,
        cause_boot_ns: 0,
        key: spec.key.clone(),
        subject: spec.subject,
        labels: spec.labels.clone(),
        hooks: spec.hooks,
        ttl_ms: left_ms,
        reason: "".into(),
    };
    let (errno, if_unread) = (spec.errno, spec.if_unread);
    let mode = match spec.asked {
        Mode::Allow => return Action::Allow(Allow { rule }),
        Mode::Label => {
            let label = spec.gives.as_deref().unwrap_or_default().to_owned().into();
            return Action::LabelRule(LabelRule { rule, label });
        }
        Mode::Enforce => RuleMode::Enforce,
        Mode::Audit => RuleMode::Audit,
        Mode::Off => RuleMode::Off,
    };
    Action::Deny(Deny { rule, errno, mode, if_unread })
}

/// Whether a rule concerns anybody outside of a grant's scope.
pub(super) fn applies_beyond(
    scope: &Scope,
    (subject, key): (Subject, &RuleKey),
    within: &dyn Fn(ProcessKey) -> bool,
) -> bool {
    if *scope == Scope::System {
        return false;
    }
    match (subject, key) {
        (Subject::Lineage(root), _) => !within(root),
        (Subject::Any, RuleKey::Process(root) | RuleKey::Lineage(root)) => !within(*root),
        // What is no process lies within no scope, whatever kinds of keys there are.
        (Subject::Any, _) => true,
    }
}

fn applies_beyond_scope(
    grant: &Grant,
    rule: &RuleSpec,
    within: &dyn Fn(ProcessKey) -> bool,
) -> bool {
    applies_beyond(&grant.spec().scope, (rule.subject, &rule.key), within)
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{FileKey, Hook, HookSet, IfUnread, KeyKind};

    use super::super::asked::Asked;
    use super::super::capability::GrantSpec;
    use super::*;

    const NOW: u64 = 5_000_000_000;

    fn rule() -> RuleSpec {
        RuleSpec {
            owner: 0,
            plugin: "p".into(),
            token: 1,
            key: RuleKey::File(FileKey { ino: 1, dev: 1, generation: 0 }),
            subject: Subject::Any,
            hooks: HookSet::default().with(Hook::FileOpen),
            errno: 13,
            asked: Mode::Enforce,
            mode: Mode::Enforce,
            if_unread: IfUnread::Pass,
            labels: Default::default(),
            gives: None,
            expires_boot_ns: NOW + 60_000 * MS_NS,
            reason: String::new(),
            cause_boot_ns: 0,
            max_rules: 1,
        }
    }

    fn judged(spec: GrantSpec, rule: &RuleSpec) -> GrantVerdict {
        let asked = Asked {
            deny_keys: [KeyKind::File, KeyKind::Process].into_iter().collect(),
            deny_hooks: HookSet::default().with(Hook::FileOpen),
            ..Asked::default()
        };
        let (grant, machine) = (Grant::new(asked, spec), Machine::default());
        recheck_rule((&grant, &machine), rule, &|_| (), NOW, &|key| key.tgid == 7)
    }

    #[test]
    fn a_broad_rule_ends_when_its_grant_is_taken_back() {
        let asked = Asked {
            deny_keys: [KeyKind::Network].into_iter().collect(),
            deny_hooks: HookSet::default().with(Hook::SocketConnect),
            ..Asked::default()
        };
        let network = |address: &str, prefix| RuleSpec {
            key: RuleKey::Network { address: address.parse().unwrap(), prefix, port: 443 },
            hooks: HookSet::default().with(Hook::SocketConnect),
            ..rule()
        };
        let judged = |broad, rule: &RuleSpec, others: &[(&str, u8)]| {
            let spec = GrantSpec { broad, ..GrantSpec::default() };
            let (grant, machine) = (Grant::new(asked.clone(), spec), Machine::default());
            let others: Vec<RuleSpec> =
                others.iter().map(|(ip, bits)| network(ip, *bits)).collect();
            let others = |see: &mut dyn FnMut(&RuleSpec)| others.iter().for_each(see);
            recheck_rule((&grant, &machine), rule, &others, NOW, &|_| true)
        };
        let refused = |verdict| match verdict {
            GrantVerdict::Refused(Refusal::NotGranted, why) => {
                assert!(why.contains("`broad"), "{why}")
            }
            other => panic!("{other:?}"),
        };
        let granted = GrantVerdict::Granted(Mode::Enforce);
        let wide = network("10.0.0.0", 8);
        refused(judged(false, &wide, &[]));
        assert_eq!(judged(true, &wide, &[]), granted);
        // Together with what is in force beside it.
        let half = network("10.0.0.0", 9);
        refused(judged(false, &half, &[("10.128.0.0", 9)]));
        assert_eq!(judged(false, &half, &[]), granted);
    }

    #[test]
    fn a_rule_in_force_is_judged_by_every_word_of_the_grant() {
        let base = GrantSpec::default;
        assert_eq!(judged(base(), &rule()), GrantVerdict::Granted(Mode::Enforce));
        let refused = |spec: GrantSpec, rule: &RuleSpec, words: &str| match judged(spec, rule) {
            GrantVerdict::Refused(refusal, why) => {
                assert!(why.contains(words), "{why}");
                refusal
            }
            granted @ GrantVerdict::Granted(_) => panic!("{words}: {granted:?}"),
        };
        let keys = GrantSpec { deny_keys: Some([KeyKind::Path].into_iter().collect()), ..base() };
        assert_eq!(refused(keys, &rule(), "rules on file keys"), Refusal::NotGranted);
        let hooks = Some(HookSet::default().with(Hook::SocketConnect));
        refused(GrantSpec { deny_hooks: hooks, ..base() }, &rule(), "rules on file_open");
        refused(GrantSpec { errnos: Some([1].into()), ..base() }, &rule(), "EACCES");
        let short = GrantSpec { max_ttl_ms: 59_999, ..base() };
        refused(short.clone(), &rule(), "a life of 60000 ms");
        // Its time is nearly over: what is left of it is granted.
        let old = RuleSpec { expires_boot_ns: NOW + 1, ..rule() };
        assert_eq!(judged(short, &old), GrantVerdict::Granted(Mode::Enforce));
        let lasting = RuleSpec { expires_boot_ns: 0, ..rule() };
        refused(base(), &lasting, "without end");
        let permanent = GrantSpec { permanent: true, ..base() };
        assert_eq!(judged(permanent, &lasting), GrantVerdict::Granted(Mode::Enforce));
        let scope = GrantSpec { scope: Scope::Uid(7), ..base() };
        assert_eq!(refused(scope.clone(), &rule(), "only uid 7"), Refusal::OutOfScope);
        let process = |tgid| RuleSpec {
            key: RuleKey::Process(ProcessKey { tgid, start_boot_ns: 1 }),
            ..rule()
        };
        refused(scope.clone(), &process(8), "only uid 7");
        assert_eq!(judged(scope, &process(7)), GrantVerdict::Granted(Mode::Enforce));
    }

    #[test]
    fn a_mode_goes_down_and_comes_back() {
        let mode = |mode, asked| {
            let spec = GrantSpec { mode, ..GrantSpec::default() };
            judged(spec, &RuleSpec { asked, ..rule() })
        };
        for (granted, asked, expected) in [
            (RuleMode::Enforce, Mode::Enforce, Mode::Enforce),
            (RuleMode::Enforce, Mode::Audit, Mode::Audit),
            (RuleMode::Enforce, Mode::Off, Mode::Off),
            (RuleMode::Enforce, Mode::Allow, Mode::Allow),
            (RuleMode::Audit, Mode::Enforce, Mode::Audit),
            (RuleMode::Audit, Mode::Audit, Mode::Audit),
            (RuleMode::Audit, Mode::Off, Mode::Off),
            (RuleMode::Audit, Mode::Allow, Mode::Allow),
            (RuleMode::Off, Mode::Enforce, Mode::Off),
            (RuleMode::Off, Mode::Audit, Mode::Off),
            (RuleMode::Off, Mode::Off, Mode::Off),
            (RuleMode::Off, Mode::Allow, Mode::Off),
        ] {
            assert_eq!(
                mode(granted, asked),
                GrantVerdict::Granted(expected),
                "{granted:?} {asked:?}"
            );
        }
    }
}
