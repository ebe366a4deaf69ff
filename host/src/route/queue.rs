//! A plugin's queue: shared batches in, bounded in records, what does not fit is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An encoded batch, shared by all readers of a view.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Frames, a batch start first.
    pub bytes: Vec<u8>,
    /// Events in it; descriptions of processes are not counted.
    pub records: u32,
}

/// What a plugin's thread is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Events.
    Batch(Arc<Batch>),
    /// Time has passed.
    Tick,
    /// The end, after what was queued before and could be handled in time.
    Stop,
}

/// Batches without an event carry little; so many of them fill a queue too.
const BATCHES_MAX: usize = 4096;
/// How long a plugin may work off its queue once it is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Arc<Batch>>,
    records: usize,
    tick: bool,
    /// Since when the reader is to stop.
    stop: Option<Instant>,
}

/// A queue with one reader. Writers never wait.
#[derive(Debug)]
pub struct Queue {
    capacity_records: usize,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    lost: AtomicU64,
    unreported: AtomicU64,
}

impl Queue {
    /// A queue that holds so many records.
    #[must_use]
    pub fn new(capacity_records: usize) -> Self {
        Self {
            capacity_records,
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            lost: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
        }
    }

    /// Queues a delivery. A batch that does not fit is dropped and its records are counted; a
    /// second tick is the same as one; a stop always fits.
    pub fn push(&self, delivery: Delivery) {
        let mut waiting = self.lock();
        match delivery {
            Delivery::Batch(batch) => {
                let records = batch.records as usize;
                let fits = waiting.records + records <= self.capacity_records
                    && waiting.batches.len() < BATCHES_MAX;
                // A batch larger than the whole queue still passes through an empty one.
                if !fits && !waiting.batches.is_empty() {
                    self.lost.fetch_add(records as u64, Ordering::Relaxed);
                    self.unreported.fetch_add(records as u64, Ordering::Relaxed);
                    return;
                }
                waiting.records += records;
                waiting.batches.push_back(batch);
            }
            Delivery::Tick => waiting.tick = true,
            Delivery::Stop => waiting.stop = waiting.stop.or_else(|| Some(Instant::now())),
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Waits for the next delivery: a tick before batches, batches in order, the stop last. What is
    /// still queued some seconds after the stop is counted as lost.
    pub fn pop(&self) -> Delivery {
        let mut waiting = self.lock();
        loop {
            if waiting.stop.is_some_and(|since| since.elapsed() > STOP_GRACE) {
                self.lost.fetch_add(waiting.records as u64, Ordering::Relaxed);
                *waiting = Waiting { stop: waiting.stop, ..Waiting::default() };
                return Delivery::Stop;
            }
            if waiting.tick {
                waiting.tick = false;
                return Delivery::Tick;
            }
            if let Some(batch) = waiting.batches.pop_front() {
                waiting.records -= batch.records as usize;
                return Delivery::Batch(batch);
            }
            if waiting.stop.is_some() {
                return Delivery::Stop;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records that did not fit, from the start on.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Records that did not fit since the last call.
    pub fn take_unreported(&self) -> u64 {
        self.unreported.swap(0, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: u32) -> Delivery {
        Delivery::Batch(Arc::new(Batch { bytes: Vec::new(), records }))
    }

    #[test]
    fn what_does_not_fit_is_counted_once() {
        let queue = Queue::new(10);
        queue.push(batch(8));
        queue.push(batch(3));
        queue.push(batch(2));
        assert_eq!((queue.lost(), queue.take_unreported(), queue.take_unreported()), (3, 3, 0));
        assert_eq!((queue.pop(), queue.pop()), (batch(8), batch(2)));
        queue.push(batch(99));
        assert_eq!(queue.pop(), batch(99));
        assert_eq!(queue.lost(), 3);
    }

    #[test]
    fn what_cannot_be_handled_before_the_end_is_counted() {
        let queue = Queue::new(10);
        queue.push(batch(4));
        queue.push(batch(3));
        queue.lock().stop = Instant::now().checked_sub(STOP_GRACE * 2);
        assert_eq!((queue.pop(), queue.lost()), (Delivery::Stop, 7));
        assert_eq!((queue.pop(), queue.lost()), (Delivery::Stop, 7));
    }

    #[test]
    fn ticks_merge_and_the_stop_comes_last() {
        let queue = Queue::new(10);
        queue.push(Delivery::Stop);
        queue.push(Delivery::Tick);
        queue.push(Delivery::Tick);
        queue.push(batch(1));
        let order = [queue.pop(), queue.pop(), queue.pop()];
        assert_eq!(order, [Delivery::Tick, batch(1), Delivery::Stop]);
    }
}
