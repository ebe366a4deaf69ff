//! Deny maps in memory: they take everything, and nobody reads them but the ledger.

use std::collections::HashMap;

use krsi_host_abi::deny::{Bounds, Entry, Membership, ProcessKey};
use krsi_host_abi::hook::Hook;

use crate::kernel::map::lease::EntryKey;
use crate::kernel::map::store::{RuleStore, StoreError};

/// The maps.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    marks: HashMap<ProcessKey, Membership>,
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
