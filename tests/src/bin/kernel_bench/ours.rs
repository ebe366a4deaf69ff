//! Ours: the programs of krsi-host with their own maps, set up through its library as the host does.
//!
//! The only file of the bench that knows how krsi-host loads, attaches and fills. What a version of
//! it cannot do yet is [`Absent`], with the reason, and shows as not measured.

use anyhow::Context;
use krsi_host::facade::{
    BackendKind, Counters, EntryKey, Filters, Flags, HookError, HookPlan, Job, KernelMaps,
    KernelTypes, LiveProgram, Loader, ObjectFile, Rings, RuleMaps, RuleStore, RulesObeyed,
    StoreError, curated,
};
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::flag;
use krsi_host_abi::filter::{Clause, Filter, PREFIX_LEN, test};
use krsi_host_abi::hook::{HOOKS, Hook, Keys};
use zerocopy::FromZeros;

use crate::act::Act;
use crate::rule;

/// Hooks of the template whose programs stand for the others: numbers, a path and names, an address.
const TEMPLATES: [Hook; 3] = [Hook::FileMprotect, Hook::PathUnlink, Hook::SocketBind];
/// Sizes of the maps: they hold the many rules.
const SIZES: [(&str, u32); 4] =
    [("TELEMETRY", RING_BYTES), ("PROCESS", 1 << 17), ("FILE", 1 << 17), ("NETWORK", 1 << 17)];
/// What hashes of paths start with: any number does here.
const SECRET: u64 = 1;
/// Nobody's user id.
const STRANGER: u32 = 54_321;

/// Bytes of the telemetry ring: it holds a batch of records of any hook here.
const RING_BYTES: u32 = 1 << 25;
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
    loader: Loader,
    live: Vec<LiveProgram>,
    filters: Filters,
    flags: Flags,
    rules: RuleMaps,
    rings: Rings,
    counters: std::sync::Arc<Counters>,
}

/// Numbers that show that a measurement was of what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchCounts {
    /// Calls in which something was wanted.
    pub seen: u64,
    /// Records that found no room.
    pub lost: u64,
}

/// Resolves every hook on this kernel.
pub fn plan(types: &KernelTypes) -> HookPlan {
    krsi_host::facade::plan(types, |_| true)
}

impl Ours {
    /// Creates the maps.
    pub fn load(types: &KernelTypes, plan: &HookPlan) -> anyhow::Result<Self> {
        let (file, mut maps) = ObjectFile::create(&SIZES)?;
        let loader = Loader::new(file, BackendKind::Lsm.backend(), plan, SECRET, types);
        let maps = KernelMaps::take(&mut maps, SECRET, RulesObeyed::Yes)?;
        Ok(Self {
            loader,
            live: Vec::new(),
            filters: maps.filters,
            flags: maps.flags,
            rules: maps.rules,
            rings: Rings::new(maps.verdicts, maps.telemetry),
            counters: maps.counters,
        })
    }

    /// Loads and attaches the program of an act.
    pub fn attach(&mut self, types: &KernelTypes, act: Act) -> anyhow::Result<Result<(), Absent>> {
        let job = job(types, hook(act)?)?;
        Ok(match self.loader.load(types, &job) {
            Ok(live) => {
                self.live.push(live);
                Ok(())
            }
            Err(error) => Err(refused(act.hook(), error)),
        })
    }

    pub fn detach(&mut self, act: Act) -> anyhow::Result<()> {
        let slot = hook(act)?.id();
        self.live.retain(|live| live.slot != slot);
        Ok(())
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
            Setting::ScalarFilter => self.filter(hook, |filter, clause| {
                clause.tests |= test::UID;
                clause.uid = STRANGER;
                filter
            }),
            Setting::PathFilter if !matches!(act, Act::Open | Act::Exec) => {
                Ok(Err(Absent("the call has no path".into())))
            }
            Setting::PathFilter => self.filter(hook, |mut filter, clause| {
                clause.tests |= test::PREFIX;
                let mut prefix = [0; PREFIX_LEN];
                prefix.iter_mut().zip(*b"/nowhere").for_each(|(to, byte)| *to = byte);
                let mut words = prefix
                    .chunks_exact(8)
                    .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
                if let (Some(prefixes), Some(masks)) =
                    (filter.prefixes.first_mut(), filter.masks.first_mut())
                {
                    prefixes.fill_with(|| words.next().unwrap_or(0));
                    masks.iter_mut().take(1).for_each(|mask| *mask = u64::MAX);
                }
                filter
            }),
            Setting::Forward => {
                self.flags.raise(hook.id(), flag::FORWARD)?;
                Ok(Ok(()))
            }
        }
    }

    /// Wants nothing of an act any more. Rules stay in their maps: no flag says so.
    pub fn clear(&mut self, act: Act) -> anyhow::Result<()> {
        let hook = hook(act)?;
        self.flags.lower(hook.id(), flag::FORWARD | flag::FILTER)?;
        Ok(self.rules.set_rule_flags(hook, 0)?)
    }

    /// Empties the rings: how many records, and how long the last one was.
    pub fn drain(&mut self) -> (u32, usize) {
        let (mut records, mut bytes) = (0, 0);
        self.rings.drain(BUDGET, |record| {
            records += 1;
            bytes = record.map_or_else(|cut| cut.len, |record| record.size());
        });
        (records, bytes)
    }

    /// The counts of an act's hook.
    pub fn counts(&self, act: Act) -> anyhow::Result<BenchCounts> {
        let total = |counter| self.counters.total(hook(act)?.id(), counter).context("a counter");
        Ok(BenchCounts { seen: total(Counter::Seen)?, lost: total(Counter::LostTelemetry)? })
    }

    fn filter(
        &mut self,
        hook: Hook,
        with: impl FnOnce(Filter, &mut Clause) -> Filter,
    ) -> anyhow::Result<Result<(), Absent>> {
        let mut clause = Clause { tests: test::LIVE, ..Clause::default() };
        let mut filter = with(Filter::new_zeroed(), &mut clause);
        if let Some(first) = filter.clauses.first_mut() {
            *first = clause;
        }
        self.filters.set(hook.id(), &filter.seal())?;
        self.flags.raise(hook.id(), flag::FORWARD | flag::FILTER)?;
        Ok(Ok(()))
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

/// Loads every program that this kernel takes, and some of the template: its name, and the
/// instructions that the verifier went through. None before 5.16, which does not tell.
pub fn verified() -> anyhow::Result<Vec<(String, u32)>> {
    let types = KernelTypes::running()?;
    let plan = plan(&types);
    let (file, _maps) = ObjectFile::create(&SIZES)?;
    let loader = Loader::new(file, BackendKind::Lsm.backend(), &plan, SECRET, &types);
    let mut counts = Vec::new();
    for hook in &plan.hooks {
        if hook.is_call() && !TEMPLATES.contains(hook) {
            continue;
        }
        match loader.load(&types, &job(&types, *hook)?) {
            Ok(live) => match live.info()?.verified_insns {
                0 => break,
                count => counts.push((hook.name().to_owned(), count)),
            },
            Err(error) => drop(refused(hook.name(), error)),
        }
    }
    counts.sort();
    Ok(counts)
}

fn refused(hook: &str, error: HookError) -> Absent {
    let why = error.to_string();
    eprintln!("{hook}: {:#}", anyhow::Error::new(error));
    Absent(why)
}

/// The job of a hook: its own program, or the template with the hook's fields.
fn job(types: &KernelTypes, hook: Hook) -> anyhow::Result<Job> {
    if !hook.is_call() {
        return Ok(Job::Own(hook));
    }
    let row = curated(hook).with_context(|| format!("{} has no fields", hook.name()))?;
    let target = BackendKind::Lsm.backend().target(types, hook.name());
    let target = target.with_context(|| format!("no {} here", hook.name()))?;
    let resolved = row.resolve(types, &types.prototype(&target.function)?, None);
    Ok(Job::Template { hook: hook.name().to_owned(), spec: Box::new(resolved.spec) })
}

fn hook(act: Act) -> anyhow::Result<Hook> {
    let found = HOOKS.iter().find(|row| row.name == act.hook()).map(|row| row.hook);
    found.with_context(|| format!("no hook {}", act.hook()))
}
