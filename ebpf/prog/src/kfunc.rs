//! Functions of the kernel that not every kernel has: called in branches that the host switches.

use core::mem::transmute;

use aya_ebpf::bindings::path;
use krsi_host_abi::kfunc;

/// Writes a path with its NUL into `out`; its length, or a negative errno.
///
/// # Safety
/// The host has put the function's id in place, and the verifier checks the arguments.
#[inline(always)]
pub unsafe fn path_d_path(path: *mut path, out: *mut u8, len: u64) -> i64 {
    type Function = unsafe extern "C" fn(*mut path, *mut u8, u64) -> i32;
    // SAFETY: as the caller promises; the number is no address, the host replaces the call.
    i64::from(unsafe { transmute::<usize, Function>(kfunc::PATH_D_PATH as usize)(path, out, len) })
}
