//! A plugin that fails all the time costs its neighbour neither an event nor its latency.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use krsi_host::facade::{
    ActionSink, Batch, CallError, Candidate, CompileLimits, Compiler, Delivery, Engine, Limits,
    Next, Queue, RestartPolicy, Start, Worker, private,
};
use krsi_plugin_schema::latest::{Body, Event, FileOpen, Meta};

/// Batches of one run, and how far apart they come.
const BATCHES: u32 = 200;
/// Runs of either kind, in turn: the quietest counts, as the machine has other work too.
const ROUNDS: u32 = 4;
const PACE: Duration = Duration::from_millis(1);

/// Notes when each batch's actions arrived.
#[derive(Clone, Default)]
struct Sink {
    failures: Arc<AtomicU64>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl ActionSink for Sink {
    fn begin(&mut self, _actions: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn apply(&mut self, _actions: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn failed(&mut self, _why: &CallError, _next: Next) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
    fn note(&mut self, text: &str) {
        self.notes.lock().unwrap().push(text.into());
    }
    fn processes(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    fn now(&self) -> (u64, i64) {
        (1, 0)
    }
}

fn worker(config: &str, limits: Limits) -> (Worker, Sink) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let packages = ["fixture-gauge".to_owned()];
    let folder = krsi_toolchain::build_plugins(root, &root.join("target/wasm"), &packages).unwrap();
    let program = env!("CARGO_BIN_EXE_krsi-host").into();
    let compiler = Compiler::new(program, CompileLimits::default(), None, None);
    let engine = Engine::new(limits.stack_bytes).unwrap();
    let pre = compiler.load(&engine, &folder.join("gauge.wasm"), limits).unwrap();
    let candidate = Candidate::describe(pre).unwrap();
    let start = Start { config: config.as_bytes().into(), seed: 1 };
    let policy = RestartPolicy { faults_max: u32::MAX, wait: Duration::ZERO, ..Default::default() };
    let sink = Sink::default();
    let queue = Arc::new(Queue::new(1 << 20));
    let worker = Worker::start(candidate, start, policy, queue, Box::new(sink.clone())).unwrap();
    (worker, sink)
}

fn batch(events: u32) -> Arc<Batch> {
    let mut bytes = private((1, 0));
    let open = FileOpen { path: "/usr/lib/libc.so.6".into(), ..FileOpen::default() };
    let event = Event { meta: Meta::default(), body: Body::FileOpen(open) };
    (0..events).for_each(|_| event.push(&mut bytes).unwrap());
    Arc::new(Batch::new(bytes, events, None))
}

/// Latency of the healthy plugin at the 99th percentile, with its neighbours fed the same.
fn run(healthy: &Worker, neighbours: &[&Worker]) -> Duration {
    let batch = batch(2000);
    let handled = || healthy.stats().records.load(Ordering::Relaxed);
    let mut times = Vec::new();
    for _ in 0..BATCHES {
        let (before, start) = (handled(), Instant::now());
        for worker in neighbours.iter().chain(&[healthy]) {
            worker.queue().push(Delivery::Batch(Arc::clone(&batch)));
        }
        while handled() == before {
            assert!(start.elapsed() < Duration::from_secs(20), "the healthy plugin stands still");
            std::thread::yield_now();
        }
        times.push(start.elapsed());
        std::thread::sleep(PACE);
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn a_neighbour_that_fails_all_the_time_costs_nothing() {
    let (healthy, _) = worker("", Limits::default());
    // Traps in every second batch, and starts again.
    let (trapping, trapped) = worker("trap", Limits::default());
    // Reaches its deadline in most batches: a deadline of no time at all.
    let hasty = Limits { call_deadline: Duration::ZERO, ..Limits::default() };
    let (late, _) = worker("", hasty);
    let rounds = (0..ROUNDS).map(|_| (run(&healthy, &[]), run(&healthy, &[&trapping, &late])));
    let (alone, beside): (Vec<_>, Vec<_>) = rounds.unzip();
    let [alone, beside] = [alone, beside].map(|times| times.into_iter().min().unwrap());
    println!("p99 alone {alone:?}, beside failing neighbours {beside:?}");
    assert!(trapped.failures.load(Ordering::Relaxed) > 50, "the neighbour never failed");
    // Two cores for three threads: a fair share, not a queue behind the others.
    assert!(beside < alone * 4 + Duration::from_millis(5), "{alone:?} alone, {beside:?} beside");
    for worker in [&healthy, &trapping, &late] {
        worker.stop();
    }
    let stats = healthy.stats();
    assert_eq!(stats.records.load(Ordering::Relaxed), u64::from(2 * ROUNDS * BATCHES) * 2000);
    assert_eq!((stats.lost.load(Ordering::Relaxed), healthy.queue().lost()), (0, 0));
    // Nothing of a failing plugin goes uncounted.
    let stats = trapping.stats();
    let counted = stats.records.load(Ordering::Relaxed) + stats.lost.load(Ordering::Relaxed);
    assert_eq!(counted + trapping.queue().lost(), u64::from(ROUNDS * BATCHES) * 2000);
}
