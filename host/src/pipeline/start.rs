//! From a configuration to everything running: machine, plugins, hooks, proof of life, rules, events.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use super::RunError;
use super::board::Board;
use super::census::Census;
use super::exempt::Exempt;
use super::hooks::Hooks;
use super::left_out::Refused;
use super::mailbox::Mailbox;
use super::prepare::Prepared;
use super::reader::Reader;
use super::reports::{self, Waiting};
use super::roster::{Roster, in_folder};
use super::shared::Shared;
use super::standing;
use super::steward::{Command, Steward, administrator};
use super::vital;
use super::watches::ADMINISTRATOR;
use crate::config::{Config, PluginSpec};
use crate::enrich::ProcessTable;
use crate::kernel::map::Counters;
use crate::kernel::probe;
use crate::kernel::processes::Processes;
use crate::plugin::{Cache, Compiler, TrustedKey};
use crate::policy::{Ledger, Machine};
use crate::read::ring::Rings;

/// Everything that runs.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    pub(super) commands: Sender<Command>,
    pub(super) board: Board,
    pub(super) reports: Waiting,
}

/// Starts everything; on an error nothing stays attached.
pub(super) fn start(config: Config) -> Result<Running, RunError> {
    probe::check(config.backend)?;
    let policies = config.policies()?;
    // The running binary, whatever has happened to its file.
    let compiler = compiler(&config, "/proc/self/exe".into())?;
    let rules = policies.rules().clone();
    let (mut hooks, maps) = Hooks::load(&config)?;
    let mut exempt = Exempt::new(maps.exempt, &rules);
    let Found { machine, processes, notes } = look(&mut hooks, &mut exempt)?;
    let mut ledger = Ledger::new(maps.rules, []);
    standing::answer_errors(&mut ledger, &rules).map_err(RunError::Standing)?;
    let (sender, reports) = reports::channel();
    let table = ProcessTable::with_capacity(rules.processes);
    let shared = Arc::new(Shared::new(ledger, table, machine, sender));
    let mailbox = Arc::new(Mailbox::new().map_err(RunError::Thread)?);
    let (commands, told) = channel();
    let (all, post) = (Arc::clone(&shared), Arc::clone(&mailbox));
    let mut roster = Roster::new(compiler, policies, all, post, commands.clone());

    let named = config.plugins.iter().map(|spec| roster.prepare(spec.clone()));
    let named: Vec<Prepared> = named.collect::<Result<_, _>>()?;
    let found = found(&config, &mut roster, &shared);
    let first = (0..).zip(named.iter().chain(&found));
    let wanted =
        first.fold(administrator(&config), |all, (slot, plugin)| all.and(plugin.wanted(slot)));
    hooks.want(&wanted)?;
    watched(&hooks)?;
    hooks.publish(&shared);
    shared.set_hooks(hooks.attached(), hooks.backend().name());
    // Events wait in the ring from here on, so that nothing falls between the census and the reader.
    let census = Census::start(processes, Arc::clone(&shared));
    exempt.mark_running();
    notes.into_iter().for_each(|text| shared.note(text));
    for plugin in named {
        roster.add(plugin)?;
    }
    for plugin in found {
        if let Err(error) = roster.add(plugin) {
            shared.note(error.line());
        }
    }
    let counters = maps.counters;
    let rings = Rings::new(maps.verdicts, maps.telemetry);
    let reader = Reader::new(rings, Arc::clone(&counters), Arc::clone(&shared));
    let bell = Arc::clone(&mailbox);
    let reader = std::thread::Builder::new()
        .name("reader".into())
        .spawn(move || reader.run(&bell))
        .map_err(RunError::Thread)?;
    let board = roster.board();
    let mut steward = Steward {
        refused: HashSet::new(),
        config: config.clone(),
        hooks,
        exempt,
        census,
        roster,
        shared: Arc::clone(&shared),
        mailbox,
        reader,
    };
    steward.shadow_files(&config.shadows);
    steward.spawn(told)?;
    Ok(Running { shared, counters, commands, board, reports })
}

/// What the machine is.
struct Found {
    machine: Machine,
    /// `None` where the kernel does not list them.
    processes: Option<Processes>,
    /// What is to be told of it, in words.
    notes: Vec<String>,
}

/// Proves the backend, and learns what the files are that make exempt and those that nobody comes in without, and
/// how processes are listed.
fn look(hooks: &mut Hooks, exempt: &mut Exempt) -> Result<Found, RunError> {
    let (mut told, mut machine) = (exempt.count(), Machine::default());
    hooks.prove(|key_of| {
        told.extend(exempt.hold(key_of));
        machine = vital::machine(key_of);
    })?;
    let processes = hooks.processes()?.map_err(|why| {
        told.push(format!(
            "processes that run already are unknown, and rules on them refused, until they are seen: {why}"
        ));
    });
    Ok(Found { machine, processes: processes.ok(), notes: told })
}

/// That every watch of the command line is attached: whoever asks for one must not think it is.
fn watched(hooks: &Hooks) -> Result<(), RunError> {
    let own = |refused: &&Refused| refused.owner == Some(ADMINISTRATOR);
    let refused = hooks.refused().iter().filter(own);
    let watches: Vec<_> =
        refused.map(|refused| (refused.what.clone(), Arc::clone(&refused.why))).collect();
    if watches.is_empty() { Ok(()) } else { Err(RunError::Watch { watches }) }
}

/// What the folders hold. One that is not there yet may come, and a file that is no plugin is told.
fn found(config: &Config, roster: &mut Roster, shared: &Shared) -> Vec<Prepared> {
    let files = config.plugin_dirs.iter().filter_map(|folder| in_folder(folder).ok()).flatten();
    let prepared = files.map(|file| roster.prepare(PluginSpec::beside(file)));
    prepared.filter_map(|plugin| plugin.map_err(|error| shared.note(error.line())).ok()).collect()
}

/// `program` is a krsi-host, whose child compiles.
pub(super) fn compiler(config: &Config, program: PathBuf) -> Result<Compiler, RunError> {
    let key = config.require_signed.as_deref().map(TrustedKey::read).transpose()?;
    let cache = config.cache.as_deref().map(Cache::open).transpose()?;
    Ok(Compiler::new(program, config.compile, cache, key))
}
