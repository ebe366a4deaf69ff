//! Labels: what the kernel remembers of a process. Leases and watches give them, and ask for them.
//!
//! They are kept by process and outlive an exec by any of its threads; a fork hands them on. What an exec gives
//! waits by the calling thread until the exec cannot fail any more.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{LABELS, Lease, ProcessKey, flag};
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::Verdict;
use krsi_host_abi::spec::spec_flag;

use crate::capture;
use crate::filter::{Call, Facts};
use crate::map::Counts;
use crate::verdict::Decision;
use crate::{global, map, spec};

/// Hook whose labels wait for the end of the exec.
const EXEC: u64 = Hook::BprmCheckSecurity.id() as u64;
/// Stands for all other hooks, whose labels are given at once.
const AT_ONCE: u64 = u64::MAX;
/// `EAGAIN` of `include/uapi/asm-generic/errno-base.h`: there is no room for a label now.
const EAGAIN: u16 = 11;

/// Whether the caller has the labels that a lease asks for, and none of those that it excludes.
#[inline(always)]
pub fn labels_match(facts: &Facts, lease: &Lease) -> bool {
    let ProcessKey { start_boot_ns, tgid, .. } = facts.process;
    let (wanted, unwanted) = (lease.if_labels, lease.unless_labels);
    krsi_label_fails(start_boot_ns, tgid.into(), wanted, unwanted, facts.unknown_zero()) == 0
}

/// Whether a process lacks a label that is wanted, or has one that is not: 1, or 0. It is given numbers alone, as
/// `krsi_is_out_of_bounds` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_label_fails(
    start_boot_ns: u64,
    tgid: u64,
    wanted: u64,
    unwanted: u64,
    unknown_zero: u64,
) -> u32 {
    let process = ProcessKey { start_boot_ns, tgid: tgid as u32, pad: 0 };
    let has = map::labels(&process) & map::label_rules().live;
    let fails = wanted & !has | unwanted & has;
    u32::from(fails != 0) ^ unknown_zero as u32
}

/// Labels of the caller, as bits.
#[inline(always)]
pub fn of_caller(facts: &Facts) -> u64 {
    let ProcessKey { start_boot_ns, tgid, .. } = facts.process;
    krsi_labels(start_boot_ns, tgid.into(), facts.unknown_zero())
}

/// Labels of a process, as bits.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_labels(start_boot_ns: u64, tgid: u64, unknown_zero: u64) -> u64 {
    let process = ProcessKey { start_boot_ns, tgid: tgid as u32, pad: 0 };
    (map::labels(&process) & map::label_rules().live) ^ unknown_zero
}

/// Gives the caller the labels of the leases that applied, unless one refuses. A call whose label finds no room
/// is refused, if whoever declared the label says so.
#[inline(always)]
pub fn give(call: &Call, decision: &mut Decision) {
    let gives = decision.gives();
    if gives == 0 {
        return;
    }
    let (facts, zero) = (&call.facts, call.facts.unknown_zero());
    if decision.is_denied() {
        decision.set_gives(zero);
        return;
    }
    decision.set_gives(fresh(facts, gives));
    let ProcessKey { start_boot_ns, tgid, .. } = facts.process;
    if krsi_label_give(start_boot_ns, tgid.into(), gives, facts.slot.into(), zero) == 0 {
        return;
    }
    decision.set_gives(zero);
    without_room(facts, call.counts, gives, decision, call.wants(flag::AUDIT_ONLY));
}

/// Those of some labels that the caller does not have.
#[inline(always)]
fn fresh(facts: &Facts, labels: u64) -> u64 {
    (labels & !of_caller(facts)) ^ facts.unknown_zero()
}

/// Labels that the caller had before a call whose decision is made, as bits.
#[inline(always)]
pub fn had(facts: &Facts, decision: &Decision) -> u64 {
    // Where there are no labels nothing is looked up.
    if map::label_rules().live == 0 { 0 } else { of_caller(facts) & !decision.gives() }
}

/// There was no room for some labels: the call is refused, or reported, if whoever declared one says so.
#[inline(always)]
fn without_room(facts: &Facts, counts: Counts, gives: u64, decision: &mut Decision, audits: bool) {
    counts.add(Counter::LostLabel);
    if gives & map::label_rules().refused_when_full != 0 {
        let (verdict, counter) = if audits {
            (Verdict::Audited, Counter::Audited)
        } else {
            (Verdict::Denied, Counter::Denied)
        };
        counts.add(counter);
        // What would be refused hides no other report.
        if !audits || !decision.is_made() {
            decision.set(map::label_rules().full_rule, EAGAIN, ADMINISTRATOR, verdict);
            decision.forget(facts);
        }
    }
}

/// Gives the caller the label of a watch.
#[inline(always)]
pub fn give_of_watch(call: &Call, decision: &mut Decision) {
    let slot = if spec::has(spec_flag::LABEL_AT_EXEC) { EXEC } else { AT_ONCE };
    let audits = call.wants(flag::AUDIT_ONLY) || !spec::has(spec_flag::DENY);
    let gives = 1u64 << (spec::label() & 63);
    krsi_watch_gives(&call.facts, decision, gives, slot, audits.into());
}

/// Gives the caller labels, and decides the call if there is no room for them. Answers zero.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_watch_gives(
    facts: &Facts,
    out: &mut Decision,
    gives: u64,
    slot: u64,
    audits: u64,
) -> u32 {
    let (Some(facts), Some(decision)) = (global::seen(facts), global::seen_mut(out)) else {
        return 0;
    };
    decision.set_gives(fresh(facts, gives));
    let ProcessKey { start_boot_ns, tgid, .. } = facts.process;
    if krsi_label_give(start_boot_ns, tgid.into(), gives, slot, facts.unknown_zero()) != 0 {
        decision.set_gives(facts.unknown_zero());
        if let Some(counts) = map::counts(facts.slot) {
            without_room(facts, counts, gives, decision, audits != 0);
        }
    }
    facts.unknown_zero() as u32
}

/// Owner slot of what is refused for want of room: the administrator's.
const ADMINISTRATOR: u8 = 63;

/// Gives labels to the calling process, at the end of its exec if they are an exec's: 0, or 1 without room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_label_give(
    start_boot_ns: u64,
    tgid: u64,
    gives: u64,
    slot: u64,
    unknown_zero: u64,
) -> u32 {
    let mut fails = 0;
    let mut now = gives;
    if slot == EXEC {
        // Room for them is taken here, where the exec can still be refused.
        now = 0;
        let task = capture::task_address();
        let waiting = gives | map::waiting(&task);
        fails = u32::from(!map::wait(&task, waiting));
    }
    (fails | krsi_label_set(start_boot_ns, tgid, now, 0, unknown_zero)) ^ unknown_zero as u32
}

/// Takes labels from a process, then gives it some: 0, or 1 without room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_label_set(
    start_boot_ns: u64,
    tgid: u64,
    gives: u64,
    takes: u64,
    unknown_zero: u64,
) -> u32 {
    let process = ProcessKey { start_boot_ns, tgid: tgid as u32, pad: 0 };
    // Who only loses some needs no room.
    let makes = gives != 0 || takes == 0;
    let Some(labels) = map::labelled(&process, makes) else {
        return u32::from(makes) ^ unknown_zero as u32;
    };
    let mut at = 0;
    while at < LABELS as u64 {
        if (gives | takes) >> at & 1 != 0 {
            map::set_label(labels, at, (gives >> at & 1) as u8);
        }
        at = global::written(at + 1);
    }
    unknown_zero as u32
}

/// An exec begins: what an earlier one would have given, had it not failed, is forgotten. Answers zero. The kernel
/// calls `bprm_creds_for_exec` once an exec, before `bprm_check_security` is called for the file and its
/// interpreters.
#[inline(always)]
pub fn exec_begins(call: &Call) -> u32 {
    if call.wants(flag::LABELS) { krsi_exec_begins(call.facts.unknown_zero()) } else { 0 }
}

/// Forgets what the calling thread's exec would have given. Answers zero.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_exec_begins(unknown_zero: u64) -> u32 {
    map::end_wait(&capture::task_address());
    unknown_zero as u32
}

/// Notes which labels an exec gives that cannot fail any more, and that the process does not have.
#[inline(always)]
pub fn note_exec(call: &Call, decision: &mut Decision) {
    if call.wants(flag::LABELS) {
        let gives = krsi_waiting(call.facts.unknown_zero());
        decision.set_gives(fresh(&call.facts, gives & map::label_rules().live));
    }
}

/// Labels that the calling thread's exec gives, as bits.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_waiting(unknown_zero: u64) -> u64 {
    map::waiting(&capture::task_address()) ^ unknown_zero
}

/// An exec cannot fail any more: labels go that do not outlive it, then it gives its own.
#[inline(always)]
pub fn exec_done(call: &Call) {
    if !call.wants(flag::LABELS) {
        return;
    }
    let task = capture::task_address();
    let (gives, takes) = (map::waiting(&task), map::label_rules().dropped_at_exec);
    if gives != 0 {
        map::end_wait(&task);
    }
    let ProcessKey { start_boot_ns, tgid, .. } = call.facts.process;
    let zero = call.facts.unknown_zero();
    if gives | takes != 0 && krsi_label_set(start_boot_ns, tgid.into(), gives, takes, zero) != 0 {
        call.counts.add(Counter::LostLabel);
    }
}

/// A child has its creator's labels.
#[inline(always)]
pub fn fork(call: &Call, child: &ProcessKey) {
    if call.wants(flag::LABELS) && !map::inherit_labels(&call.facts.process, child) {
        call.counts.add(Counter::LostLabel);
    }
}

/// A thread ends.
#[inline(always)]
pub fn thread_ends(call: &Call) {
    if call.wants(flag::LABELS) {
        map::end_wait(&capture::task_address());
    }
}

/// A process ends.
#[inline(always)]
pub fn exit(call: &Call) {
    if call.wants(flag::LABELS) {
        map::unlabel(&call.facts.process);
    }
}

/// Run by the host, which never writes an element that programs write: takes labels from a process and gives it
/// some. Its arguments are the start of the process, its tgid, the labels to give and those to take, as bits.
#[raw_tracepoint]
pub fn label(ctx: RawTracePointContext) -> i32 {
    let (start, tgid) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    let (gives, takes) = (ctx.arg::<u64>(2), ctx.arg::<u64>(3));
    let zero = map::counts(0).map_or(0, map::Counts::unknown_zero);
    krsi_label_set(start, tgid, gives, takes, zero) as i32
}
