//! How many updates of maps the ledger asked the kernel for: what a call of a plugin may cost is bounded by it.

use std::ops::{Deref, DerefMut};

use krsi_host_abi::deny::{Bounds, Entry, LabelRules, Membership, ProcessKey};
use krsi_host_abi::hook::Hook;

use crate::kernel::map::lease::EntryKey;
use crate::kernel::map::store::{RuleStore, StoreError};

/// The deny maps, and the updates of them so far.
#[derive(Debug)]
pub(super) struct MeteredStore<S> {
    store: S,
    writes: u64,
}

impl<S> MeteredStore<S> {
    /// A store with no update counted yet.
    pub(super) const fn new(store: S) -> Self {
        Self { store, writes: 0 }
    }

    /// Counts work that is no update as so many.
    pub(super) const fn charge(&mut self, writes: u64) {
        self.writes += writes;
    }

    /// Updates so far.
    pub(super) const fn writes(&self) -> u64 {
        self.writes
    }
}

impl<S> Deref for MeteredStore<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.store
    }
}

impl<S> DerefMut for MeteredStore<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.store
    }
}

impl<S: RuleStore> RuleStore for MeteredStore<S> {
    fn put(&mut self, key: EntryKey, entry: &Entry) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.put(key, entry)
    }

    fn remove(&mut self, key: EntryKey) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.remove(key)
    }

    fn mark(&mut self, process: ProcessKey, membership: &Membership) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.mark(process, membership)
    }

    fn unmark(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.unmark(process)
    }

    fn marks(&self, process: ProcessKey) -> Result<Option<Membership>, StoreError> {
        self.store.marks(process)
    }

    fn bound(&mut self, owner: u8, to: Bounds) -> Result<(), StoreError> {
        self.store.bound(owner, to)
    }

    fn set_label_rules(&mut self, rules: LabelRules) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.set_label_rules(rules)
    }

    fn set_labels(
        &mut self,
        process: ProcessKey,
        gives: u64,
        takes: u64,
    ) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.set_labels(process, gives, takes)
    }

    fn forget_labels(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.forget_labels(process)
    }

    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        self.store.labels()
    }

    fn set_rule_flags(&mut self, hook: Hook, flags: u64) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.set_rule_flags(hook, flags)
    }

    fn capacity(&self, key: EntryKey) -> Option<(&'static str, usize)> {
        self.store.capacity(key)
    }

    fn open_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.open_hits(rule_id)
    }

    fn hits(&self, rule_id: u64) -> Result<u64, StoreError> {
        self.store.hits(rule_id)
    }

    fn close_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.close_hits(rule_id)
    }
}
