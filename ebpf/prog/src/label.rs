//! Labels: what the kernel remembers of a process. Leases give them, and ask for them.
//!
//! They are kept by process and outlive an exec by any of its threads; a fork hands them on. What an exec gives
//! waits by the calling thread until the exec cannot fail any more.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{LABELS, Lease, ProcessKey, flag};
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::Verdict;

use crate::capture::{self, Ptr};
use crate::filter::{Call, Facts};
use crate::verdict::Decision;
use crate::{global, map, offset};

/// Hook whose labels wait for the end of the exec.
const EXEC: u64 = Hook::BprmCheckSecurity.id() as u64;
/// `EAGAIN` of `include/uapi/asm-generic/errno-base.h`: there is no room for a label now.
const EAGAIN: u16 = 11;

/// Whether the caller has the labels that a lease asks for, and none of those that it excludes.
#[inline(always)]
pub fn concerns(facts: &Facts, lease: &Lease) -> bool {
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

/// Gives the caller the labels of the leases that applied, unless one refuses. A call whose label finds no room
/// is refused, if whoever declared the label says so.
#[inline(always)]
pub fn give(call: &Call, decision: &mut Decision) {
    let gives = decision.gives();
    if gives == 0 || decision.is_denied() {
        return;
    }
    let (facts, zero) = (&call.facts, call.facts.unknown_zero());
    let ProcessKey { start_boot_ns, tgid, .. } = facts.process;
    if krsi_label_give(start_boot_ns, tgid.into(), gives, facts.slot.into(), zero) == 0 {
        return;
    }
    call.counts.add(Counter::LostLabel);
    if gives & map::label_rules().refused_when_full != 0 {
        let audits = call.wants(flag::AUDIT_ONLY);
        let (verdict, counter) = if audits {
            (Verdict::Audited, Counter::Audited)
        } else {
            (Verdict::Denied, Counter::Denied)
        };
        call.counts.add(counter);
        // What would be refused hides no other report.
        if !audits || !decision.is_made() {
            decision.set(map::label_rules().full_rule, EAGAIN, ADMINISTRATOR, verdict);
            decision.forget(facts);
        }
    }
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

/// An exec begins: what an earlier one would have given, had it not failed, is forgotten. A script's interpreter
/// belongs to the same exec.
#[inline(always)]
pub fn exec_begins(call: &Call, bprm: Ptr) {
    if !call.wants(flag::LABELS) {
        return;
    }
    let name = |at: &offset::Offset| bprm.ptr(at).map(|name| name.address());
    let goes_on = match (name(&offset::BPRM_INTERP), name(&offset::BPRM_FILENAME)) {
        (Ok(interpreter), Ok(file)) => interpreter != file,
        _ => false,
    };
    if !goes_on {
        map::end_wait(&capture::task_address());
    }
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
