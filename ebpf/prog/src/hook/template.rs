//! The template: one program that becomes any hook's by its frozen `Spec`.
//!
//! Rows are unrolled, so that the verifier sees constants and drops what a spec does not ask for.
//! Rules and filters come first, on the object alone; then numbers are read, and the part of the
//! predicate that needs no text. A watch that refuses tests texts in a room of the caller's own; any other
//! spec reads them straight into a record.

use aya_ebpf::macros::lsm;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::flag;
use krsi_host_abi::record::{Call as Body, PATH_LONG, PATH_SHORT, Verdict};
use krsi_host_abi::spec::{CAPTURES, ObjectKind, ROOMS, Read, spec_flag};

use super::predicate::{self, Truth};
use super::row;
use super::state::State;
use super::text::{self, Rooms};
use crate::capture::{self, Skip};
use crate::emit::{self, NoTail};
use crate::filter::{self, NoEarlyObject, Passes};
use crate::object::Object;
use crate::{exempt, label, map, prefix, spec, verdict};

/// A hook without a program of its own. Inlined into its entry: another frame would not fit on 6.1's
/// stack.
#[lsm(hook = "template")]
#[inline(always)]
pub fn template(ctx: LsmContext) -> i32 {
    match filter::enter(spec::slot(), &NoEarlyObject) {
        Some(call) => run(&mut State::new(call, &ctx)),
        None => 0,
    }
}

/// What is decided before the texts are read: one word, so that the verifier goes through what
/// follows once and not for each way that led there. Kernels before 6.2 remember all numbers of all
/// ways exactly as soon as one that was known before a function is used after it.
#[derive(Clone, Copy)]
struct Plan(u64);

impl Plan {
    /// The path has a say.
    const BY_PATH: u64 = 1 << 32;
    /// A rule decided: the predicate has no say.
    const DECIDED: u64 = 1 << 33;
    /// The watch refuses what the predicate holds for.
    const REFUSES: u64 = 1 << 34;
    /// Somebody wants to see the call, whatever the watch refuses.
    const SEEN: u64 = 1 << 35;

    #[inline(always)]
    fn new(state: &State, [by_path, decided, refuses, is_seen]: [bool; 4]) -> Self {
        let more = |known: bool, bit: u64| if known { bit } else { 0 };
        let word = more(by_path, Self::BY_PATH)
            | more(decided, Self::DECIDED)
            | more(refuses, Self::REFUSES)
            | more(is_seen, Self::SEEN);
        Self(word ^ state.call.facts.unknown_zero())
    }

    /// Adds the atoms on numbers that hold.
    #[inline(always)]
    fn with_atoms(self, state: &State, atoms: u32) -> Self {
        Self((self.0 | u64::from(atoms)) ^ state.call.facts.unknown_zero())
    }

    #[inline(always)]
    fn atoms(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    fn has(self, state: &State, bit: u64) -> bool {
        (self.0 ^ state.call.facts.unknown_zero()) & bit != 0
    }

    /// Whether the predicate is still to be decided.
    #[inline(always)]
    fn is_open(self, state: &State) -> bool {
        spec::has(spec_flag::PREDICATE) && !self.has(state, Self::DECIDED)
    }

    #[inline(always)]
    fn refuses(self, state: &State) -> bool {
        spec::has(REFUSING) && self.has(state, Self::REFUSES)
    }
}

/// Flags of a watch that refuses, or gives a label: room in a ring has no say in either.
const REFUSING: u32 = spec_flag::WATCH_DENY | spec_flag::WATCH_AUDIT | spec_flag::WATCH_LABEL;

/// What became of a record.
#[derive(PartialEq, Eq)]
enum Recorded {
    /// The record is sent, or none is wanted.
    Done,
    /// A text is too long for the rooms, and nothing is counted yet.
    TooLong,
}

#[inline(always)]
fn run(state: &mut State) -> i32 {
    if spec::gate_row() != 0 && !row::is_own(state, spec::gate_row() as usize - 1) {
        state.call.leave();
        return 0;
    }
    if spec::has(spec_flag::EXEC_BEGINS) {
        state.nulls ^= label::exec_begins(&state.call);
    }
    if spec::object() == ObjectKind::Network as u32 {
        row::address(state);
        if spec::protocol_row() != 0 && state.call.wants(flag::PROTOCOL) {
            row::protocol(state, spec::protocol_row());
        }
    }
    let is_judged = spec::has(spec_flag::DENY) && spec::has_rules();
    if is_judged && spec::second_capture() != 0 {
        second(state);
    }
    if spec::object() == ObjectKind::File as u32 {
        file(state, spec::object_capture() as usize);
    }
    if is_judged && !state.decision.is_denied() {
        decide_object(state, spec::path_row(), spec::name_row());
    }
    if is_judged {
        label::give(&state.call, &mut state.decision);
    }
    // A rule's decision is reported whatever the watch asks for.
    let decided = state.decision.is_made();
    let refuses = spec::has(REFUSING) && !decided;
    let passes = if decided { Passes::Yes } else { filter::passes(&state.call, &state.traits) };
    if !refuses && passes == Passes::No {
        state.call.leave();
        return state.decision.answer();
    }
    let is_seen = passes != Passes::No;
    let plan = Plan::new(state, [passes == Passes::IfPath, decided, refuses, is_seen]);
    row::numbers(state);
    let plan = if spec::atom_count() == 0 {
        plan
    } else {
        plan.with_atoms(state, predicate::numbers(&state.values))
    };
    if plan.is_open(state) && !predicate::possible(plan.atoms()) {
        state.call.leave();
        return state.decision.answer();
    }
    if !spec::has_rooms() {
        numbers_record(state, plan, plan.atoms());
    } else if spec::has(REFUSING) {
        if decide_by_texts::<PATH_SHORT>(state, plan) == Recorded::TooLong {
            decide_by_texts::<PATH_LONG>(state, plan);
        }
    } else if record::<PATH_SHORT>(state, plan) == Recorded::TooLong {
        record::<PATH_LONG>(state, plan);
    }
    state.decision.answer()
}

/// What the predicate comes to, as far as some atoms tell; without a say it holds.
#[inline(always)]
fn truth(state: &State, plan: Plan, atoms: u32) -> Truth {
    if plan.is_open(state) { predicate::holds(atoms) } else { Truth::Yes }
}

/// Decides what a watch does, before there is a record; whether one is wanted. What is unknown is
/// refused unless the watch says otherwise, gives no label, is told of nobody else, and counted.
#[inline(always)]
fn decide_watch(state: &mut State, plan: Plan, truth: Truth) -> bool {
    if truth == Truth::Unknown {
        state.call.counts.add(Counter::Errors);
    }
    // Who is spared is asked last, as few calls come so far.
    let decides =
        truth == Truth::Yes || truth == Truth::Unknown && !spec::has(spec_flag::UNKNOWN_PASSES);
    if decides && plan.refuses(state) && !exempt::is_spared(&state.call.facts, &state.traits.object)
    {
        if !spec::has(spec_flag::WATCH_LABEL) {
            of_watch(state);
            return true;
        }
        if truth == Truth::Yes {
            label::give_of_watch(&state.call, &mut state.decision);
            if state.decision.is_made() {
                return true;
            }
        }
    }
    truth == Truth::Yes && plan.has(state, Plan::SEEN)
}

/// There is no room in a ring: what was decided stands.
#[inline(always)]
fn full(state: &State) {
    let lost =
        if state.decision.is_made() { Counter::LostVerdicts } else { Counter::LostTelemetry };
    state.call.counts.add(lost);
}

/// Completes and submits a record.
#[inline(always)]
fn submit<T: 'static>(state: &mut State, mut entry: RingBufEntry<emit::Slot<Body, T>>) {
    let (header, room) = emit::parts(entry.as_mut_ptr());
    row::write(room.body, &state.values);
    emit::write_header(header, &state.call, &state.decision);
    entry.submit(0);
    let sent = if state.decision.is_made() { Counter::Verdicts } else { Counter::Forwarded };
    state.call.counts.add(sent);
}

/// The record of a spec without texts, or of a call whose texts found no room.
#[inline(always)]
fn numbers_record(state: &mut State, plan: Plan, atoms: u32) {
    let truth = truth(state, plan, atoms);
    if !decide_watch(state, plan, truth) {
        return state.call.leave();
    }
    match emit::reserve::<Body, NoTail>(state.decision.verdict()) {
        Some(entry) => submit(state, entry),
        None => full(state),
    }
}

/// Reserves, fills and submits a record.
#[inline(always)]
fn record<const R: usize>(state: &mut State, plan: Plan) -> Recorded {
    let Some(mut entry) = emit::reserve::<Body, Rooms<R>>(state.decision.verdict()) else {
        full(state);
        return Recorded::Done;
    };
    let (_, room) = emit::parts(entry.as_mut_ptr());
    if text::texts::<R>(state, room.tail).is_err() && R < PATH_LONG {
        entry.discard(0);
        return Recorded::TooLong;
    }
    if is_wanted::<R>(state, plan, room.tail) {
        submit(state, entry);
    } else {
        entry.discard(0);
        state.call.leave();
    }
    Recorded::Done
}

/// Tests texts in a room that the call lends, as whoever floods a ring must not decide what is refused;
/// then copies them into a record.
#[inline(always)]
fn decide_by_texts<const R: usize>(state: &mut State, plan: Plan) -> Recorded {
    let thread = capture::pid_tgid();
    let Some(lent) = map::lend_texts(&thread) else {
        numbers_record(state, plan, predicate::without_texts(plan.atoms()));
        return Recorded::Done;
    };
    let texts = lent.bytes.cast::<Rooms<R>>();
    let mut recorded = Recorded::Done;
    if text::texts::<R>(state, texts).is_err() && R < PATH_LONG {
        recorded = Recorded::TooLong;
    } else if !is_wanted::<R>(state, plan, texts) {
        state.call.leave();
    } else if let Some(mut entry) = emit::reserve::<Body, Rooms<R>>(state.decision.verdict()) {
        let (_, room) = emit::parts(entry.as_mut_ptr());
        capture::copy_all(texts.cast_const(), room.tail);
        submit(state, entry);
    } else {
        full(state);
    }
    lent.let_go(&thread);
    recorded
}

/// Decides what a watch refuses by texts that were read; whether a record is wanted.
#[inline(always)]
fn is_wanted<const R: usize>(state: &mut State, plan: Plan, texts: *mut Rooms<R>) -> bool {
    let atoms = plan.atoms() | predicate::texts::<R>(&state.values, texts);
    let truth = truth(state, plan, atoms);
    decide_watch(state, plan, truth)
        && (state.decision.is_made()
            || !plan.has(state, Plan::BY_PATH)
            || text::path_passes::<R>(state, texts))
}

/// What a watch that refuses decides.
#[inline(always)]
fn of_watch(state: &mut State) {
    let audit = state.call.wants(flag::AUDIT_ONLY)
        || spec::has(spec_flag::WATCH_AUDIT)
        || !spec::has(spec_flag::DENY);
    let (verdict, counter) = if audit {
        (Verdict::Audited, Counter::Audited)
    } else {
        (Verdict::Denied, Counter::Denied)
    };
    state.call.counts.add(counter);
    let (errno, owner) = (spec::errno() as u16, spec::owner() as u8);
    state.decision.set(spec::rule_id(), errno, owner, verdict);
    state.decision.forget(&state.call.facts);
}

/// Decides a call by its object.
#[inline(always)]
fn decide_object(state: &mut State, path_row: u32, name_row: u32) {
    if spec::has(spec_flag::PATH_UNTOLD) {
        prefix::note(&state.call, Err(Skip::Field), 0, &mut state.traits.object);
    } else if path_row != 0 && state.call.wants(flag::PATH) {
        state.traits.object.path.pad ^= row::path(state, path_row, name_row);
    }
    verdict::decide_into(&state.call, &mut state.traits.object, &mut state.decision);
}

/// Decides a call by the second file that it is about; what is allowed of one says nothing of the
/// other.
#[inline(always)]
fn second(state: &mut State) {
    if !state.call.wants(flag::FILE | flag::PATH) {
        return;
    }
    file(state, spec::second_capture() as usize - 1);
    decide_object(state, spec::second_path_row(), spec::second_name_row());
    state.decision.lift_nothing(&state.call.facts);
    state.traits.object = Object::none(&state.call);
}

/// Takes the object from its two rows.
#[inline(always)]
fn file(state: &mut State, at: usize) {
    row::object(state, at);
    // Both numbers are there whatever was read: an absent one would be a register without a value.
    state.traits.object.set_file(state.values.number(at), state.values.number(at + 1));
    if state.values.is_null(at) {
        state.traits.object.set_nothing();
    } else if !state.values.is_read(at) || !state.values.is_read(at + 1) {
        state.traits.object.set_unread();
    }
    if spec::has(spec_flag::EXECUTES) {
        state.traits.object.set_executed(1 ^ state.call.facts.unknown_zero());
    }
}

const _: () = assert!(CAPTURES == 12 && ROOMS == 4);
const _: () = assert!(Read::Inode as u8 + 1 == Read::InodeDev as u8);
