//! Deny maps in memory: they take everything, and nobody reads them but the ledger.

use std::collections::HashMap;

use krsi_host_abi::deny::{Bounds, Entry, LabelRules, Membership, ProcessKey};
use krsi_host_abi::hook::Hook;

use crate::kernel::map::lease::EntryKey;
use crate::kernel::map::store::{RuleStore, StoreError};

/// Deny maps in memory: marks and labels of processes, and nothing else.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    marks: HashMap<ProcessKey, Membership>,
    labels: HashMap<ProcessKey, u64>,
}

impl RuleStore for MemoryStore {
    fn put(&mut self, _key: EntryKey, _entry: &Entry) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&mut self, _key: EntryKey) -> Result<(), StoreError> {
        Ok(())
    }

    fn mark(&mut self, process: ProcessKey, membership: &Membership) -> Result<(), StoreError> {
        self.marks.insert(process, *membership);
        Ok(())
    }

    fn unmark(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.marks.remove(&process);
        Ok(())
    }

    fn marks(&self, process: ProcessKey) -> Result<Option<Membership>, StoreError> {
        Ok(self.marks.get(&process).copied())
    }

    fn bound(&mut self, _owner: u8, _to: Bounds) -> Result<(), StoreError> {
        Ok(())
    }

    fn set_label_rules(&mut self, _rules: LabelRules) -> Result<(), StoreError> {
        Ok(())
    }

    fn set_labels(
        &mut self,
        process: ProcessKey,
        gives: u64,
        takes: u64,
    ) -> Result<(), StoreError> {
        let labels = self.labels.entry(process).or_default();
        *labels = *labels & !takes | gives;
        Ok(())
    }

    fn forget_labels(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.labels.remove(&process);
        Ok(())
    }

    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        let mut labels: Vec<_> = self.labels.iter().map(|(key, bits)| (*key, *bits)).collect();
        labels.sort_unstable_by_key(|(key, _)| (key.start_boot_ns, key.tgid));
        Ok(labels)
    }

    fn set_rule_flags(&mut self, _hook: Hook, _flags: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn capacity(&self, _key: EntryKey) -> Option<(&'static str, usize)> {
        None
    }

    fn open_hits(&mut self, _rule_id: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn hits(&self, _rule_id: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn close_hits(&mut self, _rule_id: u64) -> Result<(), StoreError> {
        Ok(())
    }
}
