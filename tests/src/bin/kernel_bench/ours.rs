//! Ours: the programs of krsi-host with their own maps, set up through its library as the host does.
//!
//! The only file of the bench that knows how krsi-host loads, attaches and fills. What a version of
//! it cannot do yet is [`Absent`], with the reason, and shows as not measured.

use anyhow::Context;
use krsi_host::kernel::backend::{Backend, BackendKind};
use krsi_host::kernel::btf::KernelTypes;
use krsi_host::kernel::curated;
use krsi_host::kernel::load::{HookError, Job, Live, Loader};
use krsi_host::kernel::map::{Counters, Flags, Judged, KernelMaps, RuleMaps};
use krsi_host::kernel::object::ObjectFile;
use krsi_host::kernel::plan::{self, HookPlan};
use krsi_host::kernel::store::{EntryKey, RuleStore, StoreError};
use krsi_host::read::ring::Rings;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::flag;
use krsi_host_abi::hook::{HOOKS, Hook, Keys};

use crate::act::Act;
use crate::rule;

/// Bytes of the telemetry ring: it holds a batch of records of any hook here.
const RING_BYTES: u32 = 1 << 22;
/// Records that are taken at a time.
const BUDGET: usize = 1 << 16;

/// Why a setting cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent(pub String);

/// What is in force while an act is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Attached, and nothing is wanted.
    Clear,
    /// Rules on this many other processes.
    Processes(u32),
    /// Rules on this many other files or destinations.
    Objects(u32),
    /// A filter on scalars of the call that does not match.
    ScalarFilter,
    /// A filter on the path that does not match.
    PathFilter,
    /// Somebody subscribed to every call.
    Forward,
}

/// The loaded host object.
pub struct Ours {
    types: KernelTypes,
    loader: Loader,
    live: Option<Live>,
    flags: Flags,
    rules: RuleMaps,
    rings: Rings,
    counters: std::sync::Arc<Counters>,
}

/// What hashes of paths start with: any number will do here.
const SECRET: u64 = 1;

/// Numbers that show that a measurement was of what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Calls in which something was wanted.
    pub seen: u64,
    /// Records that found no room.
    pub lost: u64,
}

/// Resolves every hook on this kernel.
pub fn plan(types: &KernelTypes) -> HookPlan {
    plan::plan(types, |_| true)
}

impl Ours {
    /// Creates the maps.
    pub fn load(types: KernelTypes, plan: &HookPlan) -> anyhow::Result<Self> {
        let (file, mut maps) = ObjectFile::create(&[("TELEMETRY", RING_BYTES)])?;
        let maps = KernelMaps::take(&mut maps, SECRET, Judged::Yes)?;
        Ok(Self {
            loader: Loader::new(file, backend(), plan, SECRET, &types),
            types,
            live: None,
            flags: maps.flags,
            rules: maps.rules,
            rings: Rings::new(maps.verdicts, maps.telemetry),
            counters: maps.counters,
        })
    }

    /// Loads and attaches the program of an act.
    pub fn attach(&mut self, act: Act) -> anyhow::Result<Result<(), Absent>> {
        let job = match job(&self.types, hook(act)?) {
            Ok(job) => job,
            Err(absent) => return Ok(Err(absent)),
        };
        match self.loader.load(&self.types, &job) {
            Ok(live) => {
                self.live = Some(live);
                Ok(Ok(()))
            }
            Err(error @ HookError::Refused(_)) => Ok(Err(Absent(error.to_string()))),
            Err(error) => Err(error.into()),
        }
    }

    /// Detaches it.
    pub fn detach(&mut self) {
        self.live = None;
    }

    /// Puts a setting in force for an act.
    pub fn put(&mut self, act: Act, setting: Setting) -> anyhow::Result<Result<(), Absent>> {
        let hook = hook(act)?;
        match setting {
            Setting::Clear => Ok(Ok(())),
            Setting::Processes(count) => self.fill(
                count,
                |number| EntryKey::Process(rule::stranger(number)),
                hook,
                flag::PROCESS,
            ),
            Setting::Objects(count) => {
                let keys = hook.row().keys;
                if keys.contains(Keys::FILE) {
                    self.fill(count, |number| EntryKey::File(rule::file(number)), hook, flag::FILE)
                } else if keys.contains(Keys::NETWORK) {
                    let key = |number| EntryKey::Network(rule::destination(number));
                    self.fill(count, key, hook, flag::NETWORK)
                } else {
                    Ok(Err(Absent("the hook has no object".into())))
                }
            }
            Setting::ScalarFilter | Setting::PathFilter => {
                Ok(Err(Absent("this version has no filters in the kernel".into())))
            }
            Setting::Forward => {
                self.flags.raise(hook.id(), flag::FORWARD)?;
                Ok(Ok(()))
            }
        }
    }

    /// Wants nothing of an act any more. Rules stay in their maps: no flag says so.
    pub fn clear(&mut self, act: Act) -> anyhow::Result<()> {
        let hook = hook(act)?;
        self.flags.lower(hook.id(), flag::FORWARD)?;
        Ok(self.rules.set_rule_flags(hook, 0)?)
    }

    /// Empties the rings: how many records, and how long the last one was.
    pub fn drain(&mut self) -> (u32, usize) {
        let (mut records, mut bytes) = (0, 0);
        self.rings.drain(BUDGET, |record| {
            records += 1;
            bytes = record.len();
        });
        (records, bytes)
    }

    /// The counts of an act's hook.
    pub fn counts(&self, act: Act) -> anyhow::Result<Counts> {
        let total =
            |counter| Ok::<_, anyhow::Error>(self.counters.total(hook(act)?.id(), counter)?);
        Ok(Counts { seen: total(Counter::Seen)?, lost: total(Counter::LostTelemetry)? })
    }

    fn fill(
        &mut self,
        count: u32,
        key: impl Fn(u32) -> EntryKey,
        hook: Hook,
        flag: u64,
    ) -> anyhow::Result<Result<(), Absent>> {
        let entry = rule::entry();
        for number in 1..=count {
            match self.rules.put(key(number), &entry) {
                Ok(()) => {}
                Err(StoreError::Full { map }) => {
                    return Ok(Err(Absent(format!("the {map} map is full with {}", number - 1))));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.rules.set_rule_flags(hook, flag)?;
        Ok(Ok(()))
    }
}

/// Loads every program that this kernel takes: its name, and the instructions that the verifier
/// went through, 0 before 5.16.
pub fn verified() -> anyhow::Result<Vec<(String, u32)>> {
    let types = KernelTypes::running()?;
    let plan = plan(&types);
    let (file, _maps) = ObjectFile::create(&[])?;
    let loader = Loader::new(file, backend(), &plan, SECRET, &types);
    let mut counts = Vec::new();
    for row in HOOKS {
        let Ok(job) = job(&types, row.hook) else { continue };
        let live = loader.load(&types, &job).with_context(|| row.name)?;
        counts.push((row.name.to_owned(), live.info()?.verified_insns));
    }
    Ok(counts)
}

fn backend() -> &'static dyn Backend {
    BackendKind::Lsm.backend()
}

/// What a hook's program is made of, as the host makes it, if this kernel has the hook.
fn job(types: &KernelTypes, hook: Hook) -> Result<Job, Absent> {
    if !hook.is_call() {
        return Ok(Job::Own(hook));
    }
    let absent = |why: &dyn std::fmt::Display| Absent(why.to_string());
    let row = curated::of(hook).ok_or_else(|| absent(&"it has no fields"))?;
    let target = backend().target(types, hook.name()).ok_or_else(|| absent(&"no such hook"))?;
    let prototype = types.prototype(&target.function).map_err(|error| absent(&error))?;
    let spec = row.resolve(types, &prototype).spec;
    Ok(Job::Template { hook: hook.name().to_owned(), spec: Box::new(spec) })
}

fn hook(act: Act) -> anyhow::Result<Hook> {
    let found = HOOKS.iter().find(|row| row.name == act.hook()).map(|row| row.hook);
    found.with_context(|| format!("no hook {}", act.hook()))
}
