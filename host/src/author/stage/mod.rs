//! A plugin on a stage: its actions go to a real ledger whose maps are memory, and their outcomes come back to it.
//!
//! Time is what the stage is told; no machine is asked. Nobody is killed: what a plugin would kill is told.

mod judged;

use std::collections::HashMap;
use std::sync::Mutex;

use krsi_host_abi::deny::Bounds;
use krsi_host_abi::hook::HOOKS;
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Body, Event, Evidence, Outcome, Process, ProcessKey, RecordRef, RuleKey, SCHEMA, Tick,
    Verdict,
};
use krsi_plugin_schema::lower;

use crate::kernel::map::prefix::PathPrefix;
use crate::pipeline::asked;
use crate::plugin::{CallError, KeptLog, PluginPre, StartError, Stepped, words};
use crate::policy::ledger::memory::{CallKeys, MemoryMaps};
use crate::policy::{
    ActionContext, Applied, Grant, GrantSpec, Kinship, Ledger, Machine, Principal, RaisedAlert,
    ResolvingHooks, RuleView, SampleBook, Turns, Undeclared, apply,
};
use crate::route::batch::private;
use crate::route::filter::Sieve;
use crate::route::queue::Batch;

use self::judged::replaced;
pub(super) use self::judged::{Judged, object};

/// The slot of the one plugin.
const SLOT: u8 = 0;
/// Ancestors of a process that are looked at.
const ANCESTORS_MAX: usize = 1024;
/// Ticks that are given at a time: a wait is not for ever, and what is left out of it is told.
pub(super) const TICKS_MAX: u64 = 10_000;

/// A plugin, its ledger, and the processes that it was told of.
pub(super) struct Stage {
    stepped: Stepped,
    principal: Principal,
    turns: Turns<MemoryMaps>,
    machine: Machine,
    processes: HashMap<ProcessKey, Process<'static>>,
    /// Parents of all processes so far: who has ended is still an ancestor.
    parents: HashMap<ProcessKey, ProcessKey>,
    outcomes: Vec<u8>,
    boot_ns: u64,
    unix_offset_ns: i64,
    next_tick_ns: Option<u64>,
    /// Asks for samples: who plays it says what they are.
    samples: Mutex<SampleBook>,
    /// Filters of the plugin: no kernel has applied them.
    sieve: Sieve,
}

/// What a plugin did in one or several calls.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// Alerts that the plugin raised.
    pub(super) alerts: Vec<RaisedAlert>,
    /// Evidence that the plugin noted.
    pub(super) evidence: Vec<Evidence<'static>>,
    /// Rules that came into force.
    pub(super) rules: Vec<RuleView>,
    /// Actions that a host would have refused, in words.
    pub(super) refused: Vec<String>,
    /// Everything that it wanted, in words.
    pub(super) wanted: Vec<String>,
    /// Lines that the plugin logged.
    pub(super) log: KeptLog,
    /// Error of a call that failed; the plugin cannot be called after it.
    pub(super) failed: Option<CallError>,
    /// Ticks that were due and were left out, as there were too many.
    pub(super) ticks_left_out: u64,
}

impl Happened {
    /// Adds what happened later.
    pub(super) fn and(&mut self, later: Happened) {
        self.alerts.extend(later.alerts);
        self.evidence.extend(later.evidence);
        self.rules.extend(later.rules);
        self.refused.extend(later.refused);
        self.wanted.extend(later.wanted);
        self.log.lines.extend(later.log.lines);
        self.log.more += later.log.more;
        self.failed = self.failed.take().or(later.failed);
        self.ticks_left_out = self.ticks_left_out.saturating_add(later.ticks_left_out);
    }
}

/// Why a plugin is not on the stage.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    /// The plugin fails before its first call.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The call of `init` failed.
    #[error("init failed: {0}")]
    Call(#[source] CallError),
    /// The plugin refuses its configuration.
    #[error("it refuses its configuration: {reason}")]
    Config {
        /// Reason that the plugin gave.
        reason: String,
    },
    /// The plugin declares labels that no plugin can have.
    #[error("it cannot have its labels: {reason}")]
    Labels {
        /// Why it cannot have them.
        reason: String,
    },
}

impl Stage {
    /// A plugin that is started at a time, with all that its manifest asks for and the operator's defaults.
    pub(super) fn start(
        pre: &PluginPre,
        (config, seed): (&[u8], u64),
        (boot_ns, unix_offset_ns): (u64, i64),
    ) -> Result<(Self, Happened), StageError> {
        let mut stepped = Stepped::new(pre)?;
        let manifest = stepped.manifest().clone();
        let grant = Grant::new(asked(&manifest), GrantSpec::default());
        let principal = Principal::new(SLOT, manifest.name.as_str().into(), manifest.schema, grant);
        let first = stepped.init(config, seed).map_err(StageError::Call)?;
        let first = first.map_err(|reason| StageError::Config { reason })?;
        let mut ledger = Ledger::new(MemoryMaps::default(), HOOKS.iter().map(|row| row.hook));
        // A rule on a digest is taken, and applies to nothing, as no file of a stage has bytes.
        ledger.set_digests(Ok(()));
        let labels = ledger.declare_labels(&principal.plugin, &manifest.labels, Undeclared::End);
        labels.map_err(|error| StageError::Labels { reason: error.to_string() })?;
        let tick_ns = manifest.tick.map(nanoseconds);
        let mut stage = Self {
            stepped,
            principal,
            turns: Turns::new(ledger),
            machine: Machine { resolving: ResolvingHooks::all(), ..Machine::default() },
            processes: HashMap::new(),
            parents: HashMap::new(),
            outcomes: Vec::new(),
            boot_ns,
            unix_offset_ns,
            next_tick_ns: tick_ns.map(|tick| boot_ns.saturating_add(tick)),
            samples: Mutex::default(),
            sieve: Sieve::of_every_hook(manifest.filters.clone().into()),
        };
        let happened = stage.did(&first);
        Ok((stage, happened))
    }

    /// The plugin that is on the stage.
    pub(super) const fn plugin(&self) -> &Stepped {
        &self.stepped
    }

    /// Gives it a batch of the newest schema, as a host does: the time first, answers before and after.
    pub(super) fn batch(&mut self, boot_ns: u64, frames: &[u8]) -> Happened {
        let mut happened = self.advance(boot_ns);
        let mut batch = private((self.boot_ns, self.unix_offset_ns));
        batch.extend_from_slice(frames);
        happened.and(self.answers());
        if happened.failed.is_none() {
            happened.and(self.handle(&batch));
            happened.and(self.answers());
        }
        happened
    }

    /// Lets time pass: ticks come when they are due, and what is wanted then is answered; rules end.
    pub(super) fn advance(&mut self, to_boot_ns: u64) -> Happened {
        let mut happened = Happened::default();
        let mut ticks = 0;
        let period = self.stepped.manifest().tick.map_or(1, nanoseconds).max(1);
        while let Some(at) = self.next_tick_ns.filter(|at| *at <= to_boot_ns) {
            if happened.failed.is_some() {
                self.next_tick_ns = None;
                break;
            }
            if ticks == TICKS_MAX {
                happened.ticks_left_out = (to_boot_ns - at) / period + 1;
                self.next_tick_ns = to_boot_ns.checked_add(period);
                break;
            }
            ticks += 1;
            self.pass(at);
            // At the end of time there is no next one.
            self.next_tick_ns = at.checked_add(period);
            let mut batch = private((self.boot_ns, self.unix_offset_ns));
            // A tick is an empty body.
            let _fits = RecordRef::Tick(Tick {}).push(&mut batch);
            happened.and(self.handle(&batch));
            if happened.failed.is_none() {
                happened.and(self.answers());
            }
        }
        self.pass(to_boot_ns);
        happened
    }

    /// Lets the clock go on to a time, up to which rules end.
    fn pass(&mut self, to_boot_ns: u64) {
        self.boot_ns = self.boot_ns.max(to_boot_ns);
        let _ended = self.turns.expire(self.boot_ns);
    }

    /// What the rules in force make of a call at a time; labels that it gives are given.
    pub(super) fn judge(&self, event: &Event<'_>, object: &CallKeys<'_>) -> Judged {
        let Some(hook) = event.body.hook() else { return Judged::Passes };
        let (process, now) = (event.meta.process, event.meta.boot_ns.max(self.boot_ns));
        let decide = |object: &CallKeys<'_>| {
            Judged::of(self.turns.turn(|ledger| ledger.called(hook, process, object, now)))
        };
        // Of a call that replaces a file either decides.
        let judged = match (decide(object), replaced(event, object)) {
            (first @ Judged::Refused { .. }, _) | (first, None) => first,
            (first, Some(other)) => match decide(&other) {
                Judged::Passes => first,
                second => second,
            },
        };
        if matches!(event.body, Body::BprmCommittedCreds(_)) {
            self.turns.turn(|ledger| ledger.executed(process));
        }
        judged
    }

    /// Follows a process: what it is now, and that it is a child of its parent's when it is new.
    pub(super) fn know(&mut self, process: &Process<'_>) {
        let (key, parent) = (process.key, process.parent);
        self.processes.insert(key, process.clone().into_owned());
        if self.parents.insert(key, parent).is_none() && parent != key {
            self.turns.turn(|ledger| ledger.forked(parent, key));
        }
    }

    /// Follows the end of a process.
    pub(super) fn forget(&mut self, gone: ProcessKey) {
        self.processes.remove(&gone);
        self.turns.turn(|ledger| ledger.ended(gone, self.boot_ns));
    }

    fn answers(&mut self) -> Happened {
        if self.outcomes.is_empty() {
            return Happened::default();
        }
        let mut batch = private((self.boot_ns, self.unix_offset_ns));
        batch.append(&mut self.outcomes);
        self.handle(&batch)
    }

    fn handle(&mut self, batch: &[u8]) -> Happened {
        let schema = self.stepped.manifest().schema;
        let lowered = if schema == SCHEMA {
            None
        } else {
            self.principal.note(&Batch::private(batch.to_vec()));
            Some(lower::batch(batch, SCHEMA, schema, &[]))
        };
        match self.stepped.handle(lowered.as_deref().unwrap_or(batch)) {
            Ok(actions) => self.did(&actions),
            Err(error) => Happened {
                log: self.stepped.take_log(),
                failed: Some(error),
                ..Happened::default()
            },
        }
    }

    /// Applies what the plugin wants.
    /// Whether the plugin is sent an event: one of its hooks that its filters let pass, or that a rule has decided.
    pub(super) fn is_sent(&mut self, event: &Event<'_>) -> bool {
        let hooks = self.stepped.manifest().hooks;
        event.body.hook().is_none_or(|hook| hooks.contains(hook))
            && (event.meta.verdict != Verdict::None || self.sieve.passes(event))
    }

    fn did(&mut self, actions: &[u8]) -> Happened {
        let mut happened = Happened { log: self.stepped.take_log(), ..Happened::default() };
        let schema = self.stepped.manifest().schema;
        let (mut rest, mut kills) = (Vec::with_capacity(actions.len()), Vec::new());
        for frame in Frames::new(actions) {
            let action = frame.and_then(|frame| Ok((frame, lower::action(&frame, schema)?)));
            match action {
                Ok((_, Action::Kill(kill))) if self.stepped.manifest().kill => {
                    happened.wanted.push(words(&Action::Kill(kill)));
                    kills.push(kill.token);
                }
                Ok((_, Action::Evidence(evidence))) => {
                    let Evidence { process, what, weight, threshold } = evidence;
                    let what = what.into_owned().into();
                    happened.evidence.push(Evidence { process, what, weight, threshold });
                }
                Ok((frame, action)) => {
                    happened.wanted.push(words(&action));
                    let raw = actions.get(frame.at..frame.at + 6 + frame.body.len());
                    rest.extend_from_slice(raw.unwrap_or_default());
                }
                Err(error) => happened.wanted.push(error.to_string()),
            }
        }
        let applied = self.apply(&rest);
        self.outcomes.extend_from_slice(&applied.outcomes);
        for token in kills {
            let outcome = Outcome { token, rule_id: None, refusal: None, detail: "".into() };
            // An outcome is far shorter than a frame can be.
            let _fits = RecordRef::Outcome(&outcome).push(&mut self.outcomes);
        }
        happened.alerts = applied.alerts;
        happened.rules = applied.rules;
        happened.refused = applied.refused.into_iter().map(|refused| refused.detail).collect();
        happened
    }

    fn apply(&mut self, actions: &[u8]) -> Applied {
        let (processes, parents) = (&self.processes, &self.parents);
        let exists = |key: ProcessKey| processes.contains_key(&key);
        let descendants = |root: ProcessKey| descendants(processes, parents, root);
        let running = |key: &RuleKey| running(processes, key);
        let within = |_: ProcessKey| true;
        let around = ActionContext {
            now_boot_ns: self.boot_ns,
            kinship: Kinship { exists: &exists, descendants: &descendants, running: &running },
            machine: &self.machine,
            within: &within,
            bounds: Bounds::default(),
            sampling: &self.samples,
        };
        apply(&self.turns, &mut self.principal, actions, around)
    }
}

/// All running descendants of a process, which may itself have ended, in the order of their keys.
fn descendants(
    processes: &HashMap<ProcessKey, Process<'static>>,
    parents: &HashMap<ProcessKey, ProcessKey>,
    root: ProcessKey,
) -> Vec<ProcessKey> {
    let above = |key: &ProcessKey| parents.get(key).copied();
    // A recording may say that a process is its own ancestor.
    let descends = |key: &ProcessKey| {
        std::iter::successors(above(key), above).take(ANCESTORS_MAX).any(|key| key == root)
    };
    let is_below = |key: &ProcessKey| *key != root && descends(key);
    let mut found: Vec<ProcessKey> = processes.keys().copied().filter(is_below).collect();
    found.sort_unstable_by_key(|key| (key.start_boot_ns, key.tgid));
    found
}

/// Processes that run a file, or what lies at a path or below it, in the order of their keys.
fn running(processes: &HashMap<ProcessKey, Process<'static>>, key: &RuleKey) -> Vec<ProcessKey> {
    let runs = |process: &&Process<'static>| match key {
        RuleKey::File(file) => process.file == *file,
        RuleKey::Path { prefix, .. } => {
            match (PathPrefix::new(prefix), PathPrefix::new(&process.exe)) {
                (Ok(prefix), Ok(exe)) => prefix.covers(&exe),
                _ => false,
            }
        }
        _ => false,
    };
    let mut found: Vec<ProcessKey> =
        processes.values().filter(runs).map(|process| process.key).collect();
    found.sort_unstable_by_key(|key| (key.start_boot_ns, key.tgid));
    found
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
