//! From a configuration to everything running: machine, plugins, hooks, proof of life, rules, events.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use super::RunError;
use super::arrivals::{WaitingFiles, found_at_start};
use super::census::Census;
use super::mailbox::Mailbox;
use super::on_error;
use super::plugin_status::StatusReader;
use super::prepare::Prepared;
use super::reader::Reader;
use super::ready::ReadyFile;
use super::recording::Recording;
use super::reports::{self, ReportReceiver};
use super::roster::Roster;
use super::shared::Shared;
use super::steward::{Command, Steward, administrator, attach};
use crate::attach::hooks::Hooks;
use crate::attach::left_out::NotAttached;
use crate::attach::wanted::Wanted;
use crate::attach::watches::ADMINISTRATOR;
use crate::config::{Config, PluginSpec, RuleSettings};
use crate::control::Server;
use crate::enrich::{MachineRoot, ProcessTable};
use crate::error_chain::chain;
use crate::files::{PluginFiles, PluginPlace};
use crate::kernel::map::{Counters, RuleMaps};
use crate::kernel::program::processes::TaskIterator;
use crate::kernel::survey::{privilege, probe};
use crate::machine::{self, ExemptProcesses};
use crate::plugin::{Cache, CacheError, CompileStop, Compiler, TrustedKey, may_make_code};
use crate::policy::{Ledger, Machine};
use crate::read::ring::{ReadError, Rings};
use crate::thread::{self, Task};

/// Everything that runs once the host is ready.
pub(super) struct RunningHost {
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    pub(super) commands: Sender<Command>,
    pub(super) statuses: StatusReader,
    pub(super) reports: ReportReceiver,
    pub(super) ready: ReadyFile,
    /// Ends the compiling of a plugin when the run ends.
    pub(super) compiling: CompileStop,
}

/// Starts everything; on an error nothing stays attached.
pub(super) fn start(config: Config) -> Result<RunningHost, RunError> {
    let ready = vacate(&config)?;
    probe::check(config.backend)?;
    let missing = privilege::prepare()?;
    // What is missing may be why nothing comes of it.
    begin(config, ready, &missing).inspect_err(|_| {
        missing.iter().for_each(|text| tracing::warn!("{text}"));
    })
}

/// A table of so many processes that knows the machine's mount namespace.
fn table(processes: usize) -> ProcessTable {
    let mounts = MachineRoot::read("/proc".as_ref()).mounts();
    ProcessTable::with_capacity(processes).with_mounts(mounts)
}

/// Starts everything on a machine that takes it; `missing` is what is to be told of the process.
fn begin(config: Config, ready: ReadyFile, missing: &[String]) -> Result<RunningHost, RunError> {
    if !(config.plugins.is_empty() && config.plugin_dirs.is_empty()) {
        may_make_code().map_err(RunError::NoCode)?;
    }
    let policies = config.policies()?;
    // The running binary, whatever has happened to its file.
    let (compiler, without_cache) = compiler(&config, "/proc/self/exe".into())?;
    let rules = policies.rules().clone();
    let (mut hooks, maps) = Hooks::load(&config, &rules)?;
    let mut exempt = ExemptProcesses::new(maps.exempt, &rules);
    let FoundMachine { machine, processes, notes } = look(&mut hooks, &mut exempt)?;
    let ledger = ledger(maps.rules, &rules)?;
    let (sender, reports) = reports::channel();
    let shared = Arc::new(Shared::new(ledger, table(rules.processes), machine, sender));
    let mailbox = Arc::new(Mailbox::new().map_err(RunError::Thread)?);
    let (commands, told) = channel();
    let (all, post) = (Arc::clone(&shared), Arc::clone(&mailbox));
    let mut roster = Roster::new(compiler, policies, all, post, commands.clone());

    let in_folders = found_at_start(&config);
    let files = taken(&config, &in_folders);
    let named = config.plugins.iter().map(|spec| roster.prepare(spec.clone()));
    let named: Vec<Prepared> = named.collect::<Result<_, _>>()?;
    let (found, rejected) = found(in_folders, &mut roster);
    let wanted = administrator(&config, &rules);
    attach_first(&mut hooks, wanted, named.iter().chain(&found), &shared)?;
    let recording = Recording::at_start(&config, &shared, &mailbox)?;
    // Events wait in the ring from here on, so that nothing falls between the census and the reader.
    let census = Census::start(processes, Arc::clone(&shared));
    exempt.mark_running();
    missing.iter().cloned().chain(without_cache).chain(notes).for_each(|text| shared.note(text));
    let rejected = add(&mut roster, named, found, rejected)?;
    let counters = maps.counters;
    let rings = Rings::new(maps.verdicts, maps.telemetry);
    let reader = Reader::new(rings, Arc::clone(&counters), Arc::clone(&shared));
    let reader = spawn(reader, Arc::clone(&mailbox))?;
    let (statuses, compiling) = (roster.statuses(), roster.compiler.stop_handle());
    let mut steward = Steward {
        refused: HashSet::new(),
        unserved: HashSet::new(),
        config: config.clone(),
        rules,
        hooks,
        exempt,
        census,
        roster,
        files,
        waiting: WaitingFiles::default(),
        unused_tables: HashSet::new(),
        shared: Arc::clone(&shared),
        mailbox,
        reader,
        recording,
        ended_recording: None,
    };
    steward.report_rejected(rejected);
    steward.shadow_files(&config.shadows);
    steward.spawn(told)?;
    Ok(RunningHost { shared, counters, commands, statuses, reports, ready, compiling })
}

/// A ledger with the operator's answers to errors and his labels.
fn ledger(maps: RuleMaps, rules: &RuleSettings) -> Result<Ledger<RuleMaps>, RunError> {
    let mut ledger = Ledger::new(maps, []);
    on_error::answer_errors(&mut ledger, rules).map_err(RunError::OnError)?;
    ledger.declare_own_labels(&rules.labels).map_err(RunError::OwnLabels)?;
    Ok(ledger)
}

/// Attaches what the administrator and the first plugins want.
fn attach_first<'p>(
    hooks: &mut Hooks,
    wanted: Wanted,
    plugins: impl Iterator<Item = &'p Prepared>,
    shared: &Shared,
) -> Result<(), RunError> {
    let mut wanted = wanted;
    for (slot, plugin) in (0..).zip(plugins) {
        wanted = wanted.and(plugin.wanted(slot));
        // One that cannot have its labels is told when it is added.
        let _told_later = plugin.reserve_labels(shared);
    }
    attach(hooks, wanted, shared)?;
    watched(hooks)?;
    shared.publish(hooks.published());
    Ok(())
}

/// Starts the reader's thread.
fn spawn(
    reader: Reader,
    bell: Arc<Mailbox>,
) -> Result<JoinHandle<Result<(), ReadError>>, RunError> {
    thread::spawn("reader", Task::Lasting, move || reader.run(&bell)).map_err(RunError::Thread)
}

/// Looks, before anything is attached, whether something lies in the way of the control socket or the ready file.
fn vacate(config: &Config) -> Result<ReadyFile, RunError> {
    // First, as the ready file of a host that listens there must stay.
    config.control.as_deref().map_or(Ok(()), Server::vacant)?;
    ReadyFile::new(config.ready_file.clone())
}

struct FoundMachine {
    machine: Machine,
    /// `None` where the kernel does not list them.
    processes: Option<TaskIterator>,
    /// Notes about the machine for the administrator, in words.
    notes: Vec<String>,
}

/// Proves the backend, and learns what the files are that make exempt and those that nobody comes in without, and
/// how processes are listed.
fn look(hooks: &mut Hooks, exempt: &mut ExemptProcesses) -> Result<FoundMachine, RunError> {
    let (mut told, mut machine) = (exempt.count(), Machine::default());
    told.extend(machine::told_of_loader());
    hooks.prove(|key_of| {
        told.extend(exempt.hold(key_of));
        machine = machine::machine(key_of);
    })?;
    let processes = hooks.processes()?.map_err(|why| {
        told.push(format!(
            "processes older than krsi-host are unknown until their first event, and rules on them are refused: {why}"
        ));
    });
    Ok(FoundMachine { machine, processes: processes.ok(), notes: told })
}

/// That every watch of the command line is attached: whoever asks for one must not think it is.
fn watched(hooks: &Hooks) -> Result<(), RunError> {
    let own = |refused: &&NotAttached| refused.owner == Some(ADMINISTRATOR);
    let refused = hooks.refused().iter().filter(own);
    let watches: Vec<_> =
        refused.map(|refused| (refused.what.clone(), Arc::clone(&refused.why))).collect();
    if watches.is_empty() { Ok(()) } else { Err(RunError::Watch { watches }) }
}

/// Files of plugins as they are before they are read: what changes from here on is found by a look.
fn taken(config: &Config, in_folders: &[PathBuf]) -> PluginFiles {
    let named = config.plugins.iter().map(PluginPlace::of);
    let beside = config.shadows.iter().chain(in_folders).cloned().map(PluginPlace::beside);
    let mut files = PluginFiles::default();
    files.take(&named.chain(beside).collect::<Vec<_>>(), Instant::now());
    files
}

/// What the folders hold: plugins, and files that are none.
fn found(files: Vec<PathBuf>, roster: &mut Roster) -> (Vec<Prepared>, Vec<(PathBuf, RunError)>) {
    let (mut found, mut rejected) = (Vec::new(), Vec::new());
    for file in files {
        match roster.prepare(PluginSpec::beside(file.clone())) {
            Ok(prepared) => found.push(prepared),
            Err(error) => rejected.push((file, error)),
        }
    }
    (found, rejected)
}

/// Starts plugins; of those that were found in folders, what cannot be started is added to what is `rejected`.
fn add(
    roster: &mut Roster,
    named: Vec<Prepared>,
    found: Vec<Prepared>,
    mut rejected: Vec<(PathBuf, RunError)>,
) -> Result<Vec<(PathBuf, RunError)>, RunError> {
    for plugin in named {
        roster.add(plugin)?;
    }
    for plugin in found {
        let (file, name) = (plugin.file().to_owned(), plugin.name().to_owned());
        rejected.extend(roster.add(plugin).err().map(|error| (file, error)));
        roster.unreserve_labels(&name);
    }
    Ok(rejected)
}

/// `program` is a krsi-host, whose child compiles. And what is to be told where the code cannot be kept.
pub(super) fn compiler(
    config: &Config,
    program: PathBuf,
) -> Result<(Compiler, Option<String>), RunError> {
    let key = config.require_signed.as_deref().map(TrustedKey::read).transpose()?;
    let (cache, told) = match config.cache.as_deref().map(Cache::open).transpose() {
        Ok(cache) => (cache, None),
        Err(error @ CacheError::Io { .. }) => {
            let why = chain(&error);
            (None, Some(format!("{why}: plugins are compiled at every start (--cache-dir)")))
        }
        Err(error) => return Err(error.into()),
    };
    Ok((Compiler::new(program, config.compile, cache, key), told))
}
