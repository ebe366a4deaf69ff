//! The kernel rings → raw records, on the one thread that owns them.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Why the rings cannot be waited on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// `poll(2)` failed.
    #[error("waiting for the rings")]
    Poll(#[source] Errno),
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A ring may hold records, or the time is up.
    Records,
    /// The bell's descriptor became readable.
    Bell,
}

/// A ring of the kernel.
pub type Ring = RingBuf<MapData>;

/// Both rings. Denials are read first, so that no flood of telemetry delays them.
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

    /// Hands at most `budget` records to `sink`; returns how many.
    pub fn drain(&mut self, budget: usize, mut sink: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        for ring in [&mut self.verdicts, &mut self.telemetry] {
            while records < budget {
                let Some(item) = ring.next() else { break };
                sink(&item);
                records += 1;
            }
        }
        records
    }
}
