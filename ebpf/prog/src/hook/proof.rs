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
    map::prove(
        capture::pid_tgid(),
        #[inline(always)]
        || {
            let file = Ptr::arg::<0>(&ctx);
            file.and_then(|file| file.ptr(&offset::FILE_F_INODE)).and_then(capture::file_key).ok()
        },
    );
    0
}
