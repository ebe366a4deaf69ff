//! A version that runs beside the live one, on the same stream and without effect: do their actions differ?
//!
//! The live version's thread hands over what it was given and what it wanted; if the shadow is too
//! slow for that, comparisons are left out and counted, and the live version does not wait.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Alert, Deny, Evidence, FileKey, IfUnread, Kill, Metric, MetricKind, Revoke, Rule,
    RuleKey, RuleMode, Severity, Subject,
};
use krsi_plugin_schema::{Schema, lower};

use super::candidate::{Candidate, Checkpoint, Start, start};
use super::world::{CallError, StartError, World};
use crate::route::batch::fit;
use crate::route::queue::Batch;
use crate::text::Quoted;
use crate::thread::{self, Task};

/// Batches that wait for a shadow.
const WAITING_MAX: usize = 256;
/// Differences of one batch that are told.
const TOLD_MAX: usize = 8;
/// Name of the running version in reports of differences.
const RUNS: &str = "the version that runs";
/// Name of the shadow in reports of differences.
const SHADOW: &str = "the shadow";

/// Receives the differences between a shadow and the running version.
pub trait ShadowSink: Send {
    /// What only the version that runs wanted, and what only the shadow wanted, in words.
    fn differs(&mut self, lines: &[String]);
    /// The shadow failed and is gone.
    fn failed(&mut self, why: &CallError);
}

/// Counts of the batches that were compared.
#[derive(Debug, Default)]
pub struct ShadowStats {
    /// Batches in which both wanted the same.
    pub same: AtomicU64,
    /// Batches in which they did not.
    pub different: AtomicU64,
    /// Batches that were not compared.
    pub skipped: AtomicU64,
}

/// A batch that the live version was given, and what it wanted then.
struct Fed {
    batch: Arc<Batch>,
    actions: Vec<u8>,
}

/// The way to a shadow; it ends when this is dropped.
pub(super) struct Shadow {
    feed: SyncSender<Fed>,
    stats: Arc<super::worker::WorkerStats>,
}

impl Shadow {
    /// Starts a version from a state, and its thread. `introductions` are batches that describe all
    /// processes, `live` is the schema of the live version's actions.
    pub(super) fn start(
        candidate: Candidate,
        begin: &Start,
        state: Option<&Checkpoint>,
        introductions: Vec<Vec<u8>>,
        (live, stats): (Schema, Arc<super::worker::WorkerStats>),
        sink: Box<dyn ShadowSink>,
    ) -> Result<Self, StartError> {
        let Candidate { manifest, pre, mut world } = candidate;
        let identity = pre.identity();
        start(&mut *world, begin, state).map_err(|why| why.of(identity))?;
        for batch in introductions {
            let introduced = world.handle(&fit(&Batch::private(batch), manifest.schema));
            introduced
                .map_err(|source| StartError::Call { file: identity.file.clone(), source })?;
        }
        let (feed, fed) = sync_channel(WAITING_MAX);
        let counts = Arc::clone(&stats);
        let body = move || run(&fed, (world, manifest.schema), live, &counts.shadow, sink);
        thread::spawn("shadow", Task::Passing, body)
            .map_err(|source| StartError::Thread { file: identity.file.clone(), source })?;
        Ok(Self { feed, stats })
    }

    /// Hands over a batch and what the live version wanted of it.
    pub(super) fn feed(&mut self, batch: &Arc<Batch>, actions: Vec<u8>) {
        match self.feed.try_send(Fed { batch: Arc::clone(batch), actions }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.stats.shadow.skipped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn run(
    fed: &Receiver<Fed>,
    (mut world, schema): (Box<dyn World>, Schema),
    of_live: Schema,
    stats: &ShadowStats,
    mut sink: Box<dyn ShadowSink>,
) {
    while let Ok(Fed { batch, actions: live }) = fed.recv() {
        let count = match world.handle(&fit(&batch, schema)) {
            Ok(own) if own == live && schema == of_live => &stats.same,
            Ok(own) => {
                let lines = differences(((&live, of_live), RUNS), ((&own, schema), SHADOW));
                if lines.is_empty() {
                    &stats.same
                } else {
                    sink.differs(&lines);
                    &stats.different
                }
            }
            Err(error) => return sink.failed(&error),
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one list of actions has and the other has not, each with words for who wants it. Tokens are names that each
/// version gives as it likes, so they do not count.
pub(crate) fn differences(
    (live, one): ((&[u8], Schema), &str),
    (shadow, other): ((&[u8], Schema), &str),
) -> Vec<String> {
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    for ((list, schema), weight) in [(live, -1), (shadow, 1)] {
        for frame in Frames::new(list) {
            let words =
                frame.and_then(|frame| lower::action(&frame, schema).map(|action| words(&action)));
            let words = words.unwrap_or_else(|error| error.to_string());
            *balance.entry(words).or_default() += weight;
        }
    }
    let differing = balance.into_iter().filter(|(_, balance)| *balance != 0);
    let mut lines: Vec<String> = differing
        .map(|(words, balance)| {
            let who = if balance > 0 { other } else { one };
            format!("only {who} wants to {words}")
        })
        .collect();
    let more = lines.len().saturating_sub(TOLD_MAX);
    lines.truncate(TOLD_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// What an action does, without its token.
#[must_use]
pub(crate) fn words(action: &Action<'_>) -> String {
    match action {
        Action::Deny(Deny { rule, errno, mode, if_unread }) => {
            let verb = match mode {
                RuleMode::Enforce => "deny",
                RuleMode::Audit => "audit",
                RuleMode::Off => "note",
            };
            let unread = match if_unread {
                IfUnread::Apply => ", also what cannot be read",
                IfUnread::Pass => "",
            };
            format!("{verb} with errno {errno}{unread}: {}", of_rule(rule))
        }
        Action::Allow(allow) => format!("allow: {}", of_rule(&allow.rule)),
        Action::Revoke(Revoke { .. }) => "revoke a rule".into(),
        Action::Kill(Kill { process, .. }) => format!("kill process {}", process.tgid),
        Action::Alert(Alert { technique, severity, process, text, .. }) => {
            let severity = match severity {
                Severity::Info => "info",
                Severity::Low => "low",
                Severity::Medium => "medium",
                Severity::High => "high",
                Severity::Critical => "critical",
            };
            let (technique, tgid) = (Quoted(technique), process.tgid);
            format!("alert ({severity}, {technique}) of process {tgid}: {text}")
        }
        Action::Metric(Metric { name, kind, value }) => {
            let kind = match kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            format!("give the {kind} {} as {value}", Quoted(name))
        }
        Action::LabelRule(label) => {
            format!("give the label {}: {}", Quoted(&label.label), of_rule(&label.rule))
        }
        Action::SetLabel(set) => {
            let verb = if set.gives { "give" } else { "take" };
            let whom = if set.descendants { "lineage of process" } else { "process" };
            format!("{verb} the label {}: {whom} {}", Quoted(&set.label), set.process.tgid)
        }
        Action::Evidence(Evidence { process, what, weight, threshold }) => {
            let (tgid, what) = (process.tgid, Quoted(what));
            if *weight == 0 {
                return format!("count {what} against process {tgid} no more");
            }
            format!("count {what} against process {tgid}: {weight} of {threshold}")
        }
        Action::AskSamples(ask) => {
            let (tgid, times) = (ask.process.tgid, ask.times);
            let what = match (ask.usage, ask.arguments) {
                (_, false) => "",
                (true, true) => " with its arguments",
                (false, true) => " of its arguments",
            };
            format!("take {times} samples of process {tgid}{what}, every {} ms", ask.every_ms)
        }
        Action::Unknown(number) => format!("do what this host does not know, action {number}"),
    }
}

fn of_rule(rule: &Rule<'_>) -> String {
    let Rule { key, subject, labels, hooks, ttl_ms, reason, .. } = rule;
    let hooks: Vec<&str> = hooks.iter().map(|hook| hook.name()).collect();
    let key = match key {
        RuleKey::Process(process) => format!("process {}", process.tgid),
        RuleKey::Lineage(root) => format!("lineage of process {}", root.tgid),
        // 0.1 does not say which generation.
        RuleKey::File(file) => format!("file {}", FileKey { generation: 0, ..*file }),
        RuleKey::Network { address, prefix, port } => format!("{address}/{prefix} port {port}"),
        RuleKey::Transport { address, prefix, port, protocol } => {
            format!("{address}/{prefix} port {port} protocol {protocol}")
        }
        RuleKey::Cgroup(id) => format!("cgroup {id}"),
        RuleKey::Path { prefix, .. } => format!("path {}", Quoted(prefix)),
        RuleKey::Digest(digest) => {
            let digits = digest.iter().map(|byte| format!("{byte:02x}"));
            format!("digest {}", digits.collect::<String>())
        }
        RuleKey::Hook => "every call".into(),
    };
    let subject = match subject {
        Subject::Any => String::new(),
        Subject::Lineage(root) => format!(" for lineage of process {}", root.tgid),
    };
    let of_label = |word: &str, names: &[Cow<'_, str>]| {
        names.iter().map(|name| format!(" {word} label {name}")).collect::<String>()
    };
    let labels = of_label("if", &labels.has) + &of_label("unless", &labels.lacks);
    let ttl = if *ttl_ms == 0 { String::new() } else { format!(" for {ttl_ms} ms") };
    format!("{} on {key}{subject}{labels}{ttl} because {reason}", hooks.join(", "))
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{Hook, ProcessKey};

    use super::*;

    fn differences(live: &[u8], shadow: &[u8]) -> Vec<String> {
        let (live, shadow) = ((live, Schema::V0_2), (shadow, Schema::V0_2));
        super::differences((live, RUNS), (shadow, SHADOW))
    }

    fn alert(text: &str) -> Vec<u8> {
        let process = ProcessKey::default();
        let (technique, severity) = ("T1496".into(), Severity::High);
        let alert = Alert {
            technique,
            severity,
            process,
            text: text.into(),
            cause_boot_ns: 0,
            evidence: Vec::new(),
        };
        let mut out = Vec::new();
        Action::Alert(alert).push(&mut out).unwrap();
        out
    }

    #[test]
    fn what_one_wants_and_the_other_does_not_is_told_from_both_sides() {
        let both = [alert("a"), alert("b")].concat();
        let turned = [alert("b"), alert("a")].concat();
        assert_eq!(differences(&both, &turned), Vec::<String>::new());
        let lines = differences(&both, &alert("c"));
        let expected = [
            "only the shadow wants to alert (high, T1496) of process 0: c",
            "only the version that runs wants to alert (high, T1496) of process 0: a",
            "only the version that runs wants to alert (high, T1496) of process 0: b",
        ];
        let mut sorted = lines;
        sorted.sort();
        assert_eq!(sorted, expected);
        let kill = |token| {
            let mut out = Vec::new();
            let kill = Kill { token, process: ProcessKey::default() };
            Action::Kill(kill).push(&mut out).unwrap();
            out
        };
        assert_eq!(differences(&kill(1), &kill(9)), Vec::<String>::new());
    }

    #[test]
    fn an_action_reads_as_what_it_does() {
        let rule = |key, subject| Rule {
            token: 7,
            cause_boot_ns: 1,
            key,
            subject,
            labels: Default::default(),
            hooks: [Hook::FileOpen, Hook::SocketConnect].into_iter().collect(),
            ttl_ms: 500,
            reason: "it mines".into(),
        };
        let process = ProcessKey { tgid: 9, start_boot_ns: 8 };
        let (mode, if_unread) = (RuleMode::Audit, IfUnread::Apply);
        let key = RuleKey::Path { prefix: "/tmp/a b".into(), if_unresolved: Default::default() };
        let rule = rule(key, Subject::Lineage(process));
        let deny = Action::Deny(Deny { rule, errno: 13, mode, if_unread });
        let shown = "audit with errno 13, also what cannot be read: file_open, socket_connect on path \
                     \"/tmp/a b\" for lineage of process 9 for 500 ms because it mines";
        assert_eq!(words(&deny), shown);
        let name = "queue depth".into();
        let metric = Action::Metric(Metric { name, kind: MetricKind::Gauge, value: 1.5 });
        assert_eq!(words(&metric), "give the gauge \"queue depth\" as 1.5");
    }
}
