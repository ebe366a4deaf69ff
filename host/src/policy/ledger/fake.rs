//! The deny maps in memory, with the faults that a kernel's have: no room, and updates that fail.

use krsi_host_abi::deny::{Bounds, Entry, FileKey, LabelRules, Membership, ProcessKey};
use krsi_host_abi::hook::Hook;

use super::memory::{CallAddress, CallKeys, CallPath, MemoryMaps};
use crate::kernel::map::lease::EntryKey;
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
    /// A path that could not be resolved.
    Unresolved,
    /// A file or destination that could not be read.
    Unread,
}

impl Object {
    fn of_call(self) -> CallKeys<'static> {
        let none = CallKeys::default();
        match self {
            Object::File(file) => CallKeys { file: Some(file), ..none },
            Object::Network(family, port, address) => {
                let to = CallAddress { family, port, address, protocol: 0 };
                CallKeys { to: Some(to), ..none }
            }
            Object::Path(path) => CallKeys { path: CallPath::At(path), ..none },
            Object::Unresolved => CallKeys { path: CallPath::Unresolved, ..none },
            Object::Unread => CallKeys { is_unread: true, ..none },
        }
    }
}

#[derive(Debug)]
pub(in crate::policy) struct Fake {
    pub(in crate::policy) maps: MemoryMaps,
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
        Self { maps: MemoryMaps::default(), capacity, room, marks_max, old_trie: false, fail_after }
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
        self.maps.flag(hook)
    }

    /// What the kernel makes of a call.
    pub(in crate::policy) fn verdict(
        &self,
        hook: Hook,
        process: ProcessKey,
        object: Object,
        now: u64,
    ) -> Decision {
        let decided = self.maps.decide(hook, process, &object.of_call(), now);
        decided.by.map(|(rule_id, _)| (rule_id, decided.is_denied))
    }
}

impl RuleStore for Fake {
    fn put(&mut self, key: EntryKey, entry: &Entry) -> Result<(), StoreError> {
        self.tick()?;
        let full = self.maps.entries.len() >= self.capacity;
        let refuses = self.old_trie && matches!(key, EntryKey::Network(_));
        if full && (refuses || !self.maps.entries.contains_key(&key)) {
            return Err(StoreError::Full { map: "FAKE" });
        }
        self.maps.put(key, entry)
    }

    fn remove(&mut self, key: EntryKey) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.remove(key)
    }

    fn mark(&mut self, process: ProcessKey, membership: &Membership) -> Result<(), StoreError> {
        self.tick()?;
        if !self.maps.marks.contains_key(&process) && self.maps.marks.len() >= self.marks_max {
            return Err(StoreError::Full { map: "MEMBER" });
        }
        self.maps.mark(process, membership)
    }

    fn unmark(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.maps.unmark(process)
    }

    fn marks(&self, process: ProcessKey) -> Result<Option<Membership>, StoreError> {
        self.maps.marks(process)
    }

    fn bound(&mut self, owner: u8, to: Bounds) -> Result<(), StoreError> {
        self.maps.bound(owner, to)
    }

    fn set_label_rules(&mut self, rules: LabelRules) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.set_label_rules(rules)
    }

    fn set_labels(
        &mut self,
        process: ProcessKey,
        gives: u64,
        takes: u64,
    ) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.set_labels(process, gives, takes)
    }

    fn forget_labels(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.forget_labels(process)
    }

    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        self.maps.labels()
    }

    fn set_rule_flags(&mut self, hook: Hook, flags: u64) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.set_rule_flags(hook, flags)
    }

    fn capacity(&self, _key: EntryKey) -> Option<(&'static str, usize)> {
        self.room.map(|room| ("FAKE", room))
    }

    fn open_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        self.tick()?;
        self.maps.open_hits(rule_id)
    }

    fn hits(&self, rule_id: u64) -> Result<u64, StoreError> {
        self.maps.hits(rule_id)
    }

    fn close_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        self.maps.close_hits(rule_id)
    }
}
