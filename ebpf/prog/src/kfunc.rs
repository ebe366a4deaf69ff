//! Functions of the kernel that not every kernel has: called in branches that the host switches.
//!
//! The host puts a function's id in the place of its number, and the verifier checks the arguments.

use core::mem::{MaybeUninit, transmute};

use aya_ebpf::bindings::{bpf_dynptr, file, path, task_struct};
use aya_ebpf::helpers::generated as helper;
use krsi_host_abi::kfunc;
use krsi_host_abi::spec::{Read, TEXT_MAX};

use crate::capture::{self, Ptr, Skip, Task};
use crate::path_read::PathRead;
use crate::spec::{self, Row};
use crate::{map, offset};

/// `ENODATA` of `include/uapi/asm-generic/errno.h`: the file has none.
const ENODATA: i64 = 61;
/// `EOPNOTSUPP` of `include/uapi/asm-generic/errno.h`: no file there can have one.
const EOPNOTSUPP: i64 = 95;
/// Bytes before the digest in a `struct fsverity_digest` of `include/uapi/linux/fsverity.h`.
const DIGEST_HEADER: usize = 4;
/// Offset of the digest's size in it.
const DIGEST_SIZE: usize = 2;
/// Bytes of the longest digest, SHA-512.
const DIGEST_MAX: usize = 64;

/// Writes the path of what the calling task runs into `out`. A kernel thread runs nothing.
#[inline(always)]
pub fn task_exe<const N: usize>(out: *mut [u8; N]) -> Result<PathRead, Skip> {
    let of_path = offset::FILE_F_PATH.get()?;
    let task = Task::current()?.address() as *mut task_struct;
    // SAFETY: the host asks for such a row where the kernel has the functions; the file is put.
    let len = unsafe {
        let file = task_exe_file(task);
        if file.is_null() {
            return Err(Skip::Null);
        }
        let path = file.cast::<u8>().add(of_path).cast();
        let len = path_d_path(path, out.cast(), N as u64);
        put_file(file);
        len
    };
    PathRead::resolved(len)
}

/// Writes an attribute or digest of a file into a text's room; its length. One that a user may stall is not
/// read: the call holds rooms that others wait for.
#[inline(always)]
pub fn of_file<const R: usize>(row: Row, file: Ptr, out: *mut [u8; R]) -> Result<u16, Skip> {
    const { assert!(R >= TEXT_MAX) };
    if capture::may_stall(file.ptr(&offset::FILE_F_INODE)?)? {
        return Err(Skip::Read);
    }
    let thread = capture::pid_tgid();
    let lent = map::lend(&thread).ok_or(Skip::Read)?;
    let bytes = lent.bytes.cast::<u8>();
    // SAFETY: the host asks for such a row where the kernel has the functions, and frozen strings that
    // name an attribute end with NUL; the room lent is longer.
    let (answer, start) = unsafe {
        if row.read() == Read::Xattr as u8 {
            let name = spec::string(row.size() as usize);
            (file_xattr(file.raw(), name, bytes, TEXT_MAX as u32), 0)
        } else {
            let room = (DIGEST_HEADER + DIGEST_MAX) as u32;
            let failed = fsverity_digest(file.raw(), bytes, room);
            let size = i64::from(core::ptr::read_volatile(bytes.add(DIGEST_SIZE).cast::<u16>()));
            (if failed == 0 { size } else { failed }, DIGEST_HEADER)
        }
    };
    let read = if answer == -ENODATA || answer == -EOPNOTSUPP {
        Err(Skip::Null)
    } else if answer < 0 || answer > TEXT_MAX as i64 {
        Err(Skip::Read)
    } else {
        let from = bytes.wrapping_add(start) as u64;
        capture::copy(from, out.cast::<[u8; TEXT_MAX]>(), answer as u16).map(|()| answer as u16)
    };
    lent.let_go(&thread);
    read
}

/// Writes a path with its NUL into `out`; its length, or a negative errno.
///
/// # Safety
/// The kernel has the function, and `out` holds `len` bytes.
#[inline(always)]
pub unsafe fn path_d_path(path: *mut path, out: *mut u8, len: u64) -> i64 {
    type Function = unsafe extern "C" fn(*mut path, *mut u8, u64) -> i32;
    // SAFETY: as the caller promises; the number is no address, the host replaces the call.
    i64::from(unsafe { transmute::<usize, Function>(kfunc::PATH_D_PATH as usize)(path, out, len) })
}

/// The file that a task runs, to be put, or NULL.
///
/// # Safety
/// The kernel has the function.
#[inline(always)]
unsafe fn task_exe_file(task: *mut task_struct) -> *mut file {
    type Function = unsafe extern "C" fn(*mut task_struct) -> *mut file;
    // SAFETY: as the caller promises; the number is no address, the host replaces the call.
    unsafe { transmute::<usize, Function>(kfunc::TASK_EXE_FILE as usize)(task) }
}

/// Gives back a file of [`task_exe_file`].
///
/// # Safety
/// The kernel has the function, and the file is used no more.
#[inline(always)]
unsafe fn put_file(file: *mut file) {
    type Function = unsafe extern "C" fn(*mut file);
    // SAFETY: as the caller promises; the number is no address, the host replaces the call.
    unsafe { transmute::<usize, Function>(kfunc::PUT_FILE as usize)(file) }
}

/// Writes an extended attribute of a file into a map's value; its length, or a negative errno.
///
/// # Safety
/// The kernel has the function, `name` ends with NUL in frozen memory, and `out` is a map's value of at
/// least `room` bytes.
#[inline(always)]
unsafe fn file_xattr(file: *mut file, name: *const u8, out: *mut u8, room: u32) -> i64 {
    type Function = unsafe extern "C" fn(*mut file, *const u8, *mut bpf_dynptr) -> i32;
    // SAFETY: as the caller promises; the number is no address, the host replaces the call.
    within(out, room, |out| unsafe {
        transmute::<usize, Function>(kfunc::FILE_XATTR as usize)(file, name, out)
    })
}

/// Writes a file's `struct fsverity_digest` into a map's value; 0, or a negative errno.
///
/// # Safety
/// The kernel has the function, and `out` is a map's value of at least `room` bytes.
#[inline(always)]
unsafe fn fsverity_digest(file: *mut file, out: *mut u8, room: u32) -> i64 {
    type Function = unsafe extern "C" fn(*mut file, *mut bpf_dynptr) -> i32;
    // SAFETY: as the caller promises; the number is no address, the host replaces the call.
    within(out, room, |out| unsafe {
        transmute::<usize, Function>(kfunc::FSVERITY_DIGEST as usize)(file, out)
    })
}

/// Hands a map's value to a function as a bounded pointer.
#[inline(always)]
fn within(out: *mut u8, room: u32, call: impl FnOnce(*mut bpf_dynptr) -> i32) -> i64 {
    let mut bounded = MaybeUninit::<bpf_dynptr>::uninit();
    // SAFETY: the caller's `out` holds `room` bytes, which the verifier checks.
    let failed = unsafe { helper::bpf_dynptr_from_mem(out.cast(), room, 0, bounded.as_mut_ptr()) };
    let answer = call(bounded.as_mut_ptr());
    if failed == 0 { i64::from(answer) } else { failed }
}
