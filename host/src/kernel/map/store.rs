//! What policy may ask of the deny maps, so that the ledger can be tested without a kernel.

use krsi_host_abi::deny::{Bounds, Entry, LabelRules, Membership, ProcessKey};
use krsi_host_abi::hook::Hook;

use super::lease::EntryKey;

/// Why a map update did not happen. What was in force before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The map has no room for another key.
    #[error("the {map} map is full")]
    Full {
        /// Name of the map.
        map: &'static str,
    },
    /// The object lacks the map: object and host do not belong together.
    #[error("the object has no {map} map")]
    Missing {
        /// Name of the map.
        map: &'static str,
    },
    /// A slot that no hook has.
    #[error("there is no hook slot {slot}")]
    Slot {
        /// Number of the slot that was asked for.
        slot: u16,
    },
    /// The kernel refused for another reason.
    #[error("updating the {map} map")]
    Kernel {
        /// Name of the map.
        map: &'static str,
        /// Error that the kernel returned.
        #[source]
        source: std::io::Error,
    },
}

/// The deny maps, as the ledger sees them. Removing what is not there succeeds.
pub trait RuleStore: Send {
    /// Puts all leases of a key in force, replacing those before, in one step.
    fn put(&mut self, key: EntryKey, entry: &Entry) -> Result<(), StoreError>;
    /// Removes a key.
    fn remove(&mut self, key: EntryKey) -> Result<(), StoreError>;
    /// Marks a process with lineages.
    fn mark(&mut self, process: ProcessKey, membership: &Membership) -> Result<(), StoreError>;
    /// Removes a process's marks.
    fn unmark(&mut self, process: ProcessKey) -> Result<(), StoreError>;
    /// Marks of a process: the kernel's own view, inherited ones included.
    fn marks(&self, process: ProcessKey) -> Result<Option<Membership>, StoreError>;
    /// Says whom the leases of an owner concern at all.
    fn bound(&mut self, owner: u8, to: Bounds) -> Result<(), StoreError>;
    /// Says what holds of labels.
    fn set_label_rules(&mut self, rules: LabelRules) -> Result<(), StoreError>;
    /// Takes labels from a process, then gives it some; bits of both.
    fn set_labels(&mut self, process: ProcessKey, gives: u64, takes: u64)
    -> Result<(), StoreError>;
    /// Forgets the labels of a process that ended.
    fn forget_labels(&mut self, process: ProcessKey) -> Result<(), StoreError>;
    /// Every process that has labels, and which, as bits.
    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError>;
    /// Says which maps hold a rule for `hook`: bits of [`krsi_host_abi::deny::flag`] but
    /// `FORWARD` and `CANARY`, which routing owns.
    fn set_rule_flags(&mut self, hook: Hook, flags: u64) -> Result<(), StoreError>;
    /// Name of the map that a key lies in, and how many keys it has room for; `None` where every key has its
    /// place.
    fn capacity(&self, key: EntryKey) -> Option<(&'static str, usize)>;
    /// Starts counting the hits of a rule.
    fn open_hits(&mut self, rule_id: u64) -> Result<(), StoreError>;
    /// Hits of a rule so far; 0 for a rule that is not counted.
    fn hits(&self, rule_id: u64) -> Result<u64, StoreError>;
    /// Stops counting the hits of a rule.
    fn close_hits(&mut self, rule_id: u64) -> Result<(), StoreError>;
}
