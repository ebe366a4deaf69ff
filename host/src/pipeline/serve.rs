//! The main thread: signals, watched files, the control socket, expiry and outputs, and the orderly end.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::interval;

use super::RunError;
use super::arrivals::Reloaded;
use super::clock;
use super::plugin_status::StatusReader;
use super::prepare::Wider;
use super::ready::ReadyFile;
use super::recording::Recordable;
use super::report;
use super::reports::ReportReceiver;
use super::shared::Shared;
use super::start::RunningHost;
use super::steward::Command;
use super::summary::{counts, processes, summary, watch_counts};
use super::watch::FolderWatch;
use crate::config::{Config, Format};
use crate::control::{Answer, Query, Server};
use crate::kernel::map::Counters;
use crate::kernel::survey::probe;
use crate::loss::Loss;
use crate::output::{Json, LabelCount, Output, Report, Status, Terminal};
use crate::policy::LabelView;
use crate::record::Options;

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
    let RunningHost { shared, counters, commands, statuses, mut reports, mut ready } = running;
    let mut sink = Sink::new(config, Arc::clone(&shared));
    let [mut interrupt, mut terminate, mut hangup] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [interrupt, terminate, hangup] = [&mut interrupt, &mut terminate, &mut hangup];
    let (interrupt, terminate, hangup) = (live(interrupt)?, live(terminate)?, live(hangup)?);
    let (mut watch, deaf) = FolderWatch::new(config)?;
    deaf.into_iter().for_each(|text| shared.note(text));
    let mut server = match &config.control {
        Some(path) => Some(Server::bind(path)?),
        None => None,
    };
    let mut expiry = interval(EXPIRY);
    report_ready(&mut ready, &shared)?;
    loop {
        tokio::select! {
            Some(report) = reports.recv() => sink.write(&report, &mut reports),
            _ = expiry.tick() => expire(&shared),
            files = watch.complete() => send(&commands, Command::Complete(files)),
            (query, reply) = asked(&mut server) => {
                answer(query, reply, &commands, &statuses, &shared, &counters);
            }
            _ = hangup.recv() => {
                send(&commands, Command::Reload { name: None, wider: Wider::Refuse, reply: None });
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    drop(server);
    drop(ready);
    let (reply, mut ended) = oneshot::channel();
    send(&commands, Command::Stop(reply));
    let ended = loop {
        tokio::select! {
            Some(report) = reports.recv() => sink.write(&report, &mut reports),
            ended = &mut ended => break ended,
        }
    };
    let ended = ended.map_err(|_| RunError::Thread(io::Error::other("the steward panicked")))?;
    shared.reports.report_left_out();
    while let Some(report) = reports.try_recv() {
        sink.write(&report, &mut reports);
    }
    let summary = summary(&shared, &counters, &ended)?;
    sink.write(&Report::Summary(summary), &mut reports);
    ended.read
}

type Signals = tokio::signal::unix::Signal;

fn live(signal: &mut io::Result<Signals>) -> Result<&mut Signals, RunError> {
    signal.as_mut().map_err(|error| RunError::Runtime(io::Error::other(error.to_string())))
}

fn send(commands: &Sender<Command>, command: Command) {
    // A steward that panicked is found out by the stop.
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
            };
            // Whoever asked may be gone.
            let _told = reply.send(Answer::Status(Box::new(status)));
        }
        Query::Record { file, bytes_max, redacted } => {
            let options = Options { file, bytes_max, redacted };
            record(Recordable::From(options), reply, commands);
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
    fn write(&mut self, report: &Report, waiting: &mut ReportReceiver) {
        self.lines.clear();
        let mut reports = 1;
        let mut result = self.output.write(report, &mut self.lines);
        while result.is_ok()
            && self.lines.len() < 1 << 16
            && let Some(report) = waiting.try_recv()
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
