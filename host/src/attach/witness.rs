//! The witness of each hook in use: calls that came to an end, and those that were refused, whoever did.

use std::time::{Duration, Instant};

use krsi_host_abi::counter::Counter;

use super::left_out::UsedSlot;
use crate::kernel::btf::{KernelTypes, PrototypeError, Returns};
use crate::kernel::map::Counters;
use crate::kernel::program::backend::BackendKind;
use crate::kernel::program::job::Job;
use crate::kernel::program::load::{HookError, LiveProgram, Loader};
use crate::output::Witnessed;

/// How long a refused call may take to leave its hook.
const UNDER_WAY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// Why a hook has no witness.
#[derive(Debug, thiserror::Error)]
enum WitnessError {
    /// There is nothing to attach it to.
    #[error("this kernel has no function that calls the LSMs for it")]
    NoFunction,
    /// The prototype of the function is not known.
    #[error(transparent)]
    Prototype(#[from] PrototypeError),
    /// The kernel refused the program.
    #[error(transparent)]
    Program(#[from] HookError),
}

/// The witnesses of a host, if it has any.
pub(crate) struct Witnesses {
    wanted: bool,
    live: Vec<Witness>,
    /// What those saw that ended, a row a hook: plugins come and go as often as they like.
    past: Vec<Witnessed>,
    /// Hooks that have none, which is told once.
    without: Vec<String>,
}

struct Witness {
    program: LiveProgram,
    /// Counts from before the witness was attached.
    before: WitnessCounts,
}

#[derive(Clone, Copy)]
struct WitnessCounts {
    calls: u64,
    refused: u64,
    denied: u64,
}

/// What the programs in the kernel counted.
#[derive(Clone, Copy)]
pub(crate) struct HookCounts<'a> {
    pub(crate) counters: &'a Counters,
    /// Slots that ever had a program, with their hooks.
    pub(crate) used: &'a [UsedSlot],
}

impl HookCounts<'_> {
    fn total(&self, slot: u16, counter: Counter) -> u64 {
        self.counters.total(slot, counter).unwrap_or(0)
    }

    /// What the host refused at a hook.
    fn denied(&self, hook: &str) -> u64 {
        let slots = self.used.iter().filter(|used| used.hook == hook);
        slots.map(|used| self.total(used.slot, Counter::Denied)).sum()
    }
}

impl Witnesses {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, live: Vec::new(), past: Vec::new(), without: Vec::new() }
    }

    /// Takes the witness from hooks whose program went.
    pub(crate) fn keep(&mut self, hooks: &[LiveProgram], told: HookCounts<'_>) {
        let is_there = |one: &Witness| {
            hooks.iter().any(|live| live.slot == one.program.slot && live.hook == one.program.hook)
        };
        let (kept, gone): (_, Vec<Witness>) = self.live.drain(..).partition(is_there);
        self.live = kept;
        for witness in gone {
            add(&mut self.past, witness.end(told));
        }
    }

    /// Whether a hook with a program has no witness.
    pub(crate) fn lack(&self, hooks: &[LiveProgram]) -> bool {
        hooks.iter().any(|live| self.lacks(live))
    }

    fn lacks(&self, live: &LiveProgram) -> bool {
        let is_watched = self.live.iter().any(|one| one.program.hook == live.hook)
            || self.without.contains(&live.hook);
        self.wanted && live.is_lsm() && !is_watched
    }

    /// Gives each hook with a program a witness.
    pub(crate) fn follow(
        &mut self,
        loader: &Loader,
        types: &KernelTypes,
        hooks: &[LiveProgram],
        told: HookCounts<'_>,
    ) {
        for live in hooks {
            if !self.lacks(live) {
                continue;
            }
            match start(loader, types, live) {
                Ok(Some(program)) => {
                    let before = WitnessCounts::now(&program, told);
                    self.live.push(Witness { program, before });
                }
                // Nothing answers, so nothing is refused.
                Ok(None) => self.without.push(live.hook.clone()),
                Err(why) => {
                    tracing::warn!(hook = live.hook, %why, "no witness");
                    self.without.push(live.hook.clone());
                }
            }
        }
    }

    /// Counts of the witnesses, by hook. The hooks' programs are gone.
    pub(crate) fn end(&mut self, told: HookCounts<'_>) -> Vec<Witnessed> {
        self.keep(&[], told);
        std::mem::take(&mut self.past)
    }
}

impl WitnessCounts {
    /// In this order: what is refused meanwhile is not in `refused` before it is in `denied`.
    fn now(program: &LiveProgram, told: HookCounts<'_>) -> Self {
        let calls = told.total(program.slot, Counter::Witnessed);
        let refused = told.total(program.slot, Counter::WitnessedRefused);
        Self { calls, refused, denied: told.denied(&program.hook) }
    }
}

impl Witness {
    /// What it saw in all. What its hook's programs refused grows no more, as they are gone; a call that
    /// they refused last, and that has yet to leave the hook, is waited for.
    fn end(self, told: HookCounts<'_>) -> Witnessed {
        let start = Instant::now();
        loop {
            let now = WitnessCounts::now(&self.program, told);
            let seen = Witnessed {
                hook: self.program.hook.clone(),
                calls: now.calls.saturating_sub(self.before.calls),
                refused: now.refused.saturating_sub(self.before.refused),
                denied: now.denied.saturating_sub(self.before.denied),
                missed: self.program.info().map_or(0, |info| info.recursion_misses),
            };
            if seen.refused + seen.missed >= seen.denied || start.elapsed() > UNDER_WAY {
                return seen;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Adds to the row of the hook.
fn add(rows: &mut Vec<Witnessed>, seen: Witnessed) {
    match rows.iter_mut().find(|row| row.hook == seen.hook) {
        Some(row) => {
            row.calls += seen.calls;
            row.refused += seen.refused;
            row.denied += seen.denied;
            row.missed += seen.missed;
        }
        None => rows.push(seen),
    }
}

/// Loads a witness; none for a hook that answers nothing.
fn start(
    loader: &Loader,
    types: &KernelTypes,
    live: &LiveProgram,
) -> Result<Option<LiveProgram>, WitnessError> {
    let target = BackendKind::Observe.backend().target(types, &live.hook);
    let target = target.ok_or(WitnessError::NoFunction)?;
    let prototype = types.prototype(&target.function)?;
    if prototype.returns != Returns::Int {
        return Ok(None);
    }
    let (hook, slot, answer) = (live.hook.clone(), live.slot, prototype.slots);
    Ok(Some(loader.load(types, &Job::Witness { hook, slot, answer })?))
}
