//! Programs of the task family: fork and exit, and what a child inherits.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{ProcessKey, flag};
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{Exit, Fork};

use crate::capture::{self, Ptr, Skip};
use crate::emit::{self, Fill, NoTail, Room, Wanted};
use crate::filter::{self, Call, Traits};
use crate::verdict::Decision;
use crate::{exempt, label, map, offset};

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: before the child is
/// woken, so a mark is there before its first call.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let child = Ptr::arg::<1>(&ctx);
    match filter::enter_always(Hook::SchedProcessFork.id() as u32) {
        Some(call) => {
            if let Err(skip) = child.and_then(|child| fork(&call, child)) {
                call.skip(skip);
            }
        }
        // The host's own calls are nobody's affair, its children are.
        None => {
            let _unread = child.and_then(exempt::fork_of_host);
        }
    }
    0
}

/// `sched_process_exit(struct task_struct *p, …)`: once per thread; the last one is the process's.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let Some(call) = filter::enter_always(Hook::SchedProcessExit.id() as u32) else { return 0 };
    if let Err(skip) = Ptr::arg::<0>(&ctx).and_then(|task| exit(&call, task)) {
        call.skip(skip);
    }
    0
}

#[inline(always)]
fn fork(call: &Call, child: Ptr) -> Result<(), Skip> {
    let Some(child) = capture::forked(child)? else {
        call.leave();
        return Ok(());
    };
    exempt::fork(call, &child);
    label::fork(call, &child);
    if call.wants(flag::MEMBERSHIP) {
        // The creator's marks, not the real parent's: CLONE_PARENT does not shed them.
        let before = map::changes();
        inherit(call, &child);
        if map::changes() != before {
            inherit(call, &child);
        }
    }
    let wanted = Wanted::undecided(call, Decision::none(call), &Traits::none(call));
    emit::emit(call, &wanted, |room: &Room<Fork, NoTail>| {
        room.write(Fork { child });
        Ok(Fill::Done)
    });
    Ok(())
}

/// Hands the caller's marks on.
#[inline(always)]
fn inherit(call: &Call, child: &ProcessKey) {
    if let Some(marks) = map::membership(&call.facts.process)
        && !map::mark(child, marks)
    {
        call.counts.add(Counter::LostMark);
    }
}

#[inline(always)]
fn exit(call: &Call, task: Ptr) -> Result<(), Skip> {
    // do_exit has already counted this thread out of `live`.
    let live: u32 = task.ptr(&offset::TASK_SIGNAL)?.load(&offset::SIGNAL_LIVE)?;
    label::thread_ends(call);
    if live != 0 {
        call.leave();
        return Ok(());
    }
    exempt::exit(&call.facts.process);
    label::exit(call);
    if call.wants(flag::MEMBERSHIP) {
        map::unmark(&call.facts.process);
    }
    let code: u32 = task.load(&offset::TASK_EXIT_CODE)?;
    let wanted = Wanted::undecided(call, Decision::none(call), &Traits::none(call));
    emit::emit(call, &wanted, |room: &Room<Exit, NoTail>| {
        room.write(Exit { code, pad: 0 });
        Ok(Fill::Done)
    });
    Ok(())
}
