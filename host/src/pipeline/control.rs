//! The main thread: signals, ticks, expiry and outputs, and the orderly end.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use krsi_host_abi::counter::Counter;
use krsi_host_abi::hook::Hook;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::RunError;
use super::clock;
use super::shared::Shared;
use super::sink::Counts;
use super::start::Running;
use crate::config::{Config, Format};
use crate::kernel::load::Loaded;
use crate::kernel::map::{Counters, MapError};
use crate::kernel::probe;
use crate::loss::Loss;
use crate::output::{
    HookSummary, Json, NoteReport, Output, PluginSummary, Report, Summary, Terminal,
};
use crate::plugin::Worker;
use crate::route::queue::Delivery;

/// How often expired rules are taken out of the maps. The kernel does not wait for it.
const EXPIRY: Duration = Duration::from_secs(1);
/// A program that runs while its link goes may still count and report.
const LINGER: Duration = Duration::from_millis(50);

/// Serves until a signal, then ends in order and tells the summary.
pub(super) fn serve(running: Running, config: &Config) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(run(running, config))
}

async fn run(mut running: Running, config: &Config) -> Result<(), RunError> {
    let mut sink = Sink::new(config, Arc::clone(&running.shared));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut expiry = interval(EXPIRY);
    for (worker, _) in &running.workers {
        tick(worker);
    }
    tell_ready(config, &running.shared, &running.loaded)?;
    loop {
        tokio::select! {
            Some(report) = running.reports.recv() => sink.write(&report, &mut running.reports),
            _ = expiry.tick() => expire(&running.shared),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    let Running { shared, loaded, counters, workers, reader, stop, mut reports } = running;
    let hooks = loaded.hooks.clone();
    let mut end = tokio::task::spawn_blocking(move || {
        drop(loaded);
        std::thread::sleep(LINGER);
        // The eventfd takes 8 bytes; it is empty, so this neither waits nor fails.
        let _stopped = rustix::io::write(&*stop, &1u64.to_ne_bytes());
        let read = reader.join();
        workers.iter().for_each(|(worker, _)| worker.stop());
        (workers, read)
    });
    let (workers, read) = loop {
        tokio::select! {
            Some(report) = reports.recv() => sink.write(&report, &mut reports),
            ended = &mut end => break ended.map_err(|error| RunError::Thread(io::Error::other(error)))?,
        }
    };
    while let Ok(report) = reports.try_recv() {
        sink.write(&report, &mut reports);
    }
    let summary = summary(&shared, &hooks, &counters, &workers)?;
    sink.write(&Report::Summary(summary), &mut reports);
    match read {
        Ok(read) => read.map_err(RunError::Read),
        Err(_) => Err(RunError::Thread(io::Error::other("the reader panicked"))),
    }
}

/// Says that hooks are live and rules in force, once a signal would end the run in order.
fn tell_ready(config: &Config, shared: &Shared, loaded: &Loaded) -> Result<(), RunError> {
    let hooks: Vec<&str> = loaded.hooks.iter().map(|hook| hook.name()).collect();
    shared.report(Report::Note(NoteReport {
        unix_ns: clock::unix_ns(clock::boot_ns()),
        text: format!("ready on {}: {} proven live", probe::release(), hooks.join(", ")),
    }));
    if let Some(file) = &config.ready_file {
        File::create(file).map_err(|source| RunError::ReadyFile { file: file.clone(), source })?;
    }
    Ok(())
}

/// Takes ended rules out of the maps.
fn expire(shared: &Shared) {
    for rule in shared.ledger().expire(clock::boot_ns()) {
        tracing::info!(plugin = %rule.plugin, rule_id = rule.rule_id, hits = rule.hits, ending = ?rule.ending, "{rule}");
    }
}

/// Sends a plugin its ticks, if it wants any.
fn tick(worker: &Worker) {
    let Some(period) = worker.manifest.tick else { return };
    let queue = Arc::clone(&worker.queue);
    tokio::spawn(async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            queue.push(Delivery::Tick);
        }
    });
}

/// Standard output, in the format that the operator chose.
struct Sink {
    output: Box<dyn Output>,
    shared: Arc<Shared>,
    lines: Vec<u8>,
}

impl Sink {
    fn new(config: &Config, shared: Arc<Shared>) -> Self {
        let output: Box<dyn Output> = match config.format {
            Format::Json => Box::new(Json),
            Format::Terminal(colour) => Box::new(Terminal::new(colour)),
        };
        Self { output, shared, lines: Vec::new() }
    }

    /// Writes a report and whatever else waits, in one system call.
    fn write(&mut self, report: &Report, waiting: &mut mpsc::Receiver<Report>) {
        self.lines.clear();
        let mut reports = 1;
        let mut result = self.output.write(report, &mut self.lines);
        while result.is_ok()
            && self.lines.len() < 1 << 16
            && let Ok(report) = waiting.try_recv()
        {
            reports += 1;
            result = self.output.write(&report, &mut self.lines);
        }
        let mut out = io::stdout().lock();
        let written = result.and_then(|()| out.write_all(&self.lines)).and_then(|()| out.flush());
        if written.is_err() {
            self.shared.losses.add(Loss::Output, reports);
        }
    }
}

fn summary(
    shared: &Shared,
    hooks: &[Hook],
    counters: &Counters,
    workers: &[(Worker, Arc<Counts>)],
) -> Result<Summary, RunError> {
    let rows: Result<Vec<HookSummary>, MapError> =
        hooks.iter().map(|hook| hook_summary(shared, *hook, counters)).collect();
    let (delay_p50_ns, delay_p99_ns) = shared.percentiles();
    Ok(Summary {
        unix_ns: clock::unix_ns(clock::boot_ns()),
        hooks: rows?,
        plugins: workers.iter().map(|(worker, counts)| plugin_summary(worker, counts)).collect(),
        lost: Loss::ALL.map(|loss| (loss.name(), shared.losses.count(loss))).to_vec(),
        rules: shared.rules.load(Ordering::Relaxed),
        delay_p50_ns,
        delay_p99_ns,
    })
}

fn hook_summary(shared: &Shared, hook: Hook, counters: &Counters) -> Result<HookSummary, MapError> {
    let total = |counter| counters.total(hook, counter);
    let (delivered, undecoded) = shared.read(hook);
    Ok(HookSummary {
        hook: hook.name(),
        seen: total(Counter::Seen)?,
        delivered,
        filtered: total(Counter::Filtered)?,
        lost: total(Counter::LostTelemetry)? + total(Counter::LostVerdicts)? + undecoded,
        skipped: total(Counter::SkippedNull)?
            + total(Counter::SkippedField)?
            + total(Counter::SkippedRead)?,
        denied: total(Counter::Denied)?,
        audited: total(Counter::Audited)?,
    })
}

fn plugin_summary(worker: &Worker, counts: &Counts) -> PluginSummary {
    let (alerts, rules, refused) = counts.read();
    PluginSummary {
        plugin: worker.manifest.name.clone(),
        version: worker.manifest.version.clone(),
        state: worker.stats.state().name().to_owned(),
        records: worker.stats.records.load(Ordering::Relaxed),
        lost_queue: worker.queue.lost(),
        lost_plugin: worker.stats.lost.load(Ordering::Relaxed),
        alerts,
        rules,
        refused,
    }
}
