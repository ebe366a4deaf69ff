//! Counts of each hook in the host, for the summary.

use std::sync::atomic::{AtomicU64, Ordering};

use krsi_host_abi::hook::HOOK_SLOTS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Counted {
    /// Records that were decoded.
    Delivered = 0,
    /// Records that did not decode, by the hook they claim.
    Undecoded = 1,
    /// Events that were too long for a frame.
    TooLong = 2,
    /// Records with a text that is cut.
    Cut = 3,
    /// Calls that the kernel did not run the program for.
    Missed = 4,
}

const COUNTED: usize = 5;

/// Counts by hook slot.
pub(super) struct HookCounters {
    slots: [[AtomicU64; COUNTED]; HOOK_SLOTS],
}

impl Default for HookCounters {
    fn default() -> Self {
        Self { slots: [const { [const { AtomicU64::new(0) }; COUNTED] }; HOOK_SLOTS] }
    }
}

impl HookCounters {
    /// Adds to a count of a hook.
    pub(super) fn add(&self, slot: u16, counted: Counted, more: u64) {
        if let Some(count) = self.count(slot, counted).filter(|_| more > 0) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// A count of a hook.
    pub(super) fn read(&self, slot: u16, counted: Counted) -> u64 {
        self.count(slot, counted).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// A count of all hooks.
    pub(super) fn total(&self, counted: Counted) -> u64 {
        let counts = self.slots.iter().filter_map(|slot| slot.get(counted as usize));
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn count(&self, slot: u16, counted: Counted) -> Option<&AtomicU64> {
        self.slots.get(usize::from(slot))?.get(counted as usize)
    }
}
