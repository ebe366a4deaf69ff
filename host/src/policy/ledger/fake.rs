//! The deny maps in memory, read the way the kernel half reads them.

use std::collections::HashMap;

use krsi_host_abi::deny::{
    Bounds, Entry, FileKey, LabelRules, Lease, Membership, Mode, NETWORK_FIXED_BITS, NetworkKey,
    ProcessKey, Subject, flag,
};
use krsi_host_abi::hook::Hook;

use crate::kernel::map::lease::EntryKey;
use crate::kernel::map::prefix::PathPrefix;
use crate::kernel::map::store::{RuleStore, StoreError};

/// Rule that decided, and whether it refused.
pub(in crate::policy) type Decision = Option<(u64, bool)>;

/// The object of a call.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) enum Object {
    File(FileKey),
    /// Family, port, address.
    Network(u16, u16, [u8; 16]),
    /// A path in full.
    Path(&'static str),
    /// One that could not be resolved.
    Unresolved,
    /// A file or destination that could not be read.
    Unread,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::policy) struct FakeMaps {
    pub(in crate::policy) entries: HashMap<EntryKey, Entry>,
    pub(in crate::policy) marks: HashMap<ProcessKey, Membership>,
    pub(in crate::policy) flags: HashMap<Hook, u64>,
    pub(in crate::policy) hits: HashMap<u64, u64>,
    pub(in crate::policy) labels: HashMap<ProcessKey, u64>,
    pub(in crate::policy) label_rules: LabelRules,
}

#[derive(Debug)]
pub(in crate::policy) struct Fake {
    pub(in crate::policy) maps: FakeMaps,
    /// Keys of all deny maps together.
    pub(in crate::policy) capacity: usize,
    /// Room of each map, as far as shares go.
    pub(in crate::policy) room: Option<usize>,
    /// Marked processes that the map has room for.
    pub(in crate::policy) marks_max: usize,
    /// A full trie refuses to replace, as before 6.13.
    pub(in crate::policy) old_trie: bool,
    /// Fails the update after that many.
    pub(in crate::policy) fail_after: Option<usize>,
}

impl Default for Fake {
    fn default() -> Self {
        let (capacity, marks_max) = (usize::MAX, usize::MAX);
        let (room, fail_after) = (None, None);
        Self { maps: FakeMaps::default(), capacity, room, marks_max, old_trie: false, fail_after }
    }
}

impl super::Ledger<Fake> {
    /// Ends all rules of a plugin.
    pub(in crate::policy) fn withdraw(&mut self, owner: u8, now: u64) -> Vec<super::RuleView> {
        let ids = self.ids_of(owner);
        ids.into_iter().filter_map(|id| self.withdraw_one(id, now)).collect()
    }
}

impl Fake {
    fn tick(&mut self) -> Result<(), StoreError> {
        match &mut self.fail_after {
            Some(0) => Err(StoreError::Kernel { map: "FAKE", source: std::io::Error::other("no") }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(in crate::policy) fn flag(&self, hook: Hook) -> u64 {
        self.maps.flags.get(&hook).copied().unwrap_or(0)
    }

    /// The kernel's part at `sched_process_fork`.
    pub(in crate::policy) fn kernel_fork(&mut self, parent: ProcessKey, child: ProcessKey) {
        if self.flag(Hook::SchedProcessFork) & flag::MEMBERSHIP != 0
            && let Some(marks) = self.maps.marks.get(&parent).copied()
        {
            self.maps.marks.insert(child, marks);
        }
    }

    /// The kernel's part at `sched_process_exit`.
    pub(in crate::policy) fn kernel_exit(&mut self, gone: ProcessKey) {
        if self.flag(Hook::SchedProcessExit) & flag::MEMBERSHIP != 0 {
            self.maps.marks.remove(&gone);
        }
    }

    /// `verdict.rs` of the object.
    pub(in crate::policy) fn verdict(
        &self,
        hook: Hook,
        process: ProcessKey,
        object: Object,
        now: u64,
    ) -> Decision {
        let flags = self.flag(hook);
        let wants = |bits| flags & bits != 0;
        let lineages = match self.maps.marks.get(&process) {
            Some(marks) if wants(flag::LINEAGE | flag::MEMBERSHIP) => marks.lineages,
            _ => Membership::default().lineages,
        };
        let mut entries = Vec::new();
        if wants(flag::PROCESS) {
            entries.push(self.maps.entries.get(&EntryKey::Process(process)));
        }
        if wants(flag::LINEAGE) {
            let ids = lineages.iter().filter(|id| **id != 0);
            entries.extend(ids.map(|id| self.maps.entries.get(&EntryKey::Lineage(*id))));
        }
        match object {
            Object::File(key) if wants(flag::FILE) => {
                entries.push(self.maps.entries.get(&EntryKey::File(key)));
            }
            Object::Network(family, port, address) => {
                if wants(flag::NETWORK) {
                    entries.push(self.longest(family, port, address));
                }
                if wants(flag::ANY_PORT) {
                    entries.push(self.longest(family, 0, address));
                }
            }
            Object::Path(path) if wants(flag::PATH) => {
                let prefixes = PathPrefix::new(path).into_iter();
                let mut prefixes = prefixes.flat_map(|path| path.covering().collect::<Vec<_>>());
                let entry = |prefix| self.maps.entries.get(&EntryKey::Path(prefix));
                entries.push(prefixes.find_map(entry));
            }
            Object::Unresolved if wants(flag::PATH) => {
                entries.push(self.maps.entries.get(&EntryKey::Unresolved(hook)));
            }
            _ => {}
        }
        if wants(flag::HOOK) {
            entries.push(self.maps.entries.get(&EntryKey::Hook(hook)));
        }
        let objects = flag::FILE | flag::PATH | flag::NETWORK | flag::ANY_PORT;
        if matches!(object, Object::Unread) && wants(objects) && wants(flag::ERROR_RULE) {
            entries.push(self.maps.entries.get(&EntryKey::Unread(hook)));
        }
        let (mut lifted, mut decision) = (0u64, None);
        for lease in entries.into_iter().flatten().flat_map(|entry| entry.slots) {
            if lease.mode == Mode::Off as u8 || !applies(&lease, hook, &lineages, now) {
                continue;
            }
            let owner = 1u64 << lease.owner;
            if lease.mode == Mode::Allow as u8 {
                lifted |= owner;
            } else if lifted & owner == 0 {
                if lease.mode == Mode::Enforce as u8 {
                    return Some((lease.rule_id, true));
                }
                decision = decision.or(Some((lease.rule_id, false)));
            }
        }
        decision
    }

    /// The trie: the entry of the longest prefix only.
    fn longest(&self, family: u16, port: u16, address: [u8; 16]) -> Option<&Entry> {
        let width = if family == 2 { 32 } else { 128 };
        (0..=width).rev().find_map(|prefix| {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            let key = NetworkKey {
                prefix_bits: NETWORK_FIXED_BITS + prefix,
                family,
                port_be: port.to_be(),
                address: (u128::from_be_bytes(address) & mask).to_be_bytes(),
            };
            self.maps.entries.get(&EntryKey::Network(key))
        })
    }
}

fn applies(lease: &Lease, hook: Hook, lineages: &[u64], now: u64) -> bool {
    // The objects of this model have no protocol.
    if lease.protocol != 0 {
        return false;
    }
    let concerns = lease.subject == Subject::Any as u8
        || (lease.subject_id != 0 && lineages.contains(&lease.subject_id));
    let expired = lease.expires_boot_ns != 0 && lease.expires_boot_ns <= now;
    lease
        .hooks
        .iter()
        .zip(krsi_host_abi::deny::halves(hook.bit()))
        .any(|(hooks, bit)| hooks & bit != 0)
        && concerns
        && !expired
}

impl RuleStore for Fake {
    fn put(&mut self, key: EntryKey, entry: &Entry) -> Result<(), StoreError> {
        self.tick()?;
        let full = self.maps.entries.len() >= self.capacity;
        let refuses = self.old_trie && matches!(key, EntryKey::Network(_));
        if full && (refuses || !self.maps.entries.contains_key(&key)) {
            return Err(StoreError::Full { map: "FAKE" });
        }
        self.maps.entries.insert(key, *entry);
        Ok(())
    }

    fn remove(&mut self, key: EntryKey) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.entries.remove(&key);
        Ok(())
    }

    fn mark(&mut self, process: ProcessKey, membership: &Membership) -> Result<(), StoreError> {
        self.tick()?;
        if !self.maps.marks.contains_key(&process) && self.maps.marks.len() >= self.marks_max {
            return Err(StoreError::Full { map: "MEMBER" });
        }
        self.maps.marks.insert(process, *membership);
        Ok(())
    }

    fn unmark(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.maps.marks.remove(&process);
        Ok(())
    }

    fn marks(&self, process: ProcessKey) -> Result<Option<Membership>, StoreError> {
        Ok(self.maps.marks.get(&process).copied())
    }

    fn bound(&mut self, _owner: u8, _to: Bounds) -> Result<(), StoreError> {
        Ok(())
    }

    fn set_label_rules(&mut self, rules: LabelRules) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.label_rules = rules;
        Ok(())
    }

    fn set_labels(
        &mut self,
        process: ProcessKey,
        gives: u64,
        takes: u64,
    ) -> Result<(), StoreError> {
        self.tick()?;
        let labels = self.maps.labels.entry(process).or_default();
        *labels = *labels & !takes | gives;
        Ok(())
    }

    fn forget_labels(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.labels.remove(&process);
        Ok(())
    }

    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        Ok(self.maps.labels.iter().map(|(process, bits)| (*process, *bits)).collect())
    }

    fn set_rule_flags(&mut self, hook: Hook, flags: u64) -> Result<(), StoreError> {
        self.tick()?;
        if flags == 0 {
            self.maps.flags.remove(&hook);
        } else {
            self.maps.flags.insert(hook, flags);
        }
        Ok(())
    }

    fn capacity(&self, _key: EntryKey) -> Option<(&'static str, usize)> {
        self.room.map(|room| ("FAKE", room))
    }

    fn open_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.hits.insert(rule_id, 0);
        Ok(())
    }

    fn hits(&self, rule_id: u64) -> Result<u64, StoreError> {
        Ok(self.maps.hits.get(&rule_id).copied().unwrap_or(0))
    }

    fn close_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        self.maps.hits.remove(&rule_id);
        Ok(())
    }
}
