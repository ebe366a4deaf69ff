//! The template: one program that becomes any hook's by its frozen `Spec`.
//!
//! Rows are unrolled, so that the verifier sees constants and drops what a spec does not ask for.
//! Numbers are read first, then rules and the part of the predicate that needs no text; only then a
//! record is reserved, and texts are read straight into it.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{FileKey, flag};
use krsi_host_abi::record::{Call as Body, PATH_LONG, PATH_SHORT, Verdict};
use krsi_host_abi::spec::{CAPTURES, ObjectKind, ROOMS, Read, spec_flag};

use super::row::{self, State};
use super::test;
use crate::emit::{self, Wanted};
use crate::filter::{self, Call, Passes};
use crate::spec;
use crate::verdict::{self, Decision, Object};

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
    wanted: Wanted,
    /// Atoms on numbers that hold.
    bits: u32,
    /// Whether the predicate has a say.
    asks: bool,
    /// Whether it refuses what it holds for.
    refuses: bool,
}

#[inline(always)]
fn run(state: &mut State) -> i32 {
    row::numbers(state);
    if spec::object() == ObjectKind::Network as u32 {
        row::address(state);
    }
    if spec::object() == ObjectKind::File as u32 {
        state.traits.object = file(state);
    }
    let mut decision = Decision::none(&state.call);
    if spec::has(spec_flag::DENY) {
        let unread = state.traits.object.is_none() && spec::object() != ObjectKind::None as u32;
        decision = verdict::decide(&state.call, &state.traits.object, unread);
    }
    // A rule's decision is reported whatever the watch asks for.
    let decided = !matches!(decision.verdict, Verdict::None);
    let bits = test::numbers(&state.values);
    let asks = spec::has(spec_flag::PREDICATE) && !decided;
    let refuses = spec::has(spec_flag::WATCH_DENY | spec_flag::WATCH_AUDIT) && !decided;
    let wanted = Wanted::new(&state.call, decision, &state.traits);
    let hopeless = asks && !test::possible(bits);
    if hopeless || !refuses && wanted.passes == Passes::No {
        state.call.leave();
        return decision.answer();
    }
    let plan = Plan { wanted, bits, asks, refuses };
    match record::<PATH_SHORT>(state, &plan) {
        Some(decision) => decision.answer(),
        None => record::<PATH_LONG>(state, &plan).unwrap_or(decision).answer(),
    }
}

/// Reserves, fills and submits a record; the decision it carries. `None`: a text is too long for
/// the rooms, and nothing is counted yet.
#[inline(always)]
fn record<const R: usize>(state: &mut State, plan: &Plan) -> Option<Decision> {
    let ring = if plan.refuses { Verdict::Denied } else { plan.wanted.decision.verdict };
    let (sent, lost) = match ring {
        Verdict::None => (Counter::Forwarded, Counter::LostTelemetry),
        _ => (Counter::Verdicts, Counter::LostVerdicts),
    };
    let Some(mut entry) = emit::reserve::<Body, Rooms<R>>(ring) else {
        state.call.counts.add(lost);
        return Some(without_record(&state.call, plan));
    };
    let (header, room) = emit::parts(entry.as_mut_ptr());
    if row::texts::<R>(state, room.tail).is_err() && R < PATH_LONG {
        entry.discard(0);
        return None;
    }
    let unwanted = plan.asks
        && !test::holds(plan.bits | test::texts::<R>(&state.values, room.tail))
        || plan.wanted.by_path() && !row::path_passes::<R>(state, room.tail);
    if unwanted {
        entry.discard(0);
        state.call.leave();
        return Some(plan.wanted.decision);
    }
    let decision = if plan.refuses { of_watch(&state.call) } else { plan.wanted.decision };
    row::write(room.body, &state.values);
    emit::write_header(header, &state.call, &decision);
    entry.submit(0);
    state.call.counts.add(sent);
    Some(decision)
}

/// The ring is full: what can be decided without texts stands; what cannot is answered by the
/// watch's word on errors.
#[inline(always)]
fn without_record(call: &Call, plan: &Plan) -> Decision {
    if !plan.refuses {
        return plan.wanted.decision;
    }
    if !plan.asks || test::holds_without_texts(plan.bits) || spec::has(spec_flag::ERROR_MATCHES) {
        return of_watch(call);
    }
    call.counts.add(Counter::Errors);
    plan.wanted.decision
}

/// What a watch that refuses decides.
#[inline(always)]
fn of_watch(call: &Call) -> Decision {
    let audit = call.wants(flag::AUDIT_ONLY)
        || spec::has(spec_flag::WATCH_AUDIT)
        || !spec::has(spec_flag::DENY);
    let (verdict, counter) = if audit {
        (Verdict::Audited, Counter::Audited)
    } else {
        (Verdict::Denied, Counter::Denied)
    };
    call.counts.add(counter);
    Decision::new(spec::rule_id(), spec::errno() as u16, spec::owner() as u8, verdict)
}

#[inline(always)]
fn file(state: &State) -> Object {
    let at = spec::object_capture() as usize;
    match (state.values.get(at), state.values.get(at + 1)) {
        (Some(ino), Some(dev)) => Object::file(FileKey { ino, dev: dev as u32, pad: 0 }),
        _ => Object::none(&state.call),
    }
}

const _: () = assert!(CAPTURES == 12 && ROOMS == 4);
const _: () = assert!(Read::Inode as u8 + 1 == Read::InodeDev as u8);
