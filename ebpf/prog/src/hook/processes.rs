//! The program that tells which processes there are, and when exactly each of them started.

use aya_ebpf::cty::c_void;
use aya_ebpf::programs::BtfTracePointContext;

use crate::capture::{self, Ptr, Skip, Task};
use crate::offset;

/// Offset of `seq` in `struct bpf_iter_meta` of `kernel/bpf/bpf_iter.c`, where it is the first member.
const META_SEQ: usize = 0;

/// `bpf_iter_task(struct bpf_iter_meta *meta, struct task_struct *task)`: called for each task while the
/// host reads the iterator's file, and with no task at its end. Each task tells its process, so that a
/// further thread which takes over its process by an exec hides it at no moment.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn processes(ctx: *mut c_void) -> i32 {
    let ctx = BtfTracePointContext::new(ctx);
    // The kernel asks for 0, or for 1 to be called again.
    let _untold = emit_process(&ctx);
    0
}

#[inline(always)]
fn emit_process(ctx: &BtfTracePointContext) -> Result<(), Skip> {
    let meta = Ptr::arg::<0>(ctx)?;
    let task = Ptr::arg::<1>(ctx)?;
    // A process whose last thread has ended waits for its parent only.
    let live: u32 = task.ptr(&offset::TASK_SIGNAL)?.load(&offset::SIGNAL_LIVE)?;
    if live == 0 {
        return Ok(());
    }
    let key = capture::process_key(Task::of(task))?;
    capture::write_key(Ptr::new(meta.load_at(META_SEQ))?, &key);
    Ok(())
}
