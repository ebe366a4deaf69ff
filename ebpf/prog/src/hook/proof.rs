//! The proof of a backend: that a file which the host opens is seen, and which file that is to the kernel.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use crate::capture::{self, Ptr};
use crate::{map, offset};

/// `security_file_open(struct file *file)`, or another hook whose first argument is the file. It refuses
/// nothing, and is attached while the host asks. stat(2) of a file on btrfs or overlayfs does not tell what
/// programs see, so the host opens a file and reads here what it is.
#[lsm(hook = "file_open")]
pub fn proof(ctx: LsmContext) -> i32 {
    let Some(proof) = map::proof() else { return 0 };
    // SAFETY: a live map value; one thread of the host's writes it, and one program here at a time.
    let proof = unsafe { &mut *proof };
    if proof.thread != capture::pid_tgid() {
        return 0;
    }
    proof.calls += 1;
    let inode = Ptr::arg::<0>(&ctx).and_then(|file| file.ptr(&offset::FILE_F_INODE));
    let Ok(key) = inode.and_then(capture::file_key) else { return 0 };
    proof.file.ino = key.ino;
    proof.file.dev = key.dev;
    0
}
