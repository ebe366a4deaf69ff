//! Baselines of `file_mprotect`.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::Call;
use krsi_host_abi::spec::CAPTURES;

use crate::read::{self, Ptr, offset};
use crate::{record, rule};

/// Nothing.
#[lsm(hook = "file_mprotect")]
pub fn mprotect_bare(_: LsmContext) -> i32 {
    0
}

/// One look-up of the caller.
#[lsm(hook = "file_mprotect")]
pub fn mprotect_process(_: LsmContext) -> i32 {
    rule::process()
}

/// The record: address, length, protections asked for and effective, flags of the mapping.
#[lsm(hook = "file_mprotect")]
pub fn mprotect_record(ctx: LsmContext) -> i32 {
    let Some(vma) = Ptr::arg::<0>(&ctx) else { return 0 };
    record::submit::<Call, 0>(Hook::FileMprotect, |body, _| {
        let start: u64 = vma.load(&offset::VMA_VM_START);
        let end: u64 = vma.load(&offset::VMA_VM_END);
        let mut values = [0; CAPTURES];
        values[0] = start;
        values[1] = end - start;
        values[2] = read::number::<1>(&ctx);
        values[3] = read::number::<2>(&ctx);
        values[4] = vma.load(&offset::VMA_VM_FLAGS);
        record::write(body, Call { values, read: 0b1_1111, null: 0 });
        Some(())
    });
    0
}
