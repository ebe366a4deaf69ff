//! What a plugin may do: what it asked for, cut to what the operator grants.
//!
//! Without configuration the grant is: observe, alert, and deny with an expiry; no kill.

use std::fmt;
use std::ops::RangeInclusive;

use krsi_host_abi::deny::MAX_ERRNO;
use krsi_plugin_schema::latest::{Action, Hook, HookSet, Refusal, Rule, RuleKey};

/// Rules that a plugin may have in force.
pub const RULES_MAX: usize = 4096;
/// Longest life of a rule, a day: a plugin that still wants it asks again.
pub const TTL_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Errnos that user space knows (`include/uapi/asm-generic/errno.h`). From 512 on the kernel keeps
/// some for itself, such as `ERESTARTSYS`, that would make a system call restart forever.
pub const ERRNOS: RangeInclusive<u16> = 1..=133;

/// Kinds of keys of rules, in the bits of the manifest's `deny-keys`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DenyKeys(u8);

impl DenyKeys {
    /// One process.
    pub const PROCESS: DenyKeys = DenyKeys(1);
    /// A process and its descendants.
    pub const LINEAGE: DenyKeys = DenyKeys(1 << 1);
    /// A file.
    pub const FILE: DenyKeys = DenyKeys(1 << 2);
    /// A destination.
    pub const NETWORK: DenyKeys = DenyKeys(1 << 3);

    /// The kinds of both.
    #[must_use]
    pub const fn with(self, other: DenyKeys) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in `self`.
    #[must_use]
    pub const fn contains(self, other: DenyKeys) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kind of a key.
    #[must_use]
    pub const fn of(key: &RuleKey) -> Self {
        match key {
            RuleKey::Process(_) => Self::PROCESS,
            RuleKey::Lineage(_) => Self::LINEAGE,
            RuleKey::File(_) => Self::FILE,
            RuleKey::Network { .. } => Self::NETWORK,
        }
    }
}

impl fmt::Display for DenyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::PROCESS, "process"),
            (Self::LINEAGE, "lineage"),
            (Self::FILE, "file"),
            (Self::NETWORK, "network"),
        ];
        let mut between = "";
        for (_, name) in names.into_iter().filter(|(key, _)| self.contains(*key)) {
            write!(f, "{between}{name}")?;
            between = ", ";
        }
        Ok(())
    }
}

/// What a plugin's manifest asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Kinds of keys.
    pub deny_keys: DenyKeys,
    /// Hooks that its rules refuse.
    pub deny_hooks: HookSet,
    /// Whether it wants to kill.
    pub kill: bool,
}

/// What a plugin may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What was asked for: no grant goes beyond it.
    asked: Asked,
    /// Whether the operator lets it kill.
    kill: bool,
    /// Longest life of a rule, milliseconds.
    pub max_ttl_ms: u64,
    /// Errnos it may answer.
    pub errnos: RangeInclusive<u16>,
    /// Rules it may have in force.
    pub max_rules: usize,
    /// Whether a denial may be without end. An `allow` always may: it lifts only what is its own.
    pub may_permanent: bool,
}

/// Why an action is refused before anything is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// A kind of key that was not granted.
    #[error("rules on {key} keys are not granted")]
    Key {
        /// The kind.
        key: DenyKeys,
    },
    /// A hook that was not granted.
    #[error("rules on {hook} are not granted", hook = hook.name())]
    Hook {
        /// The hook.
        hook: Hook,
    },
    /// No hook at all.
    #[error("the rule names no hook")]
    NoHook,
    /// Bits that are no hook.
    #[error("the rule names hooks that contract 0.1 does not have: {bits:#x}")]
    UnknownHook {
        /// All bits.
        bits: u64,
    },
    /// An errno that is none.
    #[error("errno {errno} is not from 1 to {MAX_ERRNO}")]
    Errno {
        /// What was given.
        errno: u16,
    },
    /// An errno outside what was granted.
    #[error("errno {errno} is not granted, {} to {} are", range.0, range.1)]
    ErrnoGrant {
        /// What was given.
        errno: u16,
        /// Least and greatest that are granted.
        range: (u16, u16),
    },
    /// A life that is too long.
    #[error("a life of {ttl_ms} ms is not granted, at most {max_ms} ms are")]
    Ttl {
        /// What was asked for.
        ttl_ms: u64,
        /// What is granted.
        max_ms: u64,
    },
    /// No end.
    #[error("a denial without end is not granted, at most {max_ms} ms are")]
    Permanent {
        /// What is granted.
        max_ms: u64,
    },
    /// Killing.
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
            Self::Key { .. }
            | Self::Hook { .. }
            | Self::ErrnoGrant { .. }
            | Self::Ttl { .. }
            | Self::Permanent { .. }
            | Self::Kill => Refusal::NotGranted,
            Self::NoHook
            | Self::UnknownHook { .. }
            | Self::Errno { .. }
            | Self::Technique
            | Self::MetricName
            | Self::MetricValue => Refusal::Invalid,
        }
    }
}

impl Grant {
    /// What a plugin may do that asked for `asked`, without configuration.
    #[must_use]
    pub const fn default_for(asked: Asked) -> Self {
        Self {
            asked,
            kill: false,
            max_ttl_ms: TTL_MAX_MS,
            errnos: ERRNOS,
            max_rules: RULES_MAX,
            may_permanent: false,
        }
    }

    /// The same with the operator's word on killing.
    #[must_use]
    pub const fn with_kill(mut self, kill: bool) -> Self {
        self.kill = kill;
        self
    }

    /// Whether it may kill: asked for and granted.
    #[must_use]
    pub const fn may_kill(&self) -> bool {
        self.kill && self.asked.kill
    }

    fn check_rule(&self, rule: &Rule<'_>) -> Result<(), CapabilityError> {
        let key = DenyKeys::of(&rule.key);
        if !self.asked.deny_keys.contains(key) {
            return Err(CapabilityError::Key { key });
        }
        if rule.hooks.is_empty() {
            return Err(CapabilityError::NoHook);
        }
        if !rule.hooks.is_known() {
            return Err(CapabilityError::UnknownHook { bits: rule.hooks.0 });
        }
        if let Some(hook) = rule.hooks.iter().find(|hook| !self.asked.deny_hooks.contains(*hook)) {
            return Err(CapabilityError::Hook { hook });
        }
        if rule.ttl_ms > self.max_ttl_ms {
            return Err(CapabilityError::Ttl { ttl_ms: rule.ttl_ms, max_ms: self.max_ttl_ms });
        }
        Ok(())
    }
}

/// Checks an action against a grant and its fields against their ranges.
///
/// # Errors
/// The first thing that is not granted or out of its range.
pub fn check(grant: &Grant, action: &Action<'_>) -> Result<(), CapabilityError> {
    match action {
        Action::Deny(deny) => {
            grant.check_rule(&deny.rule)?;
            let errno = deny.errno;
            if !(1..=MAX_ERRNO).contains(&errno) {
                return Err(CapabilityError::Errno { errno });
            }
            if !grant.errnos.contains(&errno) {
                let range = (*grant.errnos.start(), *grant.errnos.end());
                return Err(CapabilityError::ErrnoGrant { errno, range });
            }
            if deny.rule.ttl_ms == 0 && !grant.may_permanent {
                return Err(CapabilityError::Permanent { max_ms: grant.max_ttl_ms });
            }
            Ok(())
        }
        Action::Allow(allow) => grant.check_rule(&allow.rule),
        Action::Kill(_) if !grant.may_kill() => Err(CapabilityError::Kill),
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
    use krsi_plugin_schema::latest::{Allow, Deny, FileKey, Kill, ProcessKey, Subject};

    use super::*;

    fn rule() -> Rule<'static> {
        Rule {
            token: 1,
            cause_boot_ns: 0,
            key: RuleKey::File(FileKey { ino: 1, dev: 1 }),
            subject: Subject::Any,
            hooks: HookSet::default().with(Hook::FileOpen),
            ttl_ms: 1000,
            reason: "".into(),
        }
    }

    fn grant() -> Grant {
        let deny_hooks = HookSet::default().with(Hook::FileOpen);
        Grant::default_for(Asked { deny_keys: DenyKeys::FILE, deny_hooks, kill: true })
    }

    fn deny(rule: Rule<'static>, errno: u16) -> Option<Refusal> {
        let action = Action::Deny(Deny { rule, errno, audit: false });
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
        assert_eq!(deny(Rule { hooks: HookSet(1 << 63), ..rule() }, 13), Some(Refusal::Invalid));
        let allow = Action::Allow(Allow { rule: Rule { ttl_ms: 0, ..rule() } });
        assert_eq!(check(&grant(), &allow), Ok(()));
    }

    #[test]
    fn killing_needs_both_words() {
        let kill = Action::Kill(Kill { token: 1, process: ProcessKey::default() });
        assert_eq!(check(&grant(), &kill), Err(CapabilityError::Kill));
        assert_eq!(check(&grant().with_kill(true), &kill), Ok(()));
        let unasked = Grant::default_for(Asked::default()).with_kill(true);
        assert_eq!(check(&unasked, &kill), Err(CapabilityError::Kill));
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
