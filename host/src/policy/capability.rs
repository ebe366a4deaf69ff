//! What a plugin may do: what it asked for, cut to what the operator grants.
//!
//! Without configuration the grant is: observe, alert, and deny with an expiry; no kill.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use krsi_host_abi::deny::{MAX_ERRNO, Mode};
use krsi_plugin_schema::latest::{
    Action, Allow, Deny, FileKey, Hook, HookSet, KeyKind, KeyKinds, LabelRule, Refusal, Rule,
    RuleKey, RuleMode,
};

use super::asked::{Asked, AskedWatch};
use super::broad::{Breadth, Machine};
use crate::errno::errno_name;
use crate::kernel::map::namespace::CgroupError;
use crate::route::scope::Scope;

/// Rules that a plugin may have in force.
pub(crate) const RULES_MAX: usize = 4096;
/// Longest life of a rule, a day: a plugin that still wants it asks again.
pub(crate) const TTL_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Longest path prefix of a rule.
pub(crate) const PATH_MAX: usize = 255;
/// Errnos that user space knows (`include/uapi/asm-generic/errno.h`). From 512 on the kernel keeps
/// some for itself, such as `ERESTARTSYS`, that would make a system call restart forever.
pub(crate) const ERRNOS: RangeInclusive<u16> = 1..=133;

/// The operator's word on a plugin. What is `None` follows the manifest as it was first accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantSpec {
    /// Hooks it may see.
    pub hooks: Option<HookSet>,
    /// Hooks its rules may refuse.
    pub deny_hooks: Option<HookSet>,
    /// Kinds of keys.
    pub deny_keys: Option<KeyKinds>,
    /// Whether it may kill.
    pub kill: bool,
    /// Errnos it may answer; `None` for [`ERRNOS`].
    pub errnos: Option<Arc<[u16]>>,
    /// Longest life of a rule, milliseconds.
    pub max_ttl_ms: u64,
    /// Whether a denial may be without end.
    pub permanent: bool,
    /// Whether its denials may be broad ([`super::broad`]).
    pub broad: bool,
    /// Whether its watches may read whatever the kernel's types lead to.
    pub deep: bool,
    /// Rules it may have in force.
    pub max_rules: usize,
    /// Actions of one call that are executed.
    pub actions_max: usize,
    /// Updates of maps of one call after which its further actions are refused.
    pub writes_max: u64,
    pub alerts_per_second: u32,
    /// Whose events it may see, and whom its rules may concern.
    pub scope: Scope,
    /// The most that its rules do.
    pub mode: RuleMode,
}

impl Default for GrantSpec {
    fn default() -> Self {
        Self {
            hooks: None,
            deny_hooks: None,
            deny_keys: None,
            kill: false,
            errnos: None,
            max_ttl_ms: TTL_MAX_MS,
            permanent: false,
            broad: false,
            deep: false,
            max_rules: RULES_MAX,
            actions_max: 1024,
            writes_max: 16_384,
            alerts_per_second: 100,
            scope: Scope::System,
            mode: RuleMode::Enforce,
        }
    }
}

/// What a plugin may do: asked for and granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    asked: Asked,
    may: Asked,
    spec: GrantSpec,
}

/// Why an action is refused before anything is touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// A kind of key that the plugin's manifest does not ask for.
    #[error("the plugin's manifest does not ask for rules on {key} keys")]
    UnaskedKey {
        /// The kind.
        key: KeyKind,
    },
    /// A hook that the plugin's manifest does not ask for.
    #[error(
        "the plugin's manifest does not ask to refuse calls of {hook}: its author adds `deny_hook`",
        hook = hook.name()
    )]
    UnaskedHook {
        /// The hook whose calls the rule would decide.
        hook: Hook,
    },
    /// A label that the plugin's manifest does not declare.
    #[error("the plugin's manifest declares no label {label:?}: its author adds `label`")]
    UnaskedLabel {
        /// Its name.
        label: String,
    },
    /// A label that was not granted.
    #[error("the label {label:?} is not granted: `--accept` takes what a new version declares")]
    Label {
        /// Its name.
        label: String,
    },
    /// Killing that the plugin's manifest does not ask for.
    #[error("the plugin's manifest does not ask to kill")]
    UnaskedKill,
    /// A kind of key that was not granted.
    #[error("rules on {key} keys are not granted")]
    Key {
        /// The kind.
        key: KeyKind,
    },
    /// A hook that was not granted.
    #[error("rules on {hook} are not granted", hook = hook.name())]
    Hook {
        /// The hook whose calls the rule would decide.
        hook: Hook,
    },
    #[error("the rule names no hook")]
    NoHook,
    /// Bits that are no hook.
    #[error("the rule names hooks that the contract does not have: {bits:#x}")]
    UnknownHook { bits: u128 },
    /// An errno that is none.
    #[error("errno {errno} is not from 1 to {MAX_ERRNO}")]
    Errno { errno: u16 },
    /// An errno outside what was granted.
    #[error("{} is not granted", errno_name(*errno))]
    ErrnoGrant { errno: u16 },
    /// A life that is too long.
    #[error("a life of {ttl_ms} ms is not granted, at most {max_ms} ms are")]
    Ttl { ttl_ms: u64, max_ms: u64 },
    /// No end.
    #[error("a denial without end is not granted, at most {max_ms} ms are")]
    Permanent { max_ms: u64 },
    /// Too much at once.
    #[error("{breadth}, and broad denials are not granted: `broad = true` grants them")]
    Broad { breadth: Breadth },
    /// Cgroups tell nobody apart.
    #[error("rules on cgroup keys are not available: {why}")]
    Cgroups {
        /// Why cgroups tell nobody apart.
        why: CgroupError,
    },
    /// A file that is not told from later ones.
    #[error(
        "the file system of {}:{} does not tell its files from later ones with their numbers: a rule by path or digest can be made",
        dev >> 20,
        dev & 0xf_ffff
    )]
    Generation {
        /// The device, as the kernel encodes it.
        dev: u32,
    },
    /// A path that no path can start with.
    #[error("the path is not 1 to {PATH_MAX} bytes from a slash on")]
    Path,
    #[error("kill is not granted")]
    Kill,
    /// Not an ATT&CK technique.
    #[error("the technique does not look like T1496 or T1055.001")]
    Technique,
    /// Not a metric's name.
    #[error("the metric's name is not 1 to 64 of a-z, 0-9 and _")]
    MetricName,
    /// Not a number.
    #[error("the metric's value is not a finite number")]
    MetricValue,
}

impl CapabilityError {
    /// What the plugin is told.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::UnaskedKey { .. }
            | Self::UnaskedHook { .. }
            | Self::UnaskedKill
            | Self::UnaskedLabel { .. }
            | Self::Label { .. }
            | Self::Key { .. }
            | Self::Hook { .. }
            | Self::ErrnoGrant { .. }
            | Self::Ttl { .. }
            | Self::Permanent { .. }
            | Self::Broad { .. }
            | Self::Kill => Refusal::NotGranted,
            Self::Cgroups { .. } | Self::Generation { .. } => Refusal::Unsupported,
            Self::NoHook
            | Self::UnknownHook { .. }
            | Self::Errno { .. }
            | Self::Path
            | Self::Technique
            | Self::MetricName
            | Self::MetricValue => Refusal::Invalid,
        }
    }
}

impl GrantSpec {
    /// What the operator grants of what was accepted: explicit words stand, the rest follows
    /// `accepted`.
    #[must_use]
    pub fn of(&self, accepted: &Asked) -> Asked {
        Asked {
            hooks: self.hooks.unwrap_or(accepted.hooks),
            deny_hooks: self.deny_hooks.unwrap_or(accepted.deny_hooks),
            deny_keys: self.deny_keys.unwrap_or(accepted.deny_keys),
            watches: accepted.watches.clone(),
            filters: accepted.filters.clone(),
            labels: accepted.labels.clone(),
            kill: self.kill,
        }
    }

    pub(super) fn check_errno(&self, errno: u16) -> Result<(), CapabilityError> {
        if !(1..=MAX_ERRNO).contains(&errno) {
            return Err(CapabilityError::Errno { errno });
        }
        let granted = match &self.errnos {
            Some(errnos) => errnos.contains(&errno),
            None => ERRNOS.contains(&errno),
        };
        if granted { Ok(()) } else { Err(CapabilityError::ErrnoGrant { errno }) }
    }
}

impl Grant {
    /// What a plugin may do that asks for `asked`.
    #[must_use]
    pub fn new(asked: Asked, spec: GrantSpec) -> Self {
        let mut granted = spec.of(&asked);
        let refused = spec.refused_watches(&asked.watches);
        let is_refused = |watch: &&AskedWatch| refused.iter().any(|(other, _)| *other == *watch);
        granted.watches =
            asked.watches.iter().filter(|watch| !is_refused(watch)).cloned().collect();
        Self { may: asked.clone().cut_to(&granted), asked, spec }
    }

    /// Kinds of keys, hooks and killing that it may.
    #[must_use]
    pub const fn may(&self) -> &Asked {
        &self.may
    }

    /// The operator's numbers.
    #[must_use]
    pub const fn spec(&self) -> &GrantSpec {
        &self.spec
    }

    /// What a rule does of what its plugin asks: no more than the operator lets it.
    #[must_use]
    pub const fn mode_of(&self, asked: Mode) -> Mode {
        match (self.spec.mode, asked) {
            (RuleMode::Off, _) | (_, Mode::Off) => Mode::Off,
            (_, Mode::Allow) => Mode::Allow,
            // Or what a later rule would say in an audit could not be known.
            (_, Mode::Label) => Mode::Label,
            (RuleMode::Audit, _) | (_, Mode::Audit) => Mode::Audit,
            (RuleMode::Enforce, Mode::Enforce) => Mode::Enforce,
        }
    }

    fn check_label(&self, name: &str) -> Result<(), CapabilityError> {
        let among = |asked: &Asked| asked.labels.iter().any(|label| label.name == name);
        let label = name.to_owned();
        if !among(&self.asked) {
            return Err(CapabilityError::UnaskedLabel { label });
        }
        if among(&self.may) { Ok(()) } else { Err(CapabilityError::Label { label }) }
    }

    fn check_rule(&self, rule: &Rule<'_>) -> Result<(), CapabilityError> {
        let key = rule.key.kind();
        if !self.asked.deny_keys.contains(key) {
            return Err(CapabilityError::UnaskedKey { key });
        }
        if !self.may.deny_keys.contains(key) {
            return Err(CapabilityError::Key { key });
        }
        for label in rule.labels.has.iter().chain(&rule.labels.lacks) {
            self.check_label(label)?;
        }
        if rule.hooks.is_empty() {
            return Err(CapabilityError::NoHook);
        }
        if !rule.hooks.is_known() {
            return Err(CapabilityError::UnknownHook { bits: rule.hooks.0 });
        }
        if let Some(hook) = rule.hooks.iter().find(|hook| !self.asked.deny_hooks.contains(*hook)) {
            return Err(CapabilityError::UnaskedHook { hook });
        }
        if let Some(hook) = rule.hooks.iter().find(|hook| !self.may.deny_hooks.contains(*hook)) {
            return Err(CapabilityError::Hook { hook });
        }
        if let RuleKey::Path { prefix, .. } = &rule.key
            && (!prefix.starts_with('/') || prefix.len() > PATH_MAX || prefix.contains('\0'))
        {
            return Err(CapabilityError::Path);
        }
        if rule.ttl_ms > self.spec.max_ttl_ms {
            return Err(CapabilityError::Ttl { ttl_ms: rule.ttl_ms, max_ms: self.spec.max_ttl_ms });
        }
        Ok(())
    }
}

/// Checks an action against a grant and its fields against their ranges.
///
/// # Errors
/// The first thing that is not granted or out of its range.
pub(crate) fn check(grant: &Grant, action: &Action<'_>) -> Result<(), CapabilityError> {
    match action {
        Action::Deny(deny) => {
            grant.check_rule(&deny.rule)?;
            grant.spec.check_errno(deny.errno)?;
            if deny.rule.ttl_ms == 0 && !grant.spec.permanent {
                return Err(CapabilityError::Permanent { max_ms: grant.spec.max_ttl_ms });
            }
            Ok(())
        }
        Action::Allow(allow) => grant.check_rule(&allow.rule),
        Action::LabelRule(LabelRule { rule, label }) => {
            grant.check_label(label)?;
            grant.check_rule(rule)
        }
        Action::SetLabel(set) => grant.check_label(&set.label),
        Action::Kill(_) if !grant.asked.kill => Err(CapabilityError::UnaskedKill),
        Action::Kill(_) if !grant.may.kill => Err(CapabilityError::Kill),
        Action::Alert(alert) if !is_technique(&alert.technique) => Err(CapabilityError::Technique),
        Action::Metric(metric) if !is_metric_name(&metric.name) => Err(CapabilityError::MetricName),
        Action::Metric(metric) if !metric.value.is_finite() => Err(CapabilityError::MetricValue),
        Action::Kill(_)
        | Action::Alert(_)
        | Action::Metric(_)
        | Action::Revoke(_)
        | Action::Unknown(_) => Ok(()),
    }
}

/// Checks an action against this machine: whether it may be so broad here, whether there are cgroups, and
/// whether its file is told from later ones.
/// `others` are destinations of the plugin's other denials.
///
/// # Errors
/// Says what is too much, or missing.
pub(crate) fn check_on(
    machine: &Machine,
    grant: &Grant,
    action: &Action<'_>,
    others: impl FnOnce() -> Vec<(IpAddr, u8)>,
) -> Result<(), CapabilityError> {
    let (Action::Deny(Deny { rule, .. })
    | Action::Allow(Allow { rule })
    | Action::LabelRule(LabelRule { rule, .. })) = action
    else {
        return Ok(());
    };
    if let (RuleKey::Cgroup(_), Some(why)) = (&rule.key, machine.without_cgroups) {
        return Err(CapabilityError::Cgroups { why });
    }
    if let RuleKey::File(FileKey { dev, generation: 0, .. }) = rule.key
        && machine.has_generations.is_some_and(|has_generations| !has_generations(dev))
    {
        return Err(CapabilityError::Generation { dev });
    }
    match action {
        Action::Deny(denial) if !grant.spec.broad => match machine.breadth(denial, others) {
            Some(breadth) => Err(CapabilityError::Broad { breadth }),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// `T`, four digits, and perhaps a dot with three more; or nothing.
fn is_technique(text: &str) -> bool {
    let digits =
        |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = text.strip_prefix('T') else { return text.is_empty() };
    match number.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(number, 4),
    }
}

fn is_metric_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{FileKey, IfUnread, IfUnresolved, Kill, ProcessKey, Subject};

    use super::*;

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
                .map(|action| check_on(&machine, &grant(), &action, Vec::new).err());
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
            assert_eq!(check(&grant(), &action), Err(CapabilityError::UnaskedKey { key: kind }));
            let granted =
                Grant::new(Asked { deny_keys: only(kind), ..asked() }, GrantSpec::default());
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
        let deny = Deny {
            rule: hook.clone(),
            errno: 1,
            mode: RuleMode::Enforce,
            if_unread: IfUnread::Pass,
        };
        let (deny, allow) = (Action::Deny(deny), Action::Allow(Allow { rule: hook }));
        let machine = Machine::default();
        let check = |grant: &Grant, action| check_on(&machine, grant, action, Vec::new);
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
        let check =
            |action| check_on(&machine, &Grant::new(asked(), granted.clone()), &action, Vec::new);
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
}
