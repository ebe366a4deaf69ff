//! Plugins that run and see nothing, as none of what they ask for is to be had on this machine.

use std::collections::HashSet;

use super::roster::{Entry, Roster};
use crate::attach::left_out::NotAttached;

impl Roster {
    /// Plugins that ask for hooks or watches, of which none has a program: `live` are the hooks that have one.
    pub(super) fn unserved(&self, live: &[String], refused: &[NotAttached]) -> HashSet<String> {
        let is_unserved = |entry: &&Entry| {
            let wanted = entry.wanted();
            let mut hooks = wanted.seen.iter().chain(wanted.denied.iter()).peekable();
            let asks = hooks.peek().is_some() || !wanted.watches.is_empty();
            let sees = hooks.any(|hook| live.iter().any(|live| live == hook.name()));
            let own = |refused: &&NotAttached| refused.owner == Some(entry.slot);
            asks && !sees && refused.iter().filter(own).count() >= wanted.watches.len()
        };
        self.entries().iter().filter(is_unserved).map(|entry| entry.name.clone()).collect()
    }
}
