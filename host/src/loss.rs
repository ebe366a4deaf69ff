//! Losses inside the host's process, each counted where it happens. The kernel's counters and the plugins' queues
//! have counts of their own.

use std::sync::atomic::{AtomicU64, Ordering};

/// A place where records can be lost, beside the kernel's own counters and the plugins' queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A record that did not decode.
    Decode,
    /// An event that was too long for a frame.
    Encode,
    /// A report beyond the rate of its kind.
    Rate,
    /// A report that standard output could not take in time.
    Output,
    /// A line of the host's own log that standard error could not take in time.
    Log,
}

impl Loss {
    /// Every place, in the order of the flow.
    pub(crate) const ALL: [Loss; 5] =
        [Loss::Decode, Loss::Encode, Loss::Rate, Loss::Output, Loss::Log];

    /// Name in the summary.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Loss::Decode => "decode",
            Loss::Encode => "encode",
            Loss::Rate => "rate",
            Loss::Output => "output",
            Loss::Log => "log",
        }
    }
}

/// Counts of every loss in the host, by its place.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    counts: [AtomicU64; Loss::ALL.len()],
}

impl Losses {
    /// Adds to a count.
    pub(crate) fn add(&self, loss: Loss, records: u64) {
        if let Some(count) = self.counts.get(loss as usize) {
            count.fetch_add(records, Ordering::Relaxed);
        }
    }

    #[must_use]
    pub(crate) fn count(&self, loss: Loss) -> u64 {
        self.counts.get(loss as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
