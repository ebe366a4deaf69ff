//! Hooks, filters and watches that all plugins and the operator together ask of the kernel.

use krsi_plugin_schema::latest::HookSet;

use super::filters::AskedFilters;
use super::watches::Watch;
use crate::policy::LabelError;

/// What plugins and the administrator ask of the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Hooks whose calls somebody wants to see.
    pub(crate) seen: HookSet,
    /// Hooks that somebody's rules refuse calls of.
    pub(crate) denied: HookSet,
    /// Whether somebody makes rules on digests of executables.
    pub(crate) digests: bool,
    /// Whether there are labels: an exec that begins ends what a failed one would have given.
    pub(crate) labels: bool,
    /// Watches on any hook.
    pub(crate) watches: Vec<Watch>,
    /// What is forwarded of each hook, as far as everybody who sees it asks for less than all.
    pub(crate) filters: AskedFilters,
}

impl Wanted {
    /// Merges the requests of another subscriber into these.
    pub(crate) fn and(mut self, other: Wanted) -> Self {
        self.filters.join(&other.filters);
        self.seen = HookSet(self.seen.0 | other.seen.0);
        self.denied = HookSet(self.denied.0 | other.denied.0);
        self.digests |= other.digests;
        self.labels |= other.labels;
        self.watches.extend(other.watches);
        self
    }

    /// Looks up the labels that watches name.
    pub(crate) fn find_labels(&mut self, find: impl Fn(&Watch, &str) -> Result<u8, LabelError>) {
        self.watches.iter_mut().for_each(|watch| watch.find_labels(&find));
    }

    /// The labels that watches name, as bits.
    pub(crate) fn label_bits(&self) -> u64 {
        self.watches.iter().fold(0, |bits, watch| bits | watch.label_bits())
    }
}
