//! The template: one program that becomes any hook's by its frozen `Spec`.
//!
//! Rows are unrolled, so that the verifier sees constants and drops what a spec does not ask for.
//! Numbers are read first, then rules and the part of the predicate that needs no text; only then a
//! record is reserved, and texts are read straight into it.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::flag;
use krsi_host_abi::record::{Call as Body, PATH_LONG, PATH_SHORT, Verdict};
use krsi_host_abi::spec::{CAPTURES, ObjectKind, ROOMS, Read, spec_flag};

use super::row::{self, State};
use super::test;
use crate::emit;
use crate::filter::{self, Passes};
use crate::spec;
use crate::verdict::{self, Decision};

/// Texts of a record.
pub type Rooms<const R: usize> = [[u8; R]; ROOMS];

/// A hook without a program of its own.
#[lsm(hook = "template")]
pub fn template(ctx: LsmContext) -> i32 {
    match filter::enter(spec::slot()) {
        Some(call) => run(&mut State::new(call, &ctx)),
        None => 0,
    }
}

/// What is decided before the texts are read.
struct Plan {
    /// Whether the path has a say.
    by_path: bool,
    /// Atoms on numbers that hold.
    bits: u32,
    /// Whether the predicate has a say.
    asks: bool,
    /// Whether it refuses what it holds for.
    refuses: bool,
}

/// What became of a record.
#[derive(PartialEq, Eq)]
enum Recorded {
    /// All is decided.
    Done,
    /// A text is too long for the rooms, and nothing is counted yet.
    TooLong,
}

#[inline(always)]
fn run(state: &mut State) -> i32 {
    row::numbers(state);
    if spec::object() == ObjectKind::Network as u32 {
        row::address(state);
    }
    if spec::object() == ObjectKind::File as u32 {
        file(state);
    }
    if spec::has(spec_flag::DENY) {
        let unread = state.traits.object.is_none() && spec::object() != ObjectKind::None as u32;
        verdict::decide_into(&state.call, &state.traits.object, unread, &mut state.decision);
    }
    // A rule's decision is reported whatever the watch asks for.
    let decided = !matches!(state.decision.verdict, Verdict::None);
    let bits = test::numbers(&state.values);
    let asks = spec::has(spec_flag::PREDICATE) && !decided;
    let refuses = spec::has(spec_flag::WATCH_DENY | spec_flag::WATCH_AUDIT) && !decided;
    let passes = if decided { Passes::Yes } else { filter::passes(&state.call, &state.traits) };
    let hopeless = asks && !test::possible(bits);
    if hopeless || !refuses && passes == Passes::No {
        state.call.leave();
        return state.decision.answer();
    }
    let plan = Plan { by_path: passes == Passes::IfPath, bits, asks, refuses };
    if record::<PATH_SHORT>(state, &plan) == Recorded::TooLong {
        record::<PATH_LONG>(state, &plan);
    }
    state.decision.answer()
}

/// Reserves, fills and submits a record; a watch's decision stands in the state afterwards.
#[inline(always)]
fn record<const R: usize>(state: &mut State, plan: &Plan) -> Recorded {
    let ring = if plan.refuses { Verdict::Denied } else { state.decision.verdict };
    let (sent, lost) = match ring {
        Verdict::None => (Counter::Forwarded, Counter::LostTelemetry),
        _ => (Counter::Verdicts, Counter::LostVerdicts),
    };
    let Some(mut entry) = emit::reserve::<Body, Rooms<R>>(ring) else {
        state.call.counts.add(lost);
        without_record(state, plan);
        return Recorded::Done;
    };
    let (header, room) = emit::parts(entry.as_mut_ptr());
    if row::texts::<R>(state, room.tail).is_err() && R < PATH_LONG {
        entry.discard(0);
        return Recorded::TooLong;
    }
    let unwanted = plan.asks
        && !test::holds(plan.bits | test::texts::<R>(&state.values, room.tail))
        || plan.by_path && !row::path_passes::<R>(state, room.tail);
    if unwanted {
        entry.discard(0);
        state.call.leave();
        return Recorded::Done;
    }
    if plan.refuses {
        of_watch(state);
    }
    row::write(room.body, &state.values);
    emit::write_header(header, &state.call, &state.decision);
    entry.submit(0);
    state.call.counts.add(sent);
    Recorded::Done
}

/// The ring is full: what can be decided without texts stands; what cannot is answered by the
/// watch's word on errors.
#[inline(always)]
fn without_record(state: &mut State, plan: &Plan) {
    if !plan.refuses {
        return;
    }
    if !plan.asks || test::holds_without_texts(plan.bits) || spec::has(spec_flag::ERROR_MATCHES) {
        of_watch(state);
    } else {
        state.call.counts.add(Counter::Errors);
    }
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
    state.decision = Decision::new(spec::rule_id(), errno, owner, verdict);
}

/// Takes the object from its two rows.
#[inline(always)]
fn file(state: &mut State) {
    let at = spec::object_capture() as usize;
    if let (Some(ino), Some(dev)) = (state.values.get(at), state.values.get(at + 1)) {
        state.traits.object.set_file(ino, dev);
    }
}

const _: () = assert!(CAPTURES == 12 && ROOMS == 4);
const _: () = assert!(Read::Inode as u8 + 1 == Read::InodeDev as u8);
