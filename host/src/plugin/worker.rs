//! One thread per plugin: deliveries in, calls, actions out, answers back in order; faults and swaps
//! between two batches.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::candidate::{Candidate, Start, start};
use super::compile::Identity;
use super::lifecycle::{Life, Next, RestartPolicy, State};
use super::live::{Begun, RunningVersion};
use super::shadow::{ShadowSink, ShadowStats};
use super::taped::Taped;
use super::thread::PluginThread;
use super::world::{CallError, Manifest, StartError};
use crate::record::TapeCause;
use crate::route::queue::{Batch, Delivery, Queue};
use crate::thread::{self, Task};

/// Receiver of a plugin's actions.
pub trait ActionSink: Send {
    /// Puts the actions of `init` into force and withdraws those of an earlier `init` that are not
    /// among them; returns the framed outcomes.
    fn begin(&mut self, actions: &[u8]) -> Vec<u8>;
    /// Applies a list of action frames in order; returns the framed outcomes.
    fn apply(&mut self, actions: &[u8]) -> Vec<u8>;
    /// Learns which files the plugin is about to be told of.
    fn note_files(&mut self, _batch: &Batch) {}
    /// Learns that a call failed, and what is done about it.
    fn failed(&mut self, why: &CallError, next: Next);
    /// Number of the version, given by whoever made the sink.
    fn version(&self) -> u64 {
        0
    }
    /// Learns that this version runs again, as the one that took over from it failed early.
    fn back(&mut self) {}
    /// Learns that this version has proven itself: the one before does not come back.
    fn probation_ended(&mut self) {}
    /// What the plugin is told beside answers to its actions: framed outcomes.
    fn told(&mut self) -> Vec<u8> {
        Vec::new()
    }
    /// Learns something else that people should know.
    fn note(&mut self, text: &str);
    /// Framed descriptions of all processes that the plugin may know of, in lists of bounded size.
    fn processes(&self) -> Vec<Vec<u8>>;
    /// The time: nanoseconds of `CLOCK_BOOTTIME`, and what to add for those since the Unix epoch.
    fn now(&self) -> (u64, i64);
}

/// Counts of one plugin, readable while it runs.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Records that it handled.
    pub records: AtomicU64,
    /// Records that it failed on.
    pub lost: AtomicU64,
    /// Lines of its log that were dropped.
    pub log_dropped: AtomicU64,
    /// Calls into the plugin that failed.
    pub faults: AtomicU64,
    /// Times that it was started again after one.
    pub restarts: AtomicU64,
    /// Duration of the latest restart, microseconds.
    pub restart_us: AtomicU64,
    /// New versions that took over.
    pub swaps: AtomicU64,
    /// Batches in which a shadow was compared.
    pub shadow: ShadowStats,
    state: AtomicU8,
}

impl WorkerStats {
    /// Returns the stage of the plugin's life.
    #[must_use]
    pub fn state(&self) -> State {
        let at = usize::from(self.state.load(Ordering::Relaxed));
        State::ALL.get(at).copied().unwrap_or(State::Stopped)
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

/// The version that runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Manifest: what the version asked for.
    pub manifest: Manifest,
    /// File and hash of the version.
    pub identity: Identity,
}

/// The result of an order to a plugin's thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// Version that gave way.
    pub from: String,
    /// Bytes of state that were handed over.
    pub state_bytes: usize,
    /// Time in which no batch was handled.
    pub pause: Duration,
    /// Number of the version that comes back if the new one fails early.
    pub before: Option<u64>,
}

/// What a worker is told to do between two batches.
pub(super) enum WorkerOrder {
    /// A new version takes over.
    Swap(Box<Successor>),
    /// A version runs without effect.
    Shadow(Box<Successor>, Box<dyn ShadowSink>),
    /// The plugin's calls are recorded from here on.
    Record,
}

/// A version that is to take over, and where it tells how that went.
pub(super) struct Successor {
    pub(super) candidate: Candidate,
    pub(super) start: Start,
    pub(super) sink: Option<Box<dyn ActionSink>>,
    pub(super) reply: SyncSender<Result<Swapped, StartError>>,
}

/// What the thread and its owner share.
pub(super) struct Desk {
    pub(super) queue: Arc<Queue>,
    pub(super) stats: Arc<WorkerStats>,
    /// None once the thread has ended: nobody takes them any more.
    orders: Mutex<Option<Vec<WorkerOrder>>>,
    about: Mutex<Arc<About>>,
}

impl Desk {
    pub(super) fn orders(&self) -> Vec<WorkerOrder> {
        lock(&self.orders).as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes no more orders; those that wait are dropped, and so is whoever waits for their answers.
    fn close(&self) {
        *lock(&self.orders) = None;
    }

    pub(super) fn set_about(&self, about: Arc<About>) {
        *lock(&self.about) = about;
    }
}

/// Closes a desk when its thread ends, by a panic too.
struct ClosesDesk(Arc<Desk>);

impl Drop for ClosesDesk {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running plugin.
pub struct Worker {
    desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Initialises a plugin, puts its first rules in force, and starts its thread.
    ///
    /// # Errors
    /// When it fails, refuses its configuration, or gets no thread.
    pub fn start(
        candidate: Candidate,
        begin: Start,
        policy: RestartPolicy,
        queue: Arc<Queue>,
        mut sink: Box<dyn ActionSink>,
    ) -> Result<Self, StartError> {
        let Candidate { manifest, pre, world } = candidate;
        let identity = pre.identity().clone();
        let mut world = Taped::new(world, &begin.recorder, &manifest, &pre, TapeCause::Started);
        let first = start(&mut world, &begin, None).map_err(|why| why.of(&identity))?;
        let outcomes = sink.begin(&first);
        let name = format!("plugin-{}", manifest.name);
        let about = Arc::new(About { manifest, identity });
        let desk = Arc::new(Desk {
            queue,
            stats: Arc::default(),
            orders: Mutex::new(Some(Vec::new())),
            about: Mutex::new(Arc::clone(&about)),
        });
        let live = RunningVersion::new(
            Arc::clone(&about),
            pre,
            world,
            begin,
            sink,
            Begun { first, outcomes },
        );
        let mut running = PluginThread::new(Arc::clone(&desk), Life::new(policy), live);
        let closing = ClosesDesk(Arc::clone(&desk));
        let body = move || {
            let _closing = closing;
            running.run();
        };
        let thread = thread::spawn(&name, Task::Passing, body)
            .map_err(|source| StartError::Thread { file: about.identity.file.clone(), source })?;
        Ok(Self { desk, thread: Mutex::new(Some(thread)) })
    }

    /// Returns the version that runs now.
    #[must_use]
    pub fn about(&self) -> Arc<About> {
        Arc::clone(&lock(&self.desk.about))
    }

    #[must_use]
    pub fn stats(&self) -> &WorkerStats {
        &self.desk.stats
    }

    #[must_use]
    pub fn queue(&self) -> &Arc<Queue> {
        &self.desk.queue
    }

    /// Lets a new version take over between two batches, and waits for how that goes. On an error
    /// the old one runs on.
    ///
    /// # Errors
    /// When the new version fails, or refuses its configuration or the state.
    pub fn swap(
        &self,
        candidate: Candidate,
        start: Start,
        sink: Box<dyn ActionSink>,
    ) -> Result<Swapped, StartError> {
        let file = candidate.identity().file.clone();
        let (reply, answer) = sync_channel(1);
        let successor = Successor { candidate, start, sink: Some(sink), reply };
        self.order(WorkerOrder::Swap(Box::new(successor)));
        answered(&answer, file)
    }

    /// Runs a version beside, from the same state, without effect; its differences go to `sink`.
    ///
    /// # Errors
    /// When it fails, or refuses its configuration or the state.
    pub fn shadow(
        &self,
        candidate: Candidate,
        start: Start,
        sink: Box<dyn ShadowSink>,
    ) -> Result<Swapped, StartError> {
        let file = candidate.identity().file.clone();
        let (reply, answer) = sync_channel(1);
        let successor = Successor { candidate, start, sink: None, reply };
        self.order(WorkerOrder::Shadow(Box::new(successor), sink));
        answered(&answer, file)
    }

    /// Has its calls recorded from between two batches on, by whatever recorder its start names.
    pub fn record(&self) {
        self.order(WorkerOrder::Record);
    }

    fn order(&self, order: WorkerOrder) {
        if let Some(orders) = &mut *lock(&self.desk.orders) {
            orders.push(order);
        }
        self.desk.queue.push(Delivery::Order);
    }

    /// Lets the plugin finish what is queued, and waits for it.
    pub fn stop(&self) {
        self.desk.queue.push(Delivery::Stop);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // That one panicked is told by itself.
            let _ended = thread.join();
        }
    }
}

fn answered(
    answer: &Receiver<Result<Swapped, StartError>>,
    file: std::path::PathBuf,
) -> Result<Swapped, StartError> {
    // A worker that stops meanwhile drops the order unanswered.
    answer.recv().unwrap_or(Err(StartError::Stopping { file }))
}

/// Returns the time since `start`.
pub(super) fn since(start: Instant) -> Duration {
    start.elapsed()
}
