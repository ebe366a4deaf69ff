//! Hooks, filters and watches that all plugins and the operator together ask of the kernel.

use krsi_plugin_schema::latest::HookSet;

use super::filters::AskedFilters;
use super::watches::Watch;

/// What plugins and the administrator ask of the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Hooks whose calls somebody wants to see.
    pub(crate) seen: HookSet,
    /// Hooks that somebody's rules refuse calls of.
    pub(crate) denied: HookSet,
    /// Whether somebody makes rules on digests of executables.
    pub(crate) digests: bool,
    /// Watches on any hook.
    pub(crate) watches: Vec<Watch>,
    /// What is forwarded of each hook, as far as everybody who sees it asks for less than all.
    pub(crate) filters: AskedFilters,
}

impl Wanted {
    /// With what another one asks.
    pub(crate) fn and(mut self, other: Wanted) -> Self {
        self.filters.join(&other.filters);
        self.seen = HookSet(self.seen.0 | other.seen.0);
        self.denied = HookSet(self.denied.0 | other.denied.0);
        self.digests |= other.digests;
        self.watches.extend(other.watches);
        self
    }
}
