//! State of all attached programs as other stages see it: a value, made anew after every change.

use krsi_host_abi::hook::Hook;
use krsi_plugin_schema::latest::{HookSet, LostOf};

use super::watches::ToldWatches;
use crate::decode::CallLayouts;
use crate::kernel::program::load::Misses;
use crate::policy::NoDigests;
use crate::route::subscription::PluginSlot;

/// What is attached, and what can be done with it.
pub(crate) struct Published {
    /// Names of hooks with a program, in the order of their slots.
    pub(crate) hooks: Vec<String>,
    /// Name of the backend.
    pub(crate) backend: &'static str,
    /// Hooks whose calls rules can refuse.
    pub(crate) enforced: Vec<Hook>,
    /// Hooks whose programs resolve paths.
    pub(crate) resolving: HookSet,
    /// Whether executables are hashed, or why not.
    pub(crate) digests: Result<(), NoDigests>,
    /// Layouts of the template program's records, by slot.
    pub(crate) layouts: CallLayouts,
    /// Plugin, hook, text and fields of each watch.
    pub(crate) watches: ToldWatches,
    /// What is attached and was not seen to be called, in words.
    pub(crate) unproven: Vec<String>,
    /// Programs whose losses are looked at.
    pub(crate) programs: Vec<LossSource>,
}

/// What a loss is of, and whom it concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LossSubject {
    pub(crate) of: LostOf,
    /// Plugin that owns the watch; `None` for a hook's loss.
    pub(crate) owner: Option<PluginSlot>,
}

/// A program that is looked at for calls and records that were lost.
#[derive(Clone, Debug)]
pub(crate) struct LossSource {
    pub(crate) slot: u16,
    pub(crate) subject: LossSubject,
    pub(crate) misses: Misses,
}
