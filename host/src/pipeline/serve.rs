//! The main thread: signals, watched files, the control socket and expiry, and the orderly end.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::interval;

use super::RunError;
use super::clock;
use super::outlet::{self, STALLED};
use super::plugin_status::StatusReader;
use super::prepare::Wider;
use super::ready::ReadyFile;
use super::recording::Recordable;
use super::reloaded::Reloaded;
use super::report;
use super::shared::Shared;
use super::start::RunningHost;
use super::steward::{Command, Ended};
use super::summary::{counts, processes, summary, watch_counts};
use crate::config::Config;
use crate::control::{Answer, LabelledProcesses, Query, Server};
use crate::error_chain::chain;
use crate::files::FolderWatch;
use crate::kernel::map::Counters;
use crate::kernel::survey::probe;
use crate::loss::Loss;
use crate::output::{LabelCount, OutputStatus, Report, Status, end_log, hurry_log, lost_lines};
use crate::policy::LabelView;
use crate::record::Options;
use crate::thread::{self, Task, ThreadEnd, ThreadEnding};

/// Signals so soon after the first are the same wish: `timeout` and terminals send each one twice.
const SAME_WISH: Duration = Duration::from_millis(500);
/// How often expired rules are taken out of the maps. The kernel does not wait for it.
const EXPIRY: Duration = Duration::from_secs(1);

/// Serves until a signal, then ends in order and tells the summary.
pub(super) fn serve(running: RunningHost, config: &Config) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(run(running, config))
}

async fn run(running: RunningHost, config: &Config) -> Result<(), RunError> {
    let RunningHost { shared, counters, commands, statuses, reports, mut ready, compiling } =
        running;
    outlet::start(config, &shared, reports)?;
    let (told, mut ends) = mpsc::unbounded_channel();
    // Nobody is told any more once the run ends.
    thread::listen(move |end| _ = told.send(end));
    let [mut interrupt, mut terminate, mut hangup] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [interrupt, terminate, hangup] = [&mut interrupt, &mut terminate, &mut hangup];
    let (interrupt, terminate, hangup) = (live(interrupt)?, live(terminate)?, live(hangup)?);
    let (mut watch, deaf) = FolderWatch::new(config).map_err(RunError::Thread)?;
    deaf.into_iter().for_each(|text| shared.note(text));
    let mut server = match &config.control {
        Some(path) => Some(Server::bind(path)?),
        None => None,
    };
    let mut expiry = interval(EXPIRY);
    let mut is_stalled = false;
    report_ready(&mut ready, &shared)?;
    let lost = loop {
        tokio::select! {
            Some(end) = ends.recv() => break Some(end),
            _ = expiry.tick() => {
                expire(&shared);
                report_stalled(&shared, &mut is_stalled);
            }
            files = watch.complete() => send(&commands, Command::Complete(files)),
            (query, reply) = asked(&mut server) => {
                answer(query, reply, &commands, &statuses, &shared, &counters);
            }
            _ = hangup.recv() => {
                send(&commands, Command::Reload { name: None, wider: Wider::Refuse, reply: None });
            }
            _ = interrupt.recv() => break None,
            _ = terminate.recv() => break None,
        }
    };
    drop(server);
    drop(ready);
    if let Some(end) = &lost {
        shared.note(format!("{end}, which no run goes on without: it ends"));
    }
    // A steward that has a plugin compiled answers once that has ended.
    compiling.stop();
    let signals = EndSignals { interrupt, terminate, first: Instant::now() };
    end(lost, &mut ends, (&commands, &shared, &counters), signals).await
}

/// Ends the run in order, unless a signal says again that it is to end.
async fn end(
    lost: Option<ThreadEnd>,
    ends: &mut mpsc::UnboundedReceiver<ThreadEnd>,
    (commands, shared, counters): (&Sender<Command>, &Arc<Shared>, &Counters),
    mut signals: EndSignals<'_>,
) -> Result<(), RunError> {
    let ended = match stop(commands, &mut signals).await {
        Ok(ended) => ended,
        Err(twice) => return Err(hurried(lost, twice)),
    };
    let mut later = std::iter::from_fn(|| ends.try_recv().ok());
    let panicked = later.find(|end| end.ending == ThreadEnding::Panicked);
    let lost = lost.or(panicked).or_else(|| ended.is_none().then(steward_panicked));
    shared.reports.report_left_out();
    let summary = ended.as_ref().map(|ended| summary(shared, counters, ended)).transpose();
    let (last, summed) = match summary {
        Ok(summary) => (summary.map(Report::Summary), Ok(())),
        Err(error) => (None, Err(RunError::Map(error))),
    };
    if let Err(twice) = signals.unless_again(finish(shared, last)).await {
        return Err(hurried(lost, twice));
    }
    let read = ended.map_or(Ok(()), |ended| ended.read);
    match lost {
        Some(end) => Err(RunError::ThreadEnded { end, why: read.err().map(Box::new) }),
        None => read.and(summed),
    }
}

/// Has the steward end the run; `None` if it has ended itself. A further signal ends the wait.
async fn stop(
    commands: &Sender<Command>,
    signals: &mut EndSignals<'_>,
) -> Result<Option<Ended>, RunError> {
    let (reply, ended) = oneshot::channel();
    send(commands, Command::Stop(reply));
    signals.unless_again(ended).await.map(Result::ok)
}

/// Signals that ask for the end, after the first.
struct EndSignals<'s> {
    interrupt: &'s mut Signals,
    terminate: &'s mut Signals,
    /// Time at which the end began.
    first: Instant,
}

impl EndSignals<'_> {
    /// Waits, unless a signal says again that the run is to end.
    async fn unless_again<T>(&mut self, awaited: impl Future<Output = T>) -> Result<T, RunError> {
        let mut awaited = std::pin::pin!(awaited);
        loop {
            tokio::select! {
                biased;
                done = &mut awaited => return Ok(done),
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if self.first.elapsed() >= SAME_WISH {
                break;
            }
        }
        // Whoever asks twice does not want to wait: the kernel detaches what this process held.
        hurry_log();
        Err(RunError::EndedTwice)
    }
}

/// Why a run ended whose end was not waited for: what ended it before the signals counts.
fn hurried(lost: Option<ThreadEnd>, twice: RunError) -> RunError {
    lost.map_or(twice, |end| RunError::ThreadEnded { end, why: None })
}

/// Writes what waits for standard output and standard error, by a thread of its own, so that a signal can end the wait.
async fn finish(shared: &Arc<Shared>, last: Option<Report>) {
    let (done, finished) = oneshot::channel();
    let waits = Arc::clone(shared);
    shared.reports.end(last);
    let spawned = thread::spawn("finish", Task::Passing, move || {
        outlet::finish(&waits);
        end_log();
        let _told = done.send(());
    });
    if spawned.is_err() {
        outlet::finish(shared);
    }
    // Without an answer the thread is gone.
    let _finished = finished.await;
}

/// What is known of a steward that did not answer: it ends by an answer, or by a panic.
fn steward_panicked() -> ThreadEnd {
    ThreadEnd { thread: "steward".to_owned(), ending: ThreadEnding::Panicked }
}

/// Says once that standard output takes nothing, and by the status how much is lost.
fn report_stalled(shared: &Shared, is_stalled: &mut bool) {
    let (busy, left) = shared.reports.state();
    let stalls = busy >= STALLED;
    if stalls && !*is_stalled {
        let seconds = busy.as_secs();
        tracing::warn!(
            "standard output has taken nothing for {seconds} s: {left} reports wait, and what finds no room is lost"
        );
    }
    *is_stalled = stalls;
}

type Signals = tokio::signal::unix::Signal;

fn live(signal: &mut io::Result<Signals>) -> Result<&mut Signals, RunError> {
    signal.as_mut().map_err(|error| RunError::Runtime(io::Error::other(error.to_string())))
}

fn send(commands: &Sender<Command>, command: Command) {
    // That a steward has ended is told by its thread.
    let _sent = commands.send(command);
}

/// The next question; never without a socket.
async fn asked(server: &mut Option<Server>) -> (Query, oneshot::Sender<Answer>) {
    match server {
        Some(server) => server.next().await,
        None => std::future::pending().await,
    }
}

fn answer(
    query: Query,
    reply: oneshot::Sender<Answer>,
    commands: &Sender<Command>,
    statuses: &StatusReader,
    shared: &Shared,
    counters: &Counters,
) {
    match query {
        Query::Status => {
            let (hooks, watches) = (shared.hooks(), watch_counts(&shared.watches(), counters));
            let status = Status {
                version: env!("CARGO_PKG_VERSION").into(),
                kernel: probe::release(),
                unproven: shared.unproven(),
                counts: counts(&hooks, &watches, counters),
                hooks,
                watches,
                labels: labels(shared),
                processes: processes(shared),
                plugins: statuses.status(),
                rejected: shared.rejected(),
                output: output(shared),
            };
            // Whoever asked may be gone.
            let _told = reply.send(Answer::Status(Box::new(status)));
        }
        Query::Record { file, bytes_max, redacted } => {
            let options = Options { file, bytes_max, redacted };
            record(Recordable::From(options), reply, commands);
        }
        Query::Labels => {
            // Whoever asked may be gone, here and below.
            let _told = reply.send(labelled(shared));
        }
        Query::ClearLabels { tgid } => {
            let _told = reply.send(clear_labels(shared, tgid));
        }
        Query::Dump { file } => record(Recordable::Held(file), reply, commands),
        Query::EndRecording => record(Recordable::End, reply, commands),
        Query::Reload { plugin, accept } => {
            let wider = if accept { Wider::Accept } else { Wider::Refuse };
            let (sender, results) = oneshot::channel();
            send(commands, Command::Reload { name: plugin, wider, reply: Some(sender) });
            tokio::spawn(async move {
                let _told = reply.send(Answer::Reloaded(lines(results.await.unwrap_or_default())));
            });
        }
    }
}

/// Counts of reports and log lines that wait or were lost.
fn output(shared: &Shared) -> OutputStatus {
    let (busy, waiting) = shared.reports.state();
    OutputStatus {
        waiting,
        left_out: shared.losses.count(Loss::Rate),
        lost: shared.losses.count(Loss::Output),
        stalled_s: if busy >= STALLED { busy.as_secs() } else { 0 },
        log_lost: lost_lines(),
    }
}

/// Has the steward begin or end a recording.
fn record(what: Recordable, reply: oneshot::Sender<Answer>, commands: &Sender<Command>) {
    let (sender, result) = oneshot::channel();
    send(commands, Command::Record { what, reply: sender });
    tokio::spawn(async move {
        let answer = match result.await {
            Ok(Ok(text)) => Answer::Recording(text),
            Ok(Err(error)) => Answer::Refused(error.line()),
            Err(_) => Answer::Refused("the host ends".to_owned()),
        };
        let _told = reply.send(answer);
    });
}

/// Which processes have labels.
fn labelled(shared: &Shared) -> Answer {
    match shared.turns.turn(|ledger| ledger.labelled()) {
        Ok(processes) => Answer::Labels(LabelledProcesses::fitting(processes)),
        Err(error) => Answer::Refused(chain(&error)),
    }
}

/// Takes all labels from a process, and says so.
fn clear_labels(shared: &Shared, tgid: u32) -> Answer {
    match shared.turns.turn(|ledger| ledger.clear_labels(tgid)) {
        Ok(cleared) if cleared.is_empty() => {
            Answer::Refused(format!("process {tgid} has no label"))
        }
        Ok(cleared) => {
            let labels = cleared.join(", ");
            shared.note(format!("process {tgid}: the administrator took the labels {labels}"));
            Answer::Cleared(cleared)
        }
        Err(error) => Answer::Refused(chain(&error)),
    }
}

/// Labels in use.
fn labels(shared: &Shared) -> Vec<LabelCount> {
    let views = shared.turns.turn(|ledger| ledger.labels());
    let count = |LabelView { name, processes, .. }| LabelCount { label: name, processes };
    views.into_iter().map(count).collect()
}

/// Describes the results of a reload, a line for each plugin.
fn lines(results: Vec<Result<Reloaded, RunError>>) -> Vec<Result<String, String>> {
    let line = |result: Result<Reloaded, RunError>| match result {
        Ok(reloaded) => Ok(reloaded.to_string()),
        Err(error) => Err(error.line()),
    };
    results.into_iter().map(line).collect()
}

/// Says that hooks are live and rules in force, once a signal would end the run in order.
fn report_ready(ready: &mut ReadyFile, shared: &Shared) -> Result<(), RunError> {
    let unproven = shared.unproven();
    let but = match unproven.len() {
        0 => String::new(),
        _ => format!(", but not proven: {}", unproven.join("; ")),
    };
    // A hook stands there once for each of its programs.
    let mut hooks: Vec<String> = Vec::new();
    for hook in shared.hooks() {
        if !hooks.contains(&hook) {
            hooks.push(hook);
        }
    }
    let watches = match shared.watches().len() {
        0 => String::new(),
        count => format!(", {count} watches"),
    };
    let (release, hooks) = (probe::release(), hooks.join(", "));
    shared.note(format!("ready on {release}: {hooks} proven live{watches}{but}"));
    ready.create()
}

/// Takes ended rules out of the maps and reports them, and says what was not reported of the last second.
fn expire(shared: &Shared) {
    shared.reports.report_left_out();
    for rule in shared.turns.expire(clock::boot_ns()) {
        shared.report(report::rule_end(&rule));
    }
}
