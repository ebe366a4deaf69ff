//! Which deny maps hold a rule for which hook: counts of rules, and the words the kernel reads.

use std::collections::BTreeMap;

use krsi_host_abi::deny::flag;
use krsi_host_abi::hook::{HOOKS, Hook};

use super::place::Place;
use crate::kernel::map::store::{RuleStore, StoreError};

/// Bits that a rule on a key needs in the word of each of its hooks.
pub(super) fn needs(place: Place, subject_lineage: u64) -> u64 {
    let key = place.flag();
    if subject_lineage == 0 { key } else { key | flag::MEMBERSHIP }
}

/// Marks and labels, for which programs follow processes beside the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Followed {
    /// Whether any process is marked.
    pub(super) members: bool,
    /// Whether there are labels.
    pub(super) labels: bool,
}

impl Followed {
    /// Bits that it needs in the word of a hook.
    fn needs(self, hook: Hook) -> u64 {
        let life = matches!(hook, Hook::SchedProcessFork | Hook::SchedProcessExit);
        let exec = matches!(hook, Hook::BprmCredsForExec | Hook::BprmCommittedCreds);
        let members = if self.members && life { flag::MEMBERSHIP } else { 0 };
        members | if self.labels && (life || exec) { flag::LABELS } else { 0 }
    }
}

/// The words, as they should be and as they were last written.
#[derive(Debug, Default)]
pub(super) struct FlagWords {
    /// Rules by hook and bit.
    rules: BTreeMap<(Hook, u64), usize>,
    written: BTreeMap<Hook, u64>,
}

impl FlagWords {
    /// Counts a rule in.
    pub(super) fn add(&mut self, hooks: u128, bits: u64) {
        for at in pairs(hooks, bits) {
            *self.rules.entry(at).or_default() += 1;
        }
    }

    /// Counts a rule out.
    pub(super) fn remove(&mut self, hooks: u128, bits: u64) {
        for at in pairs(hooks, bits) {
            if let Some(count) = self.rules.get_mut(&at) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.rules.remove(&at);
                }
            }
        }
    }

    /// Writes the words that changed.
    pub(super) fn write(
        &mut self,
        store: &mut impl RuleStore,
        followed: Followed,
    ) -> Result<(), StoreError> {
        for row in HOOKS {
            let hook = row.hook;
            let rules = self.rules.range((hook, 0)..=(hook, u64::MAX));
            let mut word = rules.fold(0, |word, ((_, bit), _)| word | bit);
            word |= followed.needs(hook);
            if self.written.get(&hook).copied().unwrap_or(0) != word {
                store.set_rule_flags(hook, word)?;
                self.written.insert(hook, word);
            }
        }
        Ok(())
    }
}

/// Every hook of the mask with every bit.
fn pairs(hooks: u128, bits: u64) -> impl Iterator<Item = (Hook, u64)> {
    let hooks = HOOKS.iter().map(|row| row.hook).filter(move |hook| hooks & hook.bit() != 0);
    hooks.flat_map(move |hook| {
        (0..u64::BITS)
            .map(|at| 1 << at)
            .filter(move |bit| bits & bit != 0)
            .map(move |bit| (hook, bit))
    })
}
