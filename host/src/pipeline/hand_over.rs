//! Records for one reader from a thread that nothing waits for: it waits for room in the reader's queue, so that much
//! to tell costs no events.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::clock;
use crate::route::batch::private;
use crate::route::queue::{Batch, Delivery, Queue};

/// Time between two looks for room in a queue.
const LOOK: Duration = Duration::from_millis(20);
/// How long room is waited for. After that a batch is pushed as any other, and counted if it is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// The reader of the queue is gone, or that of the rings.
pub(super) struct Gone;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// The batch lies in the queue.
    Queued,
    /// There was no room for it; the queue tells its reader.
    Lost,
}

/// Hands over so many records, as frames of the host's schema.
pub(super) fn hand_over(queue: &Weak<Queue>, frames: &[u8], records: u32) -> Result<Handed, Gone> {
    let mut bytes = private((clock::boot_ns(), clock::unix_offset_ns()));
    bytes.extend_from_slice(frames);
    let sent = Arc::new(Batch::new(bytes, records, None));
    let until = Instant::now() + PATIENCE;
    loop {
        let queue = queue.upgrade().ok_or(Gone)?;
        if queue.offer(Arc::clone(&sent)) {
            return Ok(Handed::Queued);
        }
        if Instant::now() > until {
            let queued = queue.push(Delivery::Batch(sent));
            return Ok(if queued { Handed::Queued } else { Handed::Lost });
        }
        drop(queue);
        std::thread::sleep(LOOK);
    }
}
