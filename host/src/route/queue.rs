//! A plugin's queue: shared batches in, bounded in records, what does not fit is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use krsi_plugin_schema::latest::{FileKey, Lost, LostOf, LostWhere};

use super::buffer_pool::BufferPool;

/// Room for a batch start, which is made after the frames that follow it.
pub(super) const HEAD_ROOM: usize = 64;

/// An encoded batch, shared by all readers of a view.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Offset of the first frame in `bytes`.
    start: usize,
    records: u32,
    /// Losses told in it.
    lost: Vec<Lost>,
    /// Files that it names, where its schema does not tell them from later ones.
    files: Vec<FileKey>,
    /// Pool that takes the buffer back.
    home: Option<Arc<BufferPool>>,
}

impl Batch {
    /// A batch of so many events; descriptions of processes are not counted.
    #[must_use]
    pub const fn new(bytes: Vec<u8>, records: u32, home: Option<Arc<BufferPool>>) -> Self {
        Self { bytes, start: 0, records, lost: Vec::new(), files: Vec::new(), home }
    }

    /// A batch whose first frame goes into the last of [`HEAD_ROOM`] bytes before the others, of so many
    /// events and with these losses told.
    pub(super) fn headed(
        head: &[u8],
        mut bytes: Vec<u8>,
        (records, lost): (u32, Vec<Lost>),
        home: Arc<BufferPool>,
    ) -> Self {
        let start = HEAD_ROOM.saturating_sub(head.len());
        if let Some(room) = bytes.get_mut(start..HEAD_ROOM) {
            room.copy_from_slice(head);
        }
        Self { bytes, start, records, lost, files: Vec::new(), home: Some(home) }
    }

    /// A batch without events.
    #[must_use]
    pub const fn private(bytes: Vec<u8>) -> Self {
        Self::new(bytes, 0, None)
    }

    /// The batch with the files that it names.
    #[must_use]
    pub fn with_files(mut self, files: Vec<FileKey>) -> Self {
        self.files = files;
        self
    }

    /// Files that it names, in order, where its schema does not tell them from later ones.
    #[must_use]
    pub fn files(&self) -> &[FileKey] {
        &self.files
    }

    /// Frames, a batch start first.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Events in the batch.
    #[must_use]
    pub const fn records(&self) -> u32 {
        self.records
    }

    /// Losses told in it.
    #[must_use]
    pub fn lost(&self) -> &[Lost] {
        &self.lost
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        (self.bytes(), self.records) == (other.bytes(), other.records)
    }
}

impl Eq for Batch {}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.give(std::mem::take(&mut self.bytes));
        }
    }
}

/// What a plugin's thread takes from its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// An order lies ready elsewhere.
    Order,
    /// A batch of events.
    Batch(Arc<Batch>),
    /// Time has passed.
    Tick,
    /// The end, after what was queued before and could be handled in time.
    Stop,
}

/// The reason why a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The time of the pause is over.
    Over,
    /// An order lies ready.
    Order,
    /// The plugin's thread is to end.
    Stop,
}

/// Batches without an event carry little; so many of them fill a queue too.
const BATCHES_MAX: usize = 4096;
/// Batches that lie in a queue when another is offered: they may be long.
const OFFERED_MAX: usize = 16;
/// How long a plugin may work off its queue once it is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct QueuedBatches {
    batches: VecDeque<Arc<Batch>>,
    records: usize,
    /// Losses that the reader is to be told, one for each place and hook.
    owed: Vec<Lost>,
    order: bool,
    /// Since when the reader is to stop.
    stop: Option<Instant>,
}

impl QueuedBatches {
    /// Whether so many records fit. A batch larger than the whole queue still passes through an empty one.
    fn has_room(&self, records: usize, capacity_records: usize) -> bool {
        let fits = self.records + records <= capacity_records && self.batches.len() < BATCHES_MAX;
        fits || self.batches.is_empty()
    }

    fn owe(&mut self, lost: Lost) {
        let same = |owed: &&mut Lost| (owed.place, owed.of) == (lost.place, lost.of);
        match self.owed.iter_mut().find(same) {
            Some(owed) => owed.records = owed.records.saturating_add(lost.records),
            None if lost.records > 0 => self.owed.push(lost),
            None => {}
        }
    }

    /// What a batch held that the reader does not get: its events, and what it told of losses.
    fn owe_batch(&mut self, batch: &Batch) {
        let records = u64::from(batch.records());
        self.owe(Lost { place: LostWhere::Queue, records, of: LostOf::Any });
        batch.lost().iter().for_each(|lost| self.owe(*lost));
    }
}

/// A queue with one reader. Writers never wait.
#[derive(Debug)]
pub struct Queue {
    capacity_records: usize,
    waiting: Mutex<QueuedBatches>,
    arrived: Condvar,
    lost: AtomicU64,
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
        }
    }

    /// Queues a delivery. A batch that does not fit is dropped and its records are counted; a
    /// second order is the same as one; a stop always fits. Returns whether it was queued.
    pub fn push(&self, delivery: Delivery) -> bool {
        let mut waiting = self.lock();
        match delivery {
            Delivery::Batch(batch) => {
                let records = batch.records() as usize;
                if !waiting.has_room(records, self.capacity_records) {
                    self.lost.fetch_add(records as u64, Ordering::Relaxed);
                    waiting.owe_batch(&batch);
                    return false;
                }
                waiting.records += records;
                waiting.batches.push_back(batch);
            }
            // Ticks are made here, by the reader's own clock.
            Delivery::Tick => {}
            Delivery::Order => waiting.order = true,
            Delivery::Stop => waiting.stop = waiting.stop.or_else(|| Some(Instant::now())),
        }
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Queues a batch if there is room for it, and says whether there was: for a writer that can come back.
    pub fn offer(&self, batch: Arc<Batch>) -> bool {
        let mut waiting = self.lock();
        let records = batch.records() as usize;
        // Most of the room is for those that cannot come back.
        let fits = waiting.records + records <= self.capacity_records / 4;
        let has_room = fits && waiting.batches.len() < OFFERED_MAX;
        if !has_room && !waiting.batches.is_empty() {
            return false;
        }
        waiting.records += records;
        waiting.batches.push_back(batch);
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Waits for the next delivery: a order first, a tick once `tick_at` has come, batches in order,
    /// the stop last. What is still queued some seconds after the stop is counted as lost.
    pub fn pop(&self, tick_at: Option<Instant>) -> Delivery {
        let mut waiting = self.lock();
        loop {
            if waiting.order {
                waiting.order = false;
                return Delivery::Order;
            }
            if waiting.stop.is_some_and(|since| since.elapsed() > STOP_GRACE) {
                self.lost.fetch_add(waiting.records as u64, Ordering::Relaxed);
                *waiting = QueuedBatches { stop: waiting.stop, ..QueuedBatches::default() };
                return Delivery::Stop;
            }
            let left = tick_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) && waiting.stop.is_none() {
                return Delivery::Tick;
            }
            if let Some(batch) = waiting.batches.pop_front() {
                waiting.records -= batch.records() as usize;
                return Delivery::Batch(batch);
            }
            if waiting.stop.is_some() {
                return Delivery::Stop;
            }
            waiting = self.wait(waiting, left);
        }
    }

    fn wait<'q>(
        &'q self,
        waiting: MutexGuard<'q, QueuedBatches>,
        most: Option<Duration>,
    ) -> MutexGuard<'q, QueuedBatches> {
        match most {
            None => self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            Some(most) => {
                let woken = self.arrived.wait_timeout(waiting, most);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Waits for a order or a stop until `until`, or for ever; everything else stays queued.
    pub fn pause(&self, until: Option<Instant>) -> Pause {
        let mut waiting = self.lock();
        loop {
            if waiting.stop.is_some() {
                return Pause::Stop;
            }
            if waiting.order {
                waiting.order = false;
                return Pause::Order;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Pause::Over;
            }
            waiting = self.wait(waiting, left);
        }
    }

    /// Counts everything that is queued as lost.
    pub fn discard(&self) {
        let mut waiting = self.lock();
        self.lost.fetch_add(waiting.records as u64, Ordering::Relaxed);
        for batch in std::mem::take(&mut waiting.batches) {
            waiting.owe_batch(&batch);
        }
        waiting.records = 0;
    }

    /// Records that wait in the queue.
    pub fn depth(&self) -> usize {
        self.lock().records
    }

    /// Records that did not fit, from the start on.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Has the reader told of losses, with those that it is told of anyway.
    pub fn owe(&self, lost: impl IntoIterator<Item = Lost>) {
        let mut waiting = self.lock();
        lost.into_iter().for_each(|lost| waiting.owe(lost));
    }

    /// What the reader is to be told of losses since the last call.
    pub fn take_owed(&self) -> Vec<Lost> {
        std::mem::take(&mut self.lock().owed)
    }

    fn lock(&self) -> MutexGuard<'_, QueuedBatches> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: u32) -> Delivery {
        Delivery::Batch(Arc::new(Batch::new(Vec::new(), records, None)))
    }

    fn lost(records: u64) -> Lost {
        Lost { place: LostWhere::Queue, records, of: LostOf::Any }
    }

    #[test]
    fn what_a_dropped_batch_tells_of_losses_is_told_later() {
        let queue = Queue::new(10);
        let ring = Lost { place: LostWhere::Ring, records: 5, of: LostOf::Hook(3) };
        let telling = || {
            let home = Arc::default();
            Delivery::Batch(Arc::new(Batch::headed(&[], Vec::new(), (3, vec![ring]), home)))
        };
        queue.push(batch(9));
        queue.push(telling());
        queue.push(telling());
        queue.owe([Lost { records: 0, of: LostOf::Any, ..ring }]);
        assert_eq!(queue.take_owed(), [lost(6), Lost { records: 10, ..ring }]);
        assert_eq!((queue.pop(None), queue.depth()), (batch(9), 0));
        queue.push(telling());
        queue.discard();
        assert_eq!((queue.take_owed(), queue.lost()), (vec![lost(3), ring], 9));
    }

    #[test]
    fn what_does_not_fit_is_counted_once() {
        let queue = Queue::new(10);
        queue.push(batch(8));
        queue.push(batch(3));
        queue.push(batch(2));
        assert_eq!(
            (queue.lost(), queue.take_owed(), queue.take_owed()),
            (3, vec![lost(3)], vec![])
        );
        assert_eq!((queue.pop(None), queue.pop(None)), (batch(8), batch(2)));
        queue.push(batch(99));
        assert_eq!(queue.pop(None), batch(99));
        assert_eq!(queue.lost(), 3);
    }

    #[test]
    fn what_is_offered_waits_for_room_and_is_not_counted() {
        let queue = Queue::new(40);
        let offer = |records| queue.offer(Arc::new(Batch::new(Vec::new(), records, None)));
        assert_eq!([offer(8), offer(3), offer(2)], [true, false, true]);
        assert_eq!((queue.lost(), queue.take_owed(), queue.depth()), (0, vec![], 10));
        // The rest is for what cannot come back.
        queue.push(batch(30));
        assert_eq!((queue.lost(), queue.depth()), (0, 40));
        assert_eq!(queue.pop(None), batch(8));
        assert_eq!(queue.pop(None), batch(2));
        assert_eq!(queue.pop(None), batch(30));
        assert!(offer(3));
        (0..OFFERED_MAX - 1).for_each(|_| assert!(offer(0)));
        assert!(!offer(0), "as many batches as may lie there");
    }

    #[test]
    fn what_cannot_be_handled_before_the_end_is_counted() {
        let queue = Queue::new(10);
        queue.push(batch(4));
        queue.push(batch(3));
        queue.lock().stop = Instant::now().checked_sub(STOP_GRACE * 2);
        assert_eq!((queue.pop(None), queue.lost()), (Delivery::Stop, 7));
        assert_eq!((queue.pop(None), queue.lost()), (Delivery::Stop, 7));
    }

    #[test]
    fn a_pause_leaves_batches_where_they_are() {
        let queue = Queue::new(10);
        queue.push(batch(4));
        assert_eq!(queue.pause(Some(Instant::now())), Pause::Over);
        queue.push(Delivery::Order);
        assert_eq!((queue.pause(None), queue.depth()), (Pause::Order, 4));
        queue.discard();
        assert_eq!((queue.lost(), queue.take_owed(), queue.depth()), (4, vec![lost(4)], 0));
        queue.push(Delivery::Stop);
        assert_eq!(queue.pause(None), Pause::Stop);
    }

    #[test]
    fn a_due_tick_comes_before_batches_and_the_stop_last() {
        let queue = Queue::new(10);
        queue.push(batch(1));
        assert_eq!(queue.pop(Some(Instant::now())), Delivery::Tick);
        let later = Some(Instant::now() + Duration::from_secs(60));
        assert_eq!(queue.pop(later), batch(1));
        let soon = Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(queue.pop(soon), Delivery::Tick);
        queue.push(Delivery::Stop);
        queue.push(batch(1));
        assert_eq!((queue.pop(soon), queue.pop(soon)), (batch(1), Delivery::Stop));
    }
}
