//! Fills a ring with records, natively: the path after the hook is measured where no hook attaches.
//!
//! A raw tracepoint on `sys_enter` that acts for one process and one system call; each such call
//! writes as many copies of a template as it was ordered to, stamped with the time and with process
//! keys that go round.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the macro of a program drops its documentation")]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only atomic add that the BPF target has")]

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::{Array, RingBuf};
use aya_ebpf::programs::RawTracePointContext;
use krsi_host_abi::deny::ProcessKey;
use krsi_host_abi::record::{FileOpen, Header};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Words of a record: header, body of `file_open`, 40 bytes of path.
const WORDS: usize = (size_of::<Header>() + size_of::<FileOpen>() + 40) / WORD;
/// Records of one call at most.
const BURST: u64 = 64;
/// Word of `Header::boot_ns`.
const BOOT_NS: usize = offset_of!(Header, boot_ns) / WORD;
/// Word of the start time of `Header::process`.
const START: usize = (offset_of!(Header, process) + offset_of!(ProcessKey, start_boot_ns)) / WORD;
/// Word of its tgid; what is padded stays zero.
const TGID: usize = (offset_of!(Header, process) + offset_of!(ProcessKey, tgid)) / WORD;

/// The process whose calls count; frozen by the loader.
#[unsafe(no_mangle)]
static FEEDER_TGID: u32 = 0;
/// The system call that counts; frozen by the loader.
#[unsafe(no_mangle)]
static FEEDER_SYSCALL: u64 = 0;

/// Where the records go; the loader chooses its size.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
/// The record that is copied.
#[map]
static TEMPLATE: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);
/// Records of a call, a mask of their number that tells their process, flags of the submission.
#[map]
static ORDER: Array<[u64; 3]> = Array::with_max_entries(1, 0);
/// Records written, and those that found no room.
#[map]
static COUNTS: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// Writes what was ordered.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn feed(ctx: RawTracePointContext) -> i32 {
    // SAFETY: the globals are frozen data; volatile, because the loader writes them.
    let (tgid, syscall) = unsafe {
        ((&raw const FEEDER_TGID).read_volatile(), (&raw const FEEDER_SYSCALL).read_volatile())
    };
    if ctx.tgid() != tgid || ctx.arg::<u64>(1) != syscall {
        return 0;
    }
    let (Some(order), Some(template), Some(counts)) =
        (ORDER.get(0), TEMPLATE.get(0), COUNTS.get_ptr_mut(0))
    else {
        return 0;
    };
    let [records, mask, flags] = *order;
    let mut done = 0;
    while done < BURST && done < records {
        let turn = done & mask;
        let Some(mut entry) = RECORDS.reserve::<[u64; WORDS]>(0) else {
            // SAFETY: a live, aligned map value of two words.
            unsafe { add(counts.cast::<u64>().add(1), records - done) };
            break;
        };
        let mut record = *template;
        // SAFETY: the helper has no arguments and cannot fail.
        record[BOOT_NS] = unsafe { bpf_ktime_get_boot_ns() };
        record[START] = 1_000_000 + turn;
        record[TGID] = 1000 + turn;
        entry.write(record);
        entry.submit(flags);
        done += 1;
    }
    // SAFETY: a live, aligned map value.
    unsafe { add(counts.cast::<u64>(), done) };
    0
}

/// BPF's atomic add.
///
/// # Safety
/// `word` must be a live, aligned map value.
#[inline(always)]
unsafe fn add(word: *mut u64, count: u64) {
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, count) };
}

/// The kernel grants GPL-only helpers to this licence (`include/linux/license.h`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: nothing in the object can panic, or the verifier would refuse it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
