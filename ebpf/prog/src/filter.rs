//! Who is worth a look, and what of it is worth a record: the flags word first, the filter last.

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{ProcessKey, flag};
use krsi_host_abi::filter::{CLAUSES, Clause, Filter, PREFIX_LEN, SeenKey, test};

use crate::capture::{self, Skip, Task};
use crate::map::{self, Counts};
use crate::offset;
use crate::verdict::Object;

/// A call that somebody wants something of.
#[derive(Clone, Copy)]
pub struct Call {
    /// Slot of the hook.
    pub slot: u32,
    /// Its flags word.
    pub flags: u64,
    /// The calling task.
    pub task: Task,
    /// The calling process.
    pub process: ProcessKey,
    /// The hook's counters.
    pub counts: Counts,
}

impl Call {
    /// Whether one of some flags is set. The verifier would keep what each test tells it of the word,
    /// and go through every combination.
    #[inline(always)]
    pub fn wants(&self, bits: u64) -> bool {
        (self.flags ^ self.counts.unknown_zero()) & bits != 0
    }

    /// Counts a call that ends without a record because nobody wants one.
    #[inline(always)]
    pub fn leave(&self) {
        self.counts.add(Counter::Filtered);
    }

    /// Counts a call whose capture failed.
    #[inline(always)]
    pub fn skip(&self, skip: Skip) {
        self.counts.add(skip.counter());
    }
}

/// The call, unless nothing is wanted of it. Costs one array look-up when the flags word is clear.
#[inline(always)]
pub fn enter(slot: u32) -> Option<Call> {
    let flags = map::flags(slot);
    if flags == 0 {
        return None;
    }
    let counts = map::counts(slot)?;
    counts.add(Counter::Seen);
    if capture::tgid() == offset::host_tgid() {
        counts.add(Counter::Filtered);
        return None;
    }
    let caller = || {
        let task = Task::current()?;
        Ok((task, capture::process_key(task)?))
    };
    match caller() {
        Ok((task, process)) => Some(Call { slot, flags, task, process, counts }),
        Err(skip) => {
            let skip: Skip = skip;
            counts.add(skip.counter());
            None
        }
    }
}

/// What a filter may ask of a call beside its caller.
#[derive(Clone, Copy)]
pub struct Traits {
    /// The object, for first-seen.
    pub object: Object,
    /// Open flags.
    pub flags: u32,
    /// Destination port, host order.
    pub port: u16,
}

impl Traits {
    /// None of them.
    pub const NONE: Traits = Traits { object: Object::NONE, flags: 0, port: 0 };
}

/// Whether telemetry of this call is wanted as far as can be told without its path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// No.
    No,
    /// Yes.
    Yes,
    /// If its path starts as a clause asks.
    IfPath,
}

/// Asks the filter of the hook.
#[inline(always)]
pub fn passes(call: &Call, traits: &Traits) -> Passes {
    if !call.wants(flag::FORWARD) {
        return Passes::No;
    }
    if !call.wants(flag::FILTER) {
        return Passes::Yes;
    }
    match clauses(call, traits) {
        0 => Passes::No,
        1 => Passes::Yes,
        _ => Passes::IfPath,
    }
}

/// 1 when a clause without a path prefix holds, 2 when only ones with a prefix may, 0 else.
#[inline(never)]
fn clauses(call: &Call, traits: &Traits) -> u32 {
    let Some(filter) = map::filter(call.slot) else { return 1 };
    let mut by_path = call.counts.unknown_zero() as u32;
    macro_rules! each {
        ($($at:literal)*) => {$(
            let clause = &filter.clauses[$at];
            if clause.tests & test::LIVE != 0 && holds(call, traits, clause) {
                if clause.tests & test::PREFIX == 0 {
                    if remembers(call, traits, clause) {
                        return 1;
                    }
                } else {
                    by_path |= 2;
                }
            }
        )*};
    }
    const { assert!(CLAUSES == 4) };
    each!(0 1 2 3);
    by_path
}

#[inline(never)]
fn holds(call: &Call, traits: &Traits, clause: &Clause) -> bool {
    let tests = clause.tests;
    if tests & test::UID != 0 && capture::uid(call.task) != Ok(clause.uid) {
        return false;
    }
    if tests & test::FLAGS != 0 && traits.flags & clause.flags_any == 0 {
        return false;
    }
    if tests & test::PORT != 0 && traits.port != clause.port {
        return false;
    }
    if tests & test::CGROUP != 0 && capture::cgroup_id() != clause.cgroup_id {
        return false;
    }
    true
}

/// The tests of a clause that remember what they saw: asked last, and once.
#[inline(never)]
fn remembers(call: &Call, traits: &Traits, clause: &Clause) -> bool {
    let tests = clause.tests;
    if tests & (test::FIRST_SEEN | test::RATE) == 0 {
        return true;
    }
    if tests & test::RATE != 0
        && !map::within_rate(
            &seen(call, clause, (0, 0)),
            capture::boot_ns() / 1_000_000_000,
            u64::from(clause.rate),
        )
    {
        return false;
    }
    tests & test::FIRST_SEEN == 0 || map::is_new(&seen(call, clause, traits.object.words()))
}

/// Built at once: zeroes written first would be a loop.
#[inline(always)]
fn seen(call: &Call, clause: &Clause, (object, object_more): (u64, u64)) -> SeenKey {
    SeenKey {
        start_boot_ns: call.process.start_boot_ns,
        object,
        object_more,
        tgid: call.process.tgid,
        slot: call.slot | clause.owner << 16,
    }
}

/// Whether a clause with a path prefix holds for a path.
#[inline(never)]
pub fn path_passes<const N: usize>(call: &Call, traits: &Traits, path: *const [u8; N]) -> bool {
    let Some(filter) = map::filter(call.slot) else { return true };
    macro_rules! each {
        ($($at:literal)*) => {$(
            let clause = &filter.clauses[$at];
            if clause.tests & test::PREFIX != 0
                && starts_with(filter, $at, path)
                && holds(call, traits, clause)
                && remembers(call, traits, clause)
            {
                return true;
            }
        )*};
    }
    each!(0 1 2 3);
    false
}

/// A path ends with a NUL, which no prefix holds: what is shorter than the prefix differs there.
#[inline(always)]
fn starts_with<const N: usize>(filter: &Filter, clause: usize, path: *const [u8; N]) -> bool {
    const { assert!(N >= PREFIX_LEN && PREFIX_LEN == 64) };
    let mut differs = 0;
    macro_rules! word {
        ($($at:literal)*) => {$(
            differs |= (capture::word(path, $at) ^ filter.prefixes[clause][$at])
                & filter.masks[clause][$at];
        )*};
    }
    word!(0 1 2 3 4 5 6 7);
    differs == 0
}
