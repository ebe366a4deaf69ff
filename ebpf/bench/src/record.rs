//! A record of the byte contract, filled and submitted without a question asked.

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use krsi_host_abi::ABI_VERSION;
use krsi_host_abi::deny::ProcessKey;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{Header, Verdict};

use crate::read::{self, Ptr, offset};

/// Where records go; it holds a batch of them, and the driver empties it.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 24, 0);

/// A record: header, body, `TAIL` bytes.
#[repr(C)]
pub struct Record<B, const TAIL: usize> {
    header: Header,
    body: B,
    tail: [u8; TAIL],
}

/// Reserves a record, fills it and submits it.
#[inline(always)]
pub fn submit<B: 'static, const TAIL: usize>(
    hook: Hook,
    fill: impl FnOnce(*mut B, *mut [u8; TAIL]) -> Option<()>,
) {
    let Some(task) = read::current() else { return };
    let Some(process) = read::process_key(task) else { return };
    let Some(mut entry) = RECORDS.reserve::<Record<B, TAIL>>(0) else { return };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is a live reservation of the right size; fields are only written.
    let (body, tail) = unsafe {
        write_header(&raw mut (*record).header, hook, task, process);
        (&raw mut (*record).body, &raw mut (*record).tail)
    };
    match fill(body, tail) {
        Some(()) => entry.submit(0),
        None => entry.discard(0),
    }
}

/// Has `fill` write into a reservation, and gives that back.
#[inline(always)]
pub fn discard<const BYTES: usize>(fill: impl FnOnce(*mut [u8; BYTES]) -> i64) {
    let Some(mut entry): Option<RingBufEntry<[u8; BYTES]>> = RECORDS.reserve(0) else { return };
    let _len = fill(entry.as_mut_ptr());
    entry.discard(0);
}

/// Writes a body.
///
/// `to` must lie in a live reservation: what [`submit`] hands out.
#[inline(always)]
pub fn write<B>(to: *mut B, body: B) {
    // SAFETY: as the caller promises.
    unsafe { to.write(body) };
}

/// # Safety
/// `out` must point into a live reservation.
#[inline(always)]
unsafe fn write_header(out: *mut Header, hook: Hook, task: Ptr, process: ProcessKey) {
    let caller = read::caller();
    let parent = task
        .ptr(&offset::TASK_REAL_PARENT)
        .and_then(read::process_key)
        .unwrap_or(ProcessKey { start_boot_ns: 0, tgid: 0, pad: 0 });
    // SAFETY: as the caller promises; the bytes of a reservation are the kernel's and so have values,
    // and any bytes are a header (`FromBytes`).
    let out = unsafe { &mut *out };
    // Every field by name: one that is added and not filled here does not compile.
    let Header {
        abi,
        hook: hook_id,
        cpu,
        boot_ns,
        process: caller_key,
        parent: parent_key,
        tid,
        uid,
        gid,
        mount_ns,
        cgroup_id,
        rule_id,
        errno,
        verdict,
        owner,
        pad,
        labels,
        given,
        comm,
    } = out;
    *abi = ABI_VERSION as u16;
    *hook_id = hook.id();
    *cpu = caller.cpu;
    *boot_ns = caller.boot_ns;
    *caller_key = process;
    *parent_key = parent;
    *tid = caller.tid;
    *uid = caller.uid;
    *gid = caller.gid;
    *mount_ns = read::mount_ns(task).unwrap_or(0);
    *cgroup_id = caller.cgroup_id;
    *rule_id = 0;
    *errno = 0;
    *verdict = Verdict::None as u8;
    *owner = 0;
    *pad = 0;
    *labels = 0;
    *given = 0;
    read::comm(comm);
}
