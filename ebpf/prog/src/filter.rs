//! Decides which calls are looked at, and which get a record: the flags word first, the filter last.

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::flag;
use krsi_host_abi::filter::{CLAUSES, Clause, Filter, PREFIX_LEN, SeenKey, test};

use crate::call::call_of;
use crate::capture::{self, Ptr, Skip, Task};
use crate::map::{self, Counts};
use crate::object::Object;
use crate::{global, offset, prefix, spec};

pub use crate::call::{Call, Facts, call};

/// What a hook can tell of a call's object before the call is captured.
pub trait EarlyObject {
    /// Whether no rule on files is about it, as far as can be told.
    fn misses_files(&self) -> bool;
    /// The path that filters ask about, where the kernel resolves it.
    fn path(&self) -> Option<Ptr>;
}

/// The answer of a hook that can tell nothing so early.
pub struct NoEarlyObject;

impl EarlyObject for NoEarlyObject {
    #[inline(always)]
    fn misses_files(&self) -> bool {
        false
    }

    #[inline(always)]
    fn path(&self) -> Option<Ptr> {
        None
    }
}

/// The call, unless nothing is wanted of it. Costs one array look-up when the flags word is clear.
/// A call that no rule is about and no filter lets pass ends here: most do.
#[inline(always)]
pub fn enter(slot: u32, early: &impl EarlyObject) -> Option<Call> {
    enter_if(
        slot,
        #[inline(always)]
        |flags, task| !is_idle(flags, slot, task, early),
    )
}

/// The call, unless nothing is wanted of it, whatever rules and filters there are.
#[inline(always)]
pub fn enter_always(slot: u32) -> Option<Call> {
    enter_if(slot, |_, _| true)
}

#[inline(always)]
fn enter_if(slot: u32, wanted: impl FnOnce(u64, Task) -> bool) -> Option<Call> {
    let flags = map::flags(slot);
    if flags == 0 {
        return None;
    }
    let counts = map::counts(slot)?;
    counts.add(Counter::Seen);
    match whose(flags, slot, counts, wanted) {
        Ok(Some(call)) => Some(call),
        Ok(None) => {
            counts.add(Counter::Filtered);
            None
        }
        Err(skip) => {
            counts.add(skip.counter());
            None
        }
    }
}

/// The call, unless it is the host's own or not wanted.
#[inline(always)]
fn whose(
    flags: u64,
    slot: u32,
    counts: Counts,
    wanted: impl FnOnce(u64, Task) -> bool,
) -> Result<Option<Call>, Skip> {
    let task = Task::current()?;
    // What nobody wants is nobody's, the host's too: whose it is, is asked after that.
    if !wanted(flags, task) || capture::tgid_of(task)? == offset::host_tgid() {
        return Ok(None);
    }
    call_of(task, flags, slot, counts).map(Some)
}

/// Flags that say how a rule or an error is answered, not that there is a rule.
const ANSWER_FLAGS: u64 =
    flag::AUDIT_ONLY | flag::ERROR_RULE | flag::MEMBERSHIP | flag::DIGEST | flag::PROTOCOL;

/// Whether no rule is about the call and no filter lets it pass, as far as can be told so early.
#[inline(always)]
fn is_idle(flags: u64, slot: u32, task: Task, early: &impl EarlyObject) -> bool {
    if !spec::has_rules() {
        return flags & flag::FORWARD == 0;
    }
    let rules = flags & !(ANSWER_FLAGS | flag::FORWARD | flag::FILTER);
    if rules != 0 && !misses_rules(rules, task, early) {
        return false;
    }
    if flags & flag::FILTER != 0 {
        // What nobody wants at all is left later: few hooks have a filter and no subscriber.
        return !may_pass(slot, task, early);
    }
    flags & flag::FORWARD == 0
}

/// Whether no rule is on the process and its file, and there are no others.
#[inline(always)]
fn misses_rules(rules: u64, task: Task, early: &impl EarlyObject) -> bool {
    rules & !(flag::PROCESS | flag::FILE) == 0
        && (rules & flag::PROCESS == 0 || misses_processes(task))
        && (rules & flag::FILE == 0 || early.misses_files())
}

/// Whether no rule is on the process.
#[inline(always)]
fn misses_processes(task: Task) -> bool {
    match capture::process_key(task) {
        Ok(process) => map::process(&process).is_none(),
        Err(_) => false,
    }
}

/// Whether a clause may hold, as far as the caller's user and the path tell.
#[inline(always)]
fn may_pass(slot: u32, task: Task, early: &impl EarlyObject) -> bool {
    let Some(filter) = map::filter(slot) else { return true };
    if filter.every & test::UID != 0 && !is_of_user(filter, task) {
        return false;
    }
    if filter.every & test::PREFIX == 0 {
        return true;
    }
    match early.path() {
        Some(path) => prefix::may_start(path, |bytes| may_start(filter, bytes)),
        None => true,
    }
}

/// Whether one of the clauses in use, which come first, is of a kind; there is one at least.
macro_rules! any_clause {
    ($filter:ident, $at:ident => $is:expr) => {{
        const { assert!(CLAUSES == 4) };
        macro_rules! is {
            ($number:literal) => {{
                let $at = $number;
                $is
            }};
        }
        let live = global::anew(&$filter.live);
        is!(0) || live > 1 && (is!(1) || live > 2 && (is!(2) || live > 3 && is!(3)))
    }};
}

/// Whether a clause is about the caller's user.
#[inline(always)]
fn is_of_user(filter: &Filter, task: Task) -> bool {
    match capture::uid_of(task) {
        Ok(uid) => any_clause!(filter, at => filter.clauses[at].uid == uid),
        Err(_) => true,
    }
}

/// Whether a path starts as a clause asks.
#[inline(always)]
fn may_start(filter: &Filter, path: *const [u8; PREFIX_LEN]) -> bool {
    any_clause!(filter, at => starts_with(filter, at, path))
}

/// What a filter may ask of a call beside its caller.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Traits {
    /// The object, for first-seen.
    pub object: Object,
    /// Open flags.
    pub flags: u32,
    /// Destination port, host order.
    pub port: u32,
}

impl Traits {
    /// None of them. A constant would lie in the read-only map, which no global function may be given.
    #[inline(always)]
    pub fn none(call: &Call) -> Self {
        let zero = call.facts.unknown_zero() as u32;
        Self { object: Object::none(call), flags: zero, port: zero }
    }
}

/// Whether telemetry of this call is wanted as far as can be told without its path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// Telemetry is not wanted.
    No,
    /// Telemetry is wanted.
    Yes,
    /// Telemetry is wanted if the path starts with a clause's prefix.
    IfPath,
}

/// Asks the filter of the hook.
#[inline(always)]
pub fn passes(call: &Call, traits: &Traits) -> Passes {
    let facts = &call.facts;
    let mut answer = facts.wants(flag::FORWARD) as u32;
    if !spec::has_rules() {
        return if answer ^ facts.unknown_zero() as u32 == 0 { Passes::No } else { Passes::Yes };
    }
    if answer != 0 && facts.wants(flag::FILTER) {
        answer = krsi_filter(facts, traits);
    }
    match answer ^ facts.unknown_zero() as u32 {
        0 => Passes::No,
        1 => Passes::Yes,
        _ => Passes::IfPath,
    }
}

/// Whether a clause with a path prefix holds for a path, of which the first bytes are enough.
#[inline(always)]
pub fn path_passes<const N: usize>(call: &Call, traits: &Traits, path: *const [u8; N]) -> bool {
    const { assert!(N >= PREFIX_LEN) };
    krsi_filter_path(&call.facts, traits, path.cast()) != 0
}

/// 1 when a clause without a path prefix holds, 2 when only ones with a prefix may, 0 else.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_filter(facts: &Facts, traits: &Traits) -> u32 {
    let (Some(facts), Some(traits)) = (global::seen(facts), global::seen(traits)) else {
        return 1;
    };
    let zero = facts.unknown_zero() as u32;
    let Some(filter) = map::filter(facts.slot) else { return 1 ^ zero };
    let mut by_path = zero;
    macro_rules! each {
        ($($at:literal)*) => {$(
            let clause = &filter.clauses[$at];
            if tests_for(clause, test::LIVE) && holds(facts, traits, clause) != 0 {
                if !tests_for(clause, test::PREFIX) {
                    if remembers(facts, traits, clause) != 0 {
                        return 1 ^ facts.unknown_zero() as u32;
                    }
                } else {
                    by_path = (by_path | 2) ^ facts.unknown_zero() as u32;
                }
            }
        )*};
    }
    const { assert!(CLAUSES == 4) };
    each!(0 1 2 3);
    by_path
}

/// Whether a clause with a path prefix holds for a path.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_filter_path(
    facts: &Facts,
    traits: &Traits,
    path: *const [u8; PREFIX_LEN],
) -> u32 {
    let (Some(facts), Some(traits)) = (global::seen(facts), global::seen(traits)) else {
        return 1;
    };
    if path.is_null() {
        return 1;
    }
    let Some(filter) = map::filter(facts.slot) else { return 1 ^ facts.unknown_zero() as u32 };
    macro_rules! each {
        ($($at:literal)*) => {$(
            let clause = &filter.clauses[$at];
            if tests_for(clause, test::PREFIX)
                && starts_with(filter, $at, path)
                && holds(facts, traits, clause) != 0
                && remembers(facts, traits, clause) != 0
            {
                return 1 ^ facts.unknown_zero() as u32;
            }
        )*};
    }
    each!(0 1 2 3);
    facts.unknown_zero() as u32
}

/// Whether a clause has one of some tests.
#[inline(always)]
fn tests_for(clause: &Clause, tests: u32) -> bool {
    global::anew(&clause.tests) & tests != 0
}

/// Not 0 when the tests that are about the call itself hold.
#[inline(never)]
fn holds(facts: &Facts, traits: &Traits, clause: &Clause) -> u32 {
    let uid = !tests_for(clause, test::UID)
        || Task::current().and_then(capture::uid_of).is_ok_and(|uid| uid == clause.uid);
    let all = uid
        && (!tests_for(clause, test::FLAGS) || traits.flags & clause.flags_any != 0)
        && (!tests_for(clause, test::PORT) || traits.port == u32::from(clause.port))
        && (!tests_for(clause, test::CGROUP) || capture::cgroup_id() == clause.cgroup_id);
    u32::from(all) ^ facts.unknown_zero() as u32
}

/// Not 0 when those hold that remember what they saw: asked last, and once.
#[inline(never)]
fn remembers(facts: &Facts, traits: &Traits, clause: &Clause) -> u32 {
    let within = !tests_for(clause, test::RATE)
        || map::within_rate(
            &seen(facts, clause, (facts.unknown_zero(), facts.unknown_zero())),
            capture::boot_ns() / 1_000_000_000,
            u64::from(clause.rate),
        );
    let all = within
        && (!tests_for(clause, test::FIRST_SEEN)
            || map::is_new(&seen(facts, clause, traits.object.words())));
    u32::from(all) ^ facts.unknown_zero() as u32
}

/// Built at once: zeroes written first would be a loop.
#[inline(always)]
fn seen(facts: &Facts, clause: &Clause, (object, object_more): (u64, u64)) -> SeenKey {
    SeenKey {
        start_boot_ns: facts.process.start_boot_ns,
        object,
        object_more,
        tgid: facts.process.tgid,
        slot: facts.slot | clause.owner << 16,
    }
}

/// A path ends with a NUL, which no prefix holds: what is shorter than the prefix differs there.
#[inline(always)]
fn starts_with(filter: &Filter, clause: usize, path: *const [u8; PREFIX_LEN]) -> bool {
    const { assert!(PREFIX_LEN == 64) };
    macro_rules! word {
        ($($at:literal)*) => {$(
            if (capture::word(path, $at) ^ filter.prefixes[clause][$at])
                & filter.masks[clause][$at] != 0
            {
                return false;
            }
        )*};
    }
    word!(0 1 2 3 4 5 6 7);
    true
}
