//! The deny maps as one store of rules, with what programs look at before them: flags, bounds, marks, hits.

use aya::maps;
use aya::maps::{Array, HashMap, MapData};
use krsi_host_abi::deny::{Bounds, Entry, LabelRules, Membership, OWNERS, ProcessKey, flag};
use krsi_host_abi::hook::Hook;
use zerocopy::FromBytes;

use super::flags::Flags;
use super::label::LabelMaps;
use super::lease::{EntryKey, LeaseMaps};
use super::store::{RuleStore, StoreError};
use super::store_error::{failed, removed, stored};
use super::{MapError, ObjectMaps, bytes, open};

const PROCESS_KEY: usize = size_of::<ProcessKey>();
const MEMBERSHIP: usize = size_of::<Membership>();

/// Deny maps, and what programs look at before them: flags, bounds, marks, hits.
pub struct RuleMaps {
    flags: Flags,
    bounds: OwnerBounds,
    changes: ChangeNumber,
    leases: LeaseMaps,
    /// Whether rules are obeyed at all.
    obeyed: RulesObeyed,
    labels: LabelMaps,
    member: HashMap<MapData, [u8; PROCESS_KEY], [u8; MEMBERSHIP]>,
    hits: HashMap<MapData, u64, u64>,
}

/// The section of the number that stands for the leases and marks as they are.
const CHANGES: &str = ".data.changes";

/// Changes of leases and marks. The kernel uses an element that was replaced again for the next key, while
/// programs still read it: they compare the number before and after, and read again when it is another.
struct ChangeNumber {
    map: Array<MapData, u64>,
    last: u64,
}

impl ChangeNumber {
    /// Gives what follows a number of its own. Told before each change: an element that one change lets go
    /// of is used by a later one at the earliest.
    fn next(&mut self) -> Result<(), StoreError> {
        self.last = self.last.wrapping_add(1);
        stored("CHANGES", self.map.set(0, self.last, 0))
    }
}

/// The section of whom each owner's leases concern.
const BOUNDS: &str = ".data.bounds";

struct OwnerBounds {
    map: Array<MapData, [u8; OWNERS * size_of::<Bounds>()]>,
    all: [Bounds; OWNERS],
}

/// Whether rules in the maps are obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulesObeyed {
    /// Calls look rules up.
    Yes,
    /// No call looks them up (`--mode off`).
    No,
}

impl RuleMaps {
    /// Takes the maps over from the object, whose programs hash paths from `path_secret` on.
    pub(super) fn take(
        object: &mut ObjectMaps,
        path_secret: u64,
        obeyed: RulesObeyed,
        flags: Flags,
        labels: LabelMaps,
    ) -> Result<Self, MapError> {
        let bounds = OwnerBounds { map: open(object, BOUNDS)?, all: [Bounds::default(); OWNERS] };
        Ok(Self {
            flags,
            bounds,
            changes: ChangeNumber { map: open(object, CHANGES)?, last: 0 },
            leases: LeaseMaps::take(object, path_secret)?,
            obeyed,
            labels,
            member: open(object, "MEMBER")?,
            hits: open(object, "HITS")?,
        })
    }
}

impl RuleStore for RuleMaps {
    fn put(&mut self, key: EntryKey, entry: &Entry) -> Result<(), StoreError> {
        self.changes.next()?;
        self.leases.put(key, bytes(entry))
    }

    fn remove(&mut self, key: EntryKey) -> Result<(), StoreError> {
        self.changes.next()?;
        self.leases.remove(key)
    }

    fn mark(&mut self, process: ProcessKey, membership: &Membership) -> Result<(), StoreError> {
        self.changes.next()?;
        stored("MEMBER", self.member.insert(bytes(&process), bytes(membership), 0))?;
        // A fork in the kernel may use what was let go of, without a number.
        self.changes.next()
    }

    fn unmark(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.changes.next()?;
        removed("MEMBER", self.member.remove(&bytes(&process)))?;
        self.changes.next()
    }

    fn marks(&self, process: ProcessKey) -> Result<Option<Membership>, StoreError> {
        match self.member.get(&bytes(&process), 0) {
            Ok(value) => Ok(Membership::read_from_bytes(&value).ok()),
            Err(maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(failed("MEMBER", error)),
        }
    }

    fn bound(&mut self, owner: u8, to: Bounds) -> Result<(), StoreError> {
        let OwnerBounds { map, all } = &mut self.bounds;
        let mut next = *all;
        let slot = next.get_mut(usize::from(owner));
        *slot.ok_or(StoreError::Slot { slot: owner.into() })? = to;
        if next != *all {
            // All at once: those that stay are written as they are.
            stored("BOUNDS", map.set(0, bytes(&next), 0))?;
            *all = next;
        }
        Ok(())
    }

    fn set_label_rules(&mut self, rules: LabelRules) -> Result<(), StoreError> {
        self.labels.set_rules(rules)
    }

    fn set_labels(
        &mut self,
        process: ProcessKey,
        gives: u64,
        takes: u64,
    ) -> Result<(), StoreError> {
        self.labels.set(process, gives, takes)
    }

    fn forget_labels(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.labels.forget(process)
    }

    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        self.labels.all()
    }

    fn set_rule_flags(&mut self, hook: Hook, bits: u64) -> Result<(), StoreError> {
        let bits = match self.obeyed {
            RulesObeyed::Yes => bits & flag::LEDGER,
            RulesObeyed::No => 0,
        };
        let raised = self.flags.raise(hook.id(), bits);
        Ok(raised.and_then(|()| self.flags.lower(hook.id(), flag::LEDGER & !bits))?)
    }

    fn capacity(&self, key: EntryKey) -> Option<(&'static str, usize)> {
        self.leases.capacity(key)
    }

    fn open_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        stored("HITS", self.hits.insert(rule_id, 0, 0))
    }

    fn hits(&self, rule_id: u64) -> Result<u64, StoreError> {
        match self.hits.get(&rule_id, 0) {
            Ok(hits) => Ok(hits),
            Err(maps::MapError::KeyNotFound) => Ok(0),
            Err(error) => Err(failed("HITS", error)),
        }
    }

    fn close_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        removed("HITS", self.hits.remove(&rule_id))
    }
}
