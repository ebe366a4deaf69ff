//! The witness of each hook in use: calls that came to an end, and those that were refused, whoever did.

use krsi_host_abi::counter::Counter;

use crate::kernel::backend::BackendKind;
use crate::kernel::btf::{KernelTypes, Returns};
use crate::kernel::job::Job;
use crate::kernel::load::{Live, Loader};
use crate::kernel::map::Counters;
use crate::output::Witnessed;

/// The witnesses of a host, if it has any.
pub(super) struct Witnesses {
    wanted: bool,
    live: Vec<Witness>,
    /// What those saw that ended, a row a hook: plugins come and go as often as they like.
    past: Vec<Witnessed>,
    /// Hooks that have none, which is told once.
    without: Vec<String>,
}

struct Witness {
    program: Live,
    /// What its slot had counted before.
    before: [u64; 2],
}

impl Witnesses {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, live: Vec::new(), past: Vec::new(), without: Vec::new() }
    }

    /// Takes the witness from hooks whose program went.
    pub(super) fn keep(&mut self, hooks: &[Live], counters: &Counters) {
        let is_there = |one: &Witness| {
            hooks.iter().any(|live| live.slot == one.program.slot && live.hook == one.program.hook)
        };
        let (kept, gone): (_, Vec<Witness>) = self.live.drain(..).partition(is_there);
        self.live = kept;
        for witness in &gone {
            add(&mut self.past, witness.saw(counters));
        }
    }

    /// Gives each hook with a program a witness.
    pub(super) fn follow(
        &mut self,
        loader: &Loader,
        types: &KernelTypes,
        hooks: &[Live],
        counters: &Counters,
    ) {
        for live in hooks.iter().filter(|live| live.is_lsm()) {
            if !self.wanted || self.has(&live.hook) {
                continue;
            }
            match start(loader, types, live) {
                Ok(Some(program)) => {
                    let before = counted(counters, live.slot);
                    self.live.push(Witness { program, before });
                }
                // Nothing answers, so nothing is refused.
                Ok(None) => self.without.push(live.hook.clone()),
                Err(why) => {
                    tracing::warn!(hook = live.hook, why, "no witness");
                    self.without.push(live.hook.clone());
                }
            }
        }
    }

    fn has(&self, hook: &str) -> bool {
        self.live.iter().any(|one| one.program.hook == hook)
            || self.without.iter().any(|name| name == hook)
    }

    /// What was seen at each hook. `denied` tells what the host refused at a hook.
    pub(super) fn saw(&self, counters: &Counters, denied: impl Fn(&str) -> u64) -> Vec<Witnessed> {
        let mut rows = self.past.clone();
        for one in &self.live {
            let hook = one.program.hook.clone();
            add(&mut rows, Witnessed { hook, ..Witnessed::default() });
        }
        // Before the witness is asked: a call that is under way is refused first.
        for row in &mut rows {
            row.denied = denied(&row.hook);
        }
        for one in &self.live {
            add(&mut rows, one.saw(counters));
        }
        rows
    }
}

impl Witness {
    fn saw(&self, counters: &Counters) -> Witnessed {
        let [calls, refused] = counted(counters, self.program.slot);
        let [calls_before, refused_before] = self.before;
        Witnessed {
            hook: self.program.hook.clone(),
            calls: calls.saturating_sub(calls_before),
            refused: refused.saturating_sub(refused_before),
            denied: 0,
            missed: self.program.info().map_or(0, |info| info.recursion_misses),
        }
    }
}

/// Adds to the row of the hook.
fn add(rows: &mut Vec<Witnessed>, seen: Witnessed) {
    match rows.iter_mut().find(|row| row.hook == seen.hook) {
        Some(row) => {
            row.calls += seen.calls;
            row.refused += seen.refused;
            row.missed += seen.missed;
        }
        None => rows.push(seen),
    }
}

fn counted(counters: &Counters, slot: u16) -> [u64; 2] {
    [Counter::Witnessed, Counter::WitnessedRefused]
        .map(|counter| counters.total(slot, counter).unwrap_or(0))
}

/// Loads a witness; none for a hook that answers nothing.
fn start(loader: &Loader, types: &KernelTypes, live: &Live) -> Result<Option<Live>, String> {
    let target = BackendKind::Observe.backend().target(types, &live.hook);
    let target = target.ok_or("this kernel has no function that calls the LSMs for it")?;
    let prototype = types.prototype(&target.function).map_err(|error| error.to_string())?;
    if prototype.returns != Returns::Int {
        return Ok(None);
    }
    let (hook, slot, answer) = (live.hook.clone(), live.slot, prototype.slots);
    let program = loader.load(types, &Job::Witness { hook, slot, answer });
    program.map(Some).map_err(|error| error.to_string())
}
