//! A plugin on a stage: its actions go to a real ledger whose maps are memory, and their outcomes come back to it.
//!
//! Time is what the stage is told; no machine is asked. Nobody is killed: what a plugin would kill is told.

mod judge;
mod store;

use std::collections::HashMap;

use krsi_host_abi::deny::Bounds;
use krsi_host_abi::hook::HOOKS;
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Outcome, Process, ProcessKey, Record, RecordRef, RuleKey, SCHEMA, Tick,
};
use krsi_plugin_schema::lower;

use self::store::MemoryStore;
use crate::pipeline::asked;
use crate::plugin::{CallError, KeptLog, PluginPre, StartError, Stepped, words};
use crate::policy::{
    ActionContext, Applied, Grant, GrantSpec, Kinship, Ledger, Machine, Principal, RaisedAlert,
    RuleView, Turns, Undeclared, apply,
};
use crate::route::batch::private;
use crate::route::queue::Batch;

pub(super) use self::judge::{Judged, JudgedObject};

/// The slot of the one plugin.
const SLOT: u8 = 0;
/// Ticks that are given at a time: a wait is not for ever.
const TICKS_MAX: u64 = 10_000;

/// A plugin, its ledger, and the processes that it was told of.
pub(super) struct Stage {
    stepped: Stepped,
    principal: Principal,
    turns: Turns<MemoryStore>,
    machine: Machine,
    processes: HashMap<ProcessKey, Process<'static>>,
    outcomes: Vec<u8>,
    boot_ns: u64,
    unix_offset_ns: i64,
    next_tick_ns: Option<u64>,
}

/// What a plugin did in one or several calls.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// Its alerts.
    pub(super) alerts: Vec<RaisedAlert>,
    /// Rules that came into force.
    pub(super) rules: Vec<RuleView>,
    /// What a host would have refused it, in words.
    pub(super) refused: Vec<String>,
    /// Everything that it wanted, in words.
    pub(super) wanted: Vec<String>,
    /// What it logged.
    pub(super) log: KeptLog,
    /// How a call failed; the plugin is spent then.
    pub(super) failed: Option<CallError>,
}

impl Happened {
    /// Adds what happened later.
    pub(super) fn and(&mut self, later: Happened) {
        self.alerts.extend(later.alerts);
        self.rules.extend(later.rules);
        self.refused.extend(later.refused);
        self.wanted.extend(later.wanted);
        self.log.lines.extend(later.log.lines);
        self.log.more += later.log.more;
        self.failed = self.failed.take().or(later.failed);
    }
}

/// Why a plugin is not on the stage.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    /// It fails before its first call.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its `init` failed.
    #[error("init failed: {0}")]
    Call(#[source] CallError),
    /// It refuses its configuration.
    #[error("it refuses its configuration: {reason}")]
    Config {
        /// In its own words.
        reason: String,
    },
    /// It declares labels that no plugin can have.
    #[error("it cannot have its labels: {reason}")]
    Labels {
        /// Why.
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
        let mut ledger = Ledger::new(MemoryStore::default(), HOOKS.iter().map(|row| row.hook));
        // A rule on a digest is taken, and applies to nothing, as no file of a stage has bytes.
        ledger.set_digests(Ok(()));
        let labels = ledger.declare_labels(&principal.plugin, &manifest.labels, Undeclared::End);
        labels.map_err(|error| StageError::Labels { reason: error.to_string() })?;
        let tick_ns = manifest.tick.map(nanoseconds);
        let mut stage = Self {
            stepped,
            principal,
            turns: Turns::new(ledger),
            machine: Machine::default(),
            processes: HashMap::new(),
            outcomes: Vec::new(),
            boot_ns,
            unix_offset_ns,
            next_tick_ns: tick_ns.map(|tick| boot_ns.saturating_add(tick)),
        };
        let happened = stage.did(&first);
        Ok((stage, happened))
    }

    /// The plugin.
    pub(super) const fn plugin(&self) -> &Stepped {
        &self.stepped
    }

    /// Gives it a batch of the newest schema, as a host does: the time first, answers before and after.
    pub(super) fn batch(&mut self, boot_ns: u64, frames: &[u8]) -> Happened {
        let mut happened = self.advance(boot_ns);
        self.follow(frames);
        let mut batch = private((self.boot_ns, self.unix_offset_ns));
        batch.extend_from_slice(frames);
        happened.and(self.answers());
        if happened.failed.is_none() {
            happened.and(self.handle(&batch));
            happened.and(self.answers());
        }
        happened
    }

    /// Lets time pass: ticks come when they are due, rules end.
    pub(super) fn advance(&mut self, to_boot_ns: u64) -> Happened {
        let mut happened = Happened::default();
        let mut ticks = 0;
        let period = self.stepped.manifest().tick.map(nanoseconds);
        while let (Some(at), Some(period)) =
            (self.next_tick_ns.filter(|at| *at <= to_boot_ns), period)
        {
            ticks += 1;
            if ticks > TICKS_MAX || happened.failed.is_some() {
                self.next_tick_ns = Some(to_boot_ns.saturating_add(period));
                break;
            }
            self.boot_ns = self.boot_ns.max(at);
            self.next_tick_ns = Some(at.saturating_add(period.max(1)));
            let mut batch = private((self.boot_ns, self.unix_offset_ns));
            // A tick is an empty body.
            let _fits = RecordRef::Tick(Tick {}).push(&mut batch);
            happened.and(self.handle(&batch));
        }
        self.boot_ns = self.boot_ns.max(to_boot_ns);
        let _ended = self.turns.expire(self.boot_ns);
        happened
    }

    /// What the rules in force make of a call.
    pub(super) fn judge(
        &self,
        hook: krsi_plugin_schema::latest::Hook,
        process: ProcessKey,
        object: &JudgedObject<'_>,
    ) -> Judged {
        let specs = self.turns.turn(|ledger| {
            let ids = ledger.ids_of(SLOT);
            ids.into_iter().filter_map(|id| Some((id, ledger.spec(id)?.clone()))).collect()
        });
        let lineage = self.lineage(process);
        judge::judge(specs, (hook, process, object), &lineage, self.boot_ns)
    }

    /// A process and its ancestors.
    fn lineage(&self, process: ProcessKey) -> Vec<ProcessKey> {
        let mut lineage = vec![process];
        let mut at = process;
        while let Some(parent) = self.processes.get(&at).map(|process| process.parent) {
            if lineage.contains(&parent) {
                break;
            }
            lineage.push(parent);
            at = parent;
        }
        lineage
    }

    fn follow(&mut self, frames: &[u8]) {
        for frame in Frames::new(frames).flatten() {
            match Record::decode(&frame) {
                Ok(Record::Process(process)) => {
                    self.processes.insert(process.key, process.into_owned());
                }
                Ok(Record::Running(running)) => {
                    let process = running.process.into_owned();
                    self.processes.insert(process.key, process);
                }
                Ok(Record::Gone(gone)) => {
                    self.processes.remove(&gone.key);
                }
                _ => {}
            }
        }
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
        let processes = &self.processes;
        let exists = |key: ProcessKey| processes.contains_key(&key);
        let descendants = |root: ProcessKey| descendants(processes, root);
        let running = |key: &RuleKey| running(processes, key);
        let within = |_: ProcessKey| true;
        let around = ActionContext {
            now_boot_ns: self.boot_ns,
            kinship: Kinship { exists: &exists, descendants: &descendants, running: &running },
            machine: &self.machine,
            within: &within,
            bounds: Bounds::default(),
        };
        apply(&self.turns, &mut self.principal, actions, around)
    }
}

/// All descendants of a process, in the order of their keys.
fn descendants(
    processes: &HashMap<ProcessKey, Process<'static>>,
    root: ProcessKey,
) -> Vec<ProcessKey> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let children = processes.values().filter(|process| process.parent == parent);
        let mut children: Vec<ProcessKey> = children.map(|process| process.key).collect();
        children.retain(|child| *child != root && !found.contains(child));
        children.sort_unstable_by_key(|child| (child.start_boot_ns, child.tgid));
        found.extend_from_slice(&children);
        parents.append(&mut children);
    }
    found
}

/// Processes that run a file, or what lies at a path or below it, in the order of their keys.
fn running(processes: &HashMap<ProcessKey, Process<'static>>, key: &RuleKey) -> Vec<ProcessKey> {
    let runs = |process: &&Process<'static>| match key {
        RuleKey::File(file) => process.file == *file,
        RuleKey::Path { prefix, .. } => judge::below(&process.exe, prefix),
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
