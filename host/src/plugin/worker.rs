//! One thread per plugin: deliveries in, calls, actions out, answers back in order.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use krsi_plugin_schema::frame::push;
use krsi_plugin_schema::latest::{BatchStart, Lost, LostWhere, SCHEMA, Tick, kind};

use super::compile::PluginPre;
use super::lifecycle::{Input, State};
use super::world::{CallError, Manifest, StartError, World};
use crate::route::queue::{Delivery, Queue};

/// Where a plugin's actions go.
pub trait ActionSink: Send {
    /// Applies a list of action frames in order; returns the framed outcomes.
    fn apply(&mut self, actions: &[u8]) -> Vec<u8>;
    /// Learns that the plugin has failed and will never act again.
    fn failed(&mut self, why: &CallError);
    /// The time: nanoseconds of `CLOCK_BOOTTIME`, and what to add for those since the Unix epoch.
    fn now(&self) -> (u64, i64);
}

/// Counts of one plugin, readable while it runs.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Records that it was given.
    pub records: AtomicU64,
    /// Records that it failed on, or that came after its end.
    pub lost: AtomicU64,
    /// Lines of its log that were dropped.
    pub log_dropped: AtomicU64,
    state: AtomicU8,
}

impl WorkerStats {
    /// Where the plugin is in its life.
    #[must_use]
    pub fn state(&self) -> State {
        let states = [State::Loaded, State::Running, State::Failed, State::Stopped];
        let at = usize::from(self.state.load(Ordering::Relaxed));
        states.get(at).copied().unwrap_or(State::Failed)
    }

    fn input(&self, input: Input) {
        self.state.store(self.state().after(input) as u8, Ordering::Relaxed);
    }
}

/// A plugin that was described and can be started.
pub struct WorkerSpec {
    /// What it asks for.
    pub manifest: Manifest,
    file: PathBuf,
    world: Box<dyn World>,
}

impl WorkerSpec {
    /// Instantiates a plugin and asks what it wants.
    ///
    /// # Errors
    /// When a call fails or the manifest is refused.
    pub fn describe(pre: &PluginPre) -> Result<Self, StartError> {
        let file = pre.file().to_path_buf();
        let failed = |source| StartError::Call { file: file.clone(), source };
        let mut world = pre.instantiate().map_err(failed)?;
        let manifest = world.describe().map_err(failed)?;
        let manifest =
            manifest.map_err(|source| StartError::Manifest { file: file.clone(), source })?;
        world.set_name(&manifest.name);
        Ok(Self { manifest, file, world })
    }

    /// Initialises the plugin, puts its first rules in force, and starts its thread.
    ///
    /// # Errors
    /// When it fails, refuses its configuration, or gets no thread.
    pub fn start(
        mut self,
        config: &[u8],
        seed: u64,
        queue: Arc<Queue>,
        mut sink: Box<dyn ActionSink>,
    ) -> Result<Worker, StartError> {
        let file = self.file.clone();
        let failed = |source| StartError::Call { file: file.clone(), source };
        let actions = self.world.init(config, seed).map_err(failed)?;
        let actions =
            actions.map_err(|reason| StartError::Config { file: file.clone(), reason })?;
        let outcomes = sink.apply(&actions);
        let stats = Arc::new(WorkerStats::default());
        stats.input(Input::Initialised);
        let mut thread = Running {
            world: self.world,
            sink,
            outcomes,
            queue: Arc::clone(&queue),
            stats: Arc::clone(&stats),
        };
        let thread = std::thread::Builder::new()
            .name(format!("plugin-{}", self.manifest.name).chars().take(15).collect())
            .spawn(move || thread.run())
            .map_err(|source| StartError::Thread { file, source })?;
        let thread = Mutex::new(Some(thread));
        Ok(Worker { manifest: self.manifest, queue, stats, thread })
    }
}

/// A running plugin.
pub struct Worker {
    /// What it asked for.
    pub manifest: Manifest,
    /// Its queue.
    pub queue: Arc<Queue>,
    /// Its counts.
    pub stats: Arc<WorkerStats>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Lets the plugin finish what is queued, and waits for it.
    pub fn stop(&self) {
        self.queue.push(Delivery::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that panicked has nothing more to say.
            let _ended = thread.join();
        }
    }
}

struct Running {
    world: Box<dyn World>,
    sink: Box<dyn ActionSink>,
    /// Framed answers that the plugin has not seen yet.
    outcomes: Vec<u8>,
    queue: Arc<Queue>,
    stats: Arc<WorkerStats>,
}

impl Running {
    fn run(&mut self) {
        loop {
            let (records, result) = match self.queue.pop() {
                Delivery::Stop => break self.stats.input(Input::Stop),
                Delivery::Tick => (0, self.tick()),
                Delivery::Batch(batch) => {
                    let records = u64::from(batch.records);
                    (records, self.reports().and_then(|()| self.handle(&batch.bytes)))
                }
            };
            let result = result.and_then(|()| self.reports());
            self.stats.log_dropped.store(self.world.log_dropped(), Ordering::Relaxed);
            match result {
                Ok(()) => {
                    self.stats.records.fetch_add(records, Ordering::Relaxed);
                }
                Err(error) => {
                    self.stats.lost.fetch_add(records, Ordering::Relaxed);
                    break self.fail(&error);
                }
            }
        }
    }

    fn fail(&mut self, error: &CallError) {
        self.stats.input(Input::Fault);
        self.sink.failed(error);
        // What still comes is counted, so that nothing is lost silently.
        loop {
            match self.queue.pop() {
                Delivery::Stop => return,
                Delivery::Tick => {}
                Delivery::Batch(batch) => {
                    self.stats.lost.fetch_add(u64::from(batch.records), Ordering::Relaxed);
                }
            }
        }
    }

    fn tick(&mut self) -> Result<(), CallError> {
        let mut batch = self.private();
        // A tick is an empty body.
        let _fits = push(&mut batch, kind::TICK, &Tick {});
        self.handle(&batch)
    }

    /// Hands over answers and losses, if there are any. Answers to what that causes wait for the
    /// next round, or two plugins' worth of talk could go on for ever.
    fn reports(&mut self) -> Result<(), CallError> {
        let lost = self.queue.take_unreported();
        if self.outcomes.is_empty() && lost == 0 {
            return Ok(());
        }
        let mut batch = self.private();
        batch.append(&mut self.outcomes);
        if lost > 0 {
            let lost = Lost { place: LostWhere::Queue, records: lost };
            // A loss is a few bytes.
            let _fits = push(&mut batch, kind::LOST, &lost);
        }
        self.handle(&batch)
    }

    fn private(&self) -> Vec<u8> {
        let (boot_ns, unix_offset_ns) = self.sink.now();
        let mut batch = Vec::new();
        let start = BatchStart { schema: SCHEMA, boot_ns, unix_offset_ns };
        // A batch start is a few bytes.
        let _fits = push(&mut batch, kind::BATCH_START, &start);
        batch
    }

    fn handle(&mut self, batch: &[u8]) -> Result<(), CallError> {
        let actions = self.world.handle(batch)?;
        if !actions.is_empty() {
            let outcomes = self.sink.apply(&actions);
            self.outcomes.extend_from_slice(&outcomes);
        }
        Ok(())
    }
}
