//! The kernel rings → raw records, on the one thread that owns them.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::record::{CutRecord, RawRecord};

/// Why the rings cannot be waited on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// `poll(2)` failed.
    #[error("waiting for the rings")]
    Poll(#[source] Errno),
}

/// Reason why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A ring may hold records, or the time is up.
    Records,
    /// The bell's descriptor became readable.
    Bell,
}

/// A ring of the kernel.
pub type Ring = RingBuf<MapData>;

/// Both rings. A denial waits for what happened before it, and for no flood that came after.
pub struct Rings {
    verdicts: Ring,
    telemetry: Ring,
}

impl Rings {
    /// Takes over the rings.
    #[must_use]
    pub const fn new(verdicts: Ring, telemetry: Ring) -> Self {
        Self { verdicts, telemetry }
    }

    /// Waits until a ring has records, `bell` becomes readable, or `timeout_ms` have passed.
    ///
    /// # Errors
    /// When `poll(2)` fails for another reason than a signal.
    pub fn wait(&self, bell: BorrowedFd<'_>, timeout_ms: i64) -> Result<Wake, ReadError> {
        let (verdicts, telemetry) = (self.verdicts.as_fd(), self.telemetry.as_fd());
        let mut fds = [
            PollFd::new(&bell, PollFlags::IN),
            PollFd::new(&verdicts, PollFlags::IN),
            PollFd::new(&telemetry, PollFlags::IN),
        ];
        let timeout =
            Timespec { tv_sec: timeout_ms / 1000, tv_nsec: timeout_ms % 1000 * 1_000_000 };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(ReadError::Poll(errno)),
        }
        let [bell, ..] = fds;
        Ok(if bell.revents().is_empty() { Wake::Records } else { Wake::Bell })
    }

    /// Hands at most `budget` records, and one, to `sink`; returns how many. A denial comes after what
    /// happened before it: whom it was denied and what runs there stands in the other ring.
    pub fn drain(
        &mut self,
        budget: usize,
        mut sink: impl FnMut(Result<RawRecord<'_>, CutRecord>),
    ) -> usize {
        let mut records = 0;
        while records < budget {
            let Some(item) = self.verdicts.next() else { break };
            let verdict = RawRecord::parse(&item);
            let until = claimed_time(&verdict);
            while records < budget {
                let Some(item) = self.telemetry.next() else { break };
                let record = RawRecord::parse(&item);
                let is_later = claimed_time(&record) >= until;
                sink(record);
                records += 1;
                if is_later {
                    break;
                }
            }
            sink(verdict);
            records += 1;
        }
        while records < budget {
            let Some(item) = self.telemetry.next() else { break };
            sink(RawRecord::parse(&item));
            records += 1;
        }
        records
    }
}

/// When a record claims to have happened, `CLOCK_BOOTTIME`; 0 when it is too short to claim any time.
fn claimed_time(record: &Result<RawRecord<'_>, CutRecord>) -> u64 {
    record.as_ref().map_or(0, |record| record.header.boot_ns)
}
