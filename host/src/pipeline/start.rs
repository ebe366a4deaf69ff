//! From a configuration to everything running: machine, plugins, hooks, proof of life, rules, events.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use krsi_host_abi::deny::flag;
use krsi_host_abi::hook::Hook as AbiHook;
use krsi_plugin_schema::latest::{Hook, HookSet};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;

use super::RunError;
use super::clock;
use super::reader::Reader;
use super::shared::{REPORTS_MAX, Shared};
use super::sink::{Counts, PolicySink};
use crate::config::{Config, KillGrant, PluginSpec};
use crate::enrich::ProcessTable;
use crate::kernel::btf::KernelTypes;
use crate::kernel::load::{self, LoadSpec, Loaded};
use crate::kernel::map::{Counters, KernelMaps};
use crate::kernel::{attach, canary, plan, probe};
use crate::output::Report;
use crate::plugin::{Engine, Limits, PluginPre, Worker, WorkerSpec};
use crate::policy::Ledger;
use crate::read::ring::{ReadError, Rings};
use crate::route::queue::Queue;
use crate::route::subscription::{PluginSlot, Router};

/// Processes that the host keeps in mind.
const PROCESSES_MAX: usize = 65_536;
/// Hooks that the host's own process table lives on.
const OWN_HOOKS: [Hook; 3] =
    [Hook::BprmCommittedCreds, Hook::SchedProcessFork, Hook::SchedProcessExit];

/// Everything that runs.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    /// Programs and links: dropping it detaches every hook.
    pub(super) loaded: Loaded,
    pub(super) counters: Counters,
    pub(super) workers: Vec<(Worker, Arc<Counts>)>,
    pub(super) reader: JoinHandle<Result<(), ReadError>>,
    /// Ends the reader once it is written to.
    pub(super) stop: Arc<OwnedFd>,
    pub(super) reports: mpsc::Receiver<Report>,
}

/// Starts everything; on an error nothing stays attached.
pub(super) fn start(config: &Config) -> Result<Running, RunError> {
    probe::check()?;
    let types = KernelTypes::running()?;
    let plugins = describe(config)?;
    let subscribed =
        plugins.iter().fold(own_hooks(), |set, (_, spec)| HookSet(set.0 | spec.manifest.hooks.0));
    let wanted = plugins
        .iter()
        .fold(subscribed, |set, (_, spec)| HookSet(set.0 | spec.manifest.deny_hooks.0));
    let (loaded, mut maps) = attach(&types, wanted, config)?;
    canary::prove(&loaded.hooks, &mut maps.flags, &maps.counters)?;
    for hook in loaded.hooks.iter().filter(|hook| contains(subscribed, **hook)) {
        maps.flags.raise(*hook, flag::FORWARD)?;
    }
    // Events wait in the ring from here on, so that nothing falls between the scan and the reader.
    let mut processes = ProcessTable::with_capacity(PROCESSES_MAX);
    if let Err(error) = processes.scan("/proc".as_ref()) {
        tracing::warn!(%error, "processes that run already are unknown");
    }
    let (sender, reports) = mpsc::channel(REPORTS_MAX);
    let shared = Arc::new(Shared::new(
        Ledger::new(maps.rules, loaded.hooks.iter().copied()),
        processes,
        sender,
    ));
    let mut router = Router::default();
    let mut workers = Vec::new();
    for (slot, (plugin, spec)) in (0u8..).zip(plugins) {
        workers.push(start_plugin(config, slot, plugin, spec, &shared, &mut router)?);
    }
    let stop = Arc::new(
        eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| RunError::Thread(errno.into()))?,
    );
    let reader =
        Reader::new(Rings::new(maps.verdicts, maps.telemetry), router, Arc::clone(&shared));
    let ends = Arc::clone(&stop);
    let reader = std::thread::Builder::new()
        .name("reader".into())
        .spawn(move || reader.run(&ends))
        .map_err(RunError::Thread)?;
    Ok(Running { shared, loaded, counters: maps.counters, workers, reader, stop, reports })
}

/// Compiles every plugin and asks what it wants.
fn describe(config: &Config) -> Result<Vec<(&PluginSpec, WorkerSpec)>, RunError> {
    let engine = Engine::new()?;
    let limits = Limits {
        memory_bytes: config.memory_bytes,
        call_deadline: config.call_deadline,
        ..Limits::default()
    };
    let mut specs: Vec<(&PluginSpec, WorkerSpec)> = Vec::new();
    for plugin in &config.plugins {
        let spec = WorkerSpec::describe(&PluginPre::load(&engine, &plugin.file, limits)?)?;
        let name = &spec.manifest.name;
        if specs.iter().any(|(_, other)| other.manifest.name == *name) {
            return Err(RunError::SameName { file: plugin.file.clone(), name: name.clone() });
        }
        specs.push((plugin, spec));
    }
    Ok(specs)
}

fn own_hooks() -> HookSet {
    OWN_HOOKS.into_iter().fold(HookSet::default(), HookSet::with)
}

fn contains(set: HookSet, hook: AbiHook) -> bool {
    crate::decode::hook(hook).is_some_and(|hook| set.contains(hook))
}

/// Loads and attaches what this kernel has of the wanted hooks; what it lacks is told, not fatal.
fn attach(
    types: &KernelTypes,
    wanted: HookSet,
    config: &Config,
) -> Result<(Loaded, KernelMaps), RunError> {
    let plan = plan::plan(types, |hook| contains(wanted, hook));
    for (hook, why) in &plan.lacking {
        tracing::warn!(hook = hook.name(), %why, "hook left out");
    }
    for field in &plan.missing {
        let (structure, member, why) = (field.structure, field.member, field.why);
        tracing::warn!(structure, member, %why, "field left out");
    }
    let mut loaded = load::load(&plan, LoadSpec { ring_bytes: config.ring_bytes })?;
    let maps = KernelMaps::take(&mut loaded.object)?;
    attach::attach(&mut loaded);
    for (hook, error) in &loaded.refused {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(hook = hook.name(), %error, cause, "hook left out");
    }
    if loaded.hooks.is_empty() {
        let lacking = plan.lacking.first().map(|(hook, why)| (hook.name(), why.to_string()));
        let refused = loaded.refused.first().map(|(hook, why)| (hook.name(), why.to_string()));
        let (hook, reason) = refused.or(lacking).unwrap_or_default();
        return Err(RunError::NoHook { hook, reason });
    }
    Ok((loaded, maps))
}

fn start_plugin(
    config: &Config,
    slot: u8,
    plugin: &PluginSpec,
    spec: WorkerSpec,
    shared: &Arc<Shared>,
    router: &mut Router,
) -> Result<(Worker, Arc<Counts>), RunError> {
    let queue = Arc::new(Queue::new(config.queue_records));
    let counts = Arc::new(Counts::default());
    let kill = config.kill == KillGrant::Granted;
    let sink = PolicySink::new(Arc::clone(shared), slot, &spec.manifest, kill, Arc::clone(&counts));
    let hooks = spec.manifest.hooks;
    // A seed that differs from run to run; a recording will keep it.
    let seed = clock::boot_ns() ^ u64::from(std::process::id()) << 32;
    let worker = spec.start(&plugin.read_config()?, seed, Arc::clone(&queue), Box::new(sink))?;
    router.subscribe(PluginSlot(slot), hooks, &queue);
    Ok((worker, counts))
}
