//! The programs in the kernel, as many as somebody asks for: attached, proven live, and told to forward.

use std::sync::Arc;

use krsi_host_abi::deny::flag;
use krsi_host_abi::hook::{HOOKS, Hook as AbiHook};
use krsi_plugin_schema::latest::{Hook, HookSet};

use super::RunError;
use super::shared::Shared;
use crate::config::Config;
use crate::kernel::btf::KernelTypes;
use crate::kernel::canary;
use crate::kernel::load::{self, LoadSpec, Loaded};
use crate::kernel::map::{Counters, Flags, KernelMaps};
use crate::kernel::plan::{self, HookPlan};
use crate::kernel::trim;

/// Hooks that the host's own process table lives on.
const OWN_HOOKS: [Hook; 3] =
    [Hook::BprmCommittedCreds, Hook::SchedProcessFork, Hook::SchedProcessExit];

/// What plugins ask of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Hooks whose calls somebody wants to see.
    pub(super) seen: HookSet,
    /// Hooks that somebody's rules refuse calls of.
    pub(super) denied: HookSet,
}

impl Wanted {
    /// With what another one asks.
    pub(super) const fn and(self, other: Wanted) -> Self {
        Self {
            seen: HookSet(self.seen.0 | other.seen.0),
            denied: HookSet(self.denied.0 | other.denied.0),
        }
    }
}

/// The object and its links: dropping it detaches every hook.
pub(super) struct Hooks {
    loaded: Loaded,
    plan: HookPlan,
    flags: Flags,
    counters: Arc<Counters>,
    /// Hooks that were attached at some time, for the summary.
    used: Vec<AbiHook>,
}

impl Hooks {
    /// Creates the maps and attaches nothing.
    pub(super) fn load(config: &Config) -> Result<(Self, KernelMaps), RunError> {
        let plan = plan::plan(&KernelTypes::running()?, |_| true);
        for field in &plan.missing {
            let (structure, member, why) = (field.structure, field.member, field.why);
            tracing::warn!(structure, member, %why, "field left out");
        }
        let spec = LoadSpec { ring_bytes: config.ring_bytes };
        let mut loaded = load::load(&plan, spec)?;
        trim::give_back();
        let maps = KernelMaps::take(&mut loaded.object)?;
        let (flags, counters) = (maps.flags.clone(), Arc::clone(&maps.counters));
        Ok((Self { loaded, plan, flags, counters, used: Vec::new() }, maps))
    }

    /// Attaches what is wanted and was not, proves it live, detaches what nobody wants any more.
    /// A hook that this kernel lacks is told, not fatal.
    pub(super) fn want(&mut self, wanted: Wanted) -> Result<(), RunError> {
        let own = OWN_HOOKS.into_iter().fold(HookSet::default(), HookSet::with);
        let wanted = wanted.and(Wanted { seen: own, denied: HookSet::default() });
        let is_wanted = |hook| contains(wanted.seen, hook) || contains(wanted.denied, hook);
        let mut fresh = Vec::new();
        for hook in HOOKS.iter().map(|row| row.hook).filter(|hook| is_wanted(*hook)) {
            if self.loaded.hooks.contains(&hook) {
                continue;
            }
            match self.plan.lacking.iter().find(|(lacking, _)| *lacking == hook) {
                Some((_, why)) => tracing::warn!(hook = hook.name(), %why, "hook left out"),
                None => fresh.push(hook),
            }
        }
        load::add(&mut self.loaded, &fresh)?;
        if !fresh.is_empty() {
            trim::give_back();
        }
        for (hook, error) in &self.loaded.refused {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            tracing::warn!(hook = hook.name(), %error, cause, "hook left out");
        }
        if self.loaded.hooks.is_empty() {
            return Err(self.nothing());
        }
        self.loaded.refused.clear();
        fresh.retain(|hook| self.loaded.hooks.contains(hook));
        canary::prove(&fresh, &mut self.flags, &self.counters)?;
        self.used.extend(
            fresh.iter().filter(|hook| !self.used.contains(hook)).copied().collect::<Vec<_>>(),
        );
        for hook in self.loaded.hooks.clone() {
            if contains(wanted.seen, hook) {
                self.flags.raise(hook, flag::FORWARD)?;
            } else {
                self.flags.lower(hook, flag::FORWARD)?;
            }
            if !is_wanted(hook) {
                load::remove(&mut self.loaded, hook);
            }
        }
        Ok(())
    }

    fn nothing(&self) -> RunError {
        let lacking = self.plan.lacking.first().map(|(hook, why)| (hook.name(), why.to_string()));
        let refused = self.loaded.refused.first().map(|(hook, why)| (hook.name(), why.to_string()));
        let (hook, reason) = refused.or(lacking).unwrap_or_default();
        RunError::NoHook { hook, reason }
    }

    /// Lets rules on every attached hook be made, and no others.
    pub(super) fn publish(&self, shared: &Shared) {
        shared.ledger().set_attached(self.loaded.hooks.iter().copied());
    }

    /// Hooks with a live program.
    pub(super) fn attached(&self) -> &[AbiHook] {
        &self.loaded.hooks
    }

    /// Hooks that ever had one.
    pub(super) fn used(&self) -> &[AbiHook] {
        &self.used
    }
}

fn contains(set: HookSet, hook: AbiHook) -> bool {
    crate::decode::hook(hook).is_some_and(|hook| set.contains(hook))
}
