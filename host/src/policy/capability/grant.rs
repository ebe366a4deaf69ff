//! A grant: what a plugin asked for, cut to what the operator says.

use std::ops::RangeInclusive;
use std::sync::Arc;

use krsi_host_abi::deny::{MAX_ERRNO, Mode};
use krsi_plugin_schema::latest::{Hook, HookSet, KeyKinds, Rule, RuleKey, RuleMode};

use super::super::asked::{Asked, AskedWatch};
use super::super::sample::SampleLimits;
use super::error::CapabilityError;
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
    /// Whether its watches may show the first bytes of what processes send.
    pub content: bool,
    /// Rules it may have in force.
    pub max_rules: usize,
    /// Actions of one call that are executed.
    pub actions_max: usize,
    /// Updates of maps of one call after which its further actions are refused.
    pub writes_max: u64,
    pub alerts_per_second: u32,
    /// Samples of processes that it may ask for; none without an ask.
    pub samples: SampleLimits,
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
            content: false,
            max_rules: RULES_MAX,
            actions_max: 1024,
            writes_max: 16_384,
            alerts_per_second: 100,
            samples: SampleLimits { asks: 64, per_second: 64 },
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

impl GrantSpec {
    /// What the operator grants of what was accepted: explicit words stand, the rest follows
    /// `accepted`.
    #[must_use]
    pub fn of(&self, accepted: &Asked) -> Asked {
        // A list of the operator's says what it may see of what runs, too.
        let shown = self.hooks.is_none_or(|hooks| hooks.contains(Hook::BprmCommittedCreds));
        Asked {
            hooks: self.hooks.unwrap_or(accepted.hooks),
            deny_hooks: self.deny_hooks.unwrap_or(accepted.deny_hooks),
            deny_keys: self.deny_keys.unwrap_or(accepted.deny_keys),
            watches: accepted.watches.clone(),
            filters: accepted.filters.clone(),
            labels: accepted.labels.clone(),
            running: accepted.running && shown,
            samples: accepted.samples && shown && self.samples.asks > 0,
            kill: self.kill,
        }
    }

    pub(in crate::policy) fn check_errno(&self, errno: u16) -> Result<(), CapabilityError> {
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

    /// Limits that the operator chose.
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

    pub(super) fn check_kill(&self) -> Result<(), CapabilityError> {
        if !self.asked.kill {
            return Err(CapabilityError::UnaskedKill);
        }
        if self.may.kill { Ok(()) } else { Err(CapabilityError::Kill) }
    }

    pub(super) const fn check_samples(&self) -> Result<(), CapabilityError> {
        if !self.asked.samples {
            return Err(CapabilityError::UnaskedSamples);
        }
        if self.may.samples { Ok(()) } else { Err(CapabilityError::Samples) }
    }

    pub(super) fn check_label(&self, name: &str) -> Result<(), CapabilityError> {
        let among = |asked: &Asked| asked.labels.iter().any(|label| label.name == name);
        let label = name.to_owned();
        if !among(&self.asked) {
            return Err(CapabilityError::UnaskedLabel { label });
        }
        if among(&self.may) { Ok(()) } else { Err(CapabilityError::Label { label }) }
    }

    pub(super) fn check_rule(&self, rule: &Rule<'_>) -> Result<(), CapabilityError> {
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
