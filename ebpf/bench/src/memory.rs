//! Baselines of `file_mprotect`.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{Call, PATH_SHORT};
use krsi_host_abi::spec::{CAPTURES, ROOMS};

use crate::read::{self, Ptr, offset};
use crate::{record, rule};

/// `file_mprotect` with an empty program.
#[lsm(hook = "file_mprotect")]
pub fn mprotect_bare(_: LsmContext) -> i32 {
    0
}

/// `file_mprotect` with one look-up of the caller.
#[lsm(hook = "file_mprotect")]
pub fn mprotect_process(_: LsmContext) -> i32 {
    rule::process()
}

/// Bytes behind the body of a record with texts, whether there are any.
const ROOM_BYTES: usize = ROOMS * PATH_SHORT;

/// The record: bounds and flags of the mapping, protections asked for and effective. Its memory is no file's,
/// so there is no inode and no path.
#[lsm(hook = "file_mprotect")]
pub fn mprotect_record(ctx: LsmContext) -> i32 {
    let Some(vma) = Ptr::arg::<0>(&ctx) else { return 0 };
    record::submit::<Call, ROOM_BYTES>(Hook::FileMprotect, |body, _| {
        if vma.ptr(&offset::VMA_VM_FILE).is_some() {
            return None;
        }
        let mut values = [0; CAPTURES];
        values[3] = vma.load(&offset::VMA_VM_START);
        values[4] = vma.load(&offset::VMA_VM_END);
        values[5] = vma.load(&offset::VMA_VM_FLAGS);
        values[6] = read::number::<1>(&ctx);
        values[7] = read::number::<2>(&ctx);
        record::write(body, Call { values, read: 0b1111_1000, null: 0b111 });
        Some(())
    });
    0
}
