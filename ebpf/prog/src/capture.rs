//! Bounded reads of what a hook's arguments reach: fields, paths, strings, the calling process.
//!
//! Every load goes through [`Ptr`], which the verifier tracks: a direct, fault-safe load from a
//! pointer whose type the kernel's BTF gives. What cannot be read is a [`Skip`], never a guess.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{path as kernel_path, task_struct};
use aya_ebpf::helpers::generated as helper;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{FileKey, ProcessKey};
use krsi_host_abi::record::{COMM_LEN, Text, exec_flag};

use crate::offset::{self, Offset};

/// `ENAMETOOLONG` of `include/uapi/asm-generic/errno.h`.
const ENAMETOOLONG: i64 = 36;
/// `TMPFS_MAGIC` of `include/uapi/linux/magic.h`.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// `HUGETLBFS_MAGIC` of `include/uapi/linux/magic.h`.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
/// `SB_KERNMOUNT` of `include/linux/fs.h`: the kernel's own mount, where memfds live.
const SB_KERNMOUNT: u64 = 1 << 22;

/// Why a capture was left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// A pointer was NULL.
    Null,
    /// This kernel lacks a field.
    Field,
    /// The kernel could not read it.
    Read,
}

impl Skip {
    /// The counter of this reason.
    #[inline(always)]
    pub fn counter(self) -> Counter {
        match self {
            Skip::Null => Counter::SkippedNull,
            Skip::Field => Counter::SkippedField,
            Skip::Read => Counter::SkippedRead,
        }
    }
}

/// A kernel pointer that is not NULL.
#[derive(Clone, Copy)]
pub struct Ptr(*const u8);

impl Ptr {
    /// Argument `N` of the hook. The index is a constant: the verifier refuses a computed one.
    #[inline(always)]
    pub fn arg<const N: usize>(ctx: &impl EbpfContext) -> Result<Self, Skip> {
        // SAFETY: the context of LSM and tp_btf programs is an array of u64 arguments.
        let pointer = unsafe { *ctx.as_ptr().cast::<*const u8>().add(N) };
        if pointer.is_null() { Err(Skip::Null) } else { Ok(Self(pointer)) }
    }

    /// The pointer in a member.
    #[inline(always)]
    pub fn ptr(self, member: &Offset) -> Result<Self, Skip> {
        let pointer: *const u8 = self.load(member)?;
        if pointer.is_null() { Err(Skip::Null) } else { Ok(Self(pointer)) }
    }

    /// The address of an embedded structure.
    #[inline(always)]
    pub fn embedded(self, member: &Offset) -> Result<Self, Skip> {
        let offset = member.get()?;
        // SAFETY: pointer arithmetic inside the structure; the verifier bounds it.
        Ok(Self(unsafe { self.0.add(offset) }))
    }

    /// A member's value; `T` has the member's size.
    #[inline(always)]
    pub fn load<T: Copy>(self, member: &Offset) -> Result<T, Skip> {
        let offset = member.get()?;
        // SAFETY: the verifier proves that this is a load inside the structure, or turns it into a
        // fault-safe one.
        Ok(unsafe { core::ptr::read_volatile(self.0.add(offset).cast::<T>()) })
    }

    /// The raw pointer, for helpers.
    #[inline(always)]
    pub fn raw<T>(self) -> *mut T {
        self.0.cast_mut().cast()
    }
}

/// Argument `N` as a number.
#[inline(always)]
pub fn number<const N: usize>(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: the context of LSM and tp_btf programs is an array of u64 arguments.
    unsafe { *ctx.as_ptr().cast::<u64>().add(N) }
}

/// The calling task.
#[inline(always)]
pub fn current() -> Result<Ptr, Skip> {
    // SAFETY: no preconditions.
    let task: *mut task_struct = unsafe { helper::bpf_get_current_task_btf() };
    if task.is_null() { Err(Skip::Null) } else { Ok(Ptr(task.cast())) }
}

/// The process of a task: its group leader's start time makes the key unique.
#[inline(always)]
pub fn process_key(task: Ptr) -> Result<ProcessKey, Skip> {
    let leader = task.ptr(&offset::TASK_GROUP_LEADER)?;
    Ok(ProcessKey {
        start_boot_ns: leader.load(&offset::TASK_START_BOOTTIME)?,
        tgid: task.load(&offset::TASK_TGID)?,
        pad: 0,
    })
}

/// Inode number of a task's mount namespace; 0 once the task has none.
#[inline(always)]
pub fn mount_ns(task: Ptr) -> u32 {
    let number = || {
        let namespace = task.ptr(&offset::TASK_NSPROXY)?.ptr(&offset::NSPROXY_MNT_NS)?;
        namespace.embedded(&offset::MNT_NAMESPACE_NS)?.load::<u32>(&offset::NS_COMMON_INUM)
    };
    number().unwrap_or(0)
}

/// Identity of an inode.
#[inline(always)]
pub fn file_key(inode: Ptr) -> Result<FileKey, Skip> {
    let device = inode.ptr(&offset::INODE_I_SB)?.load(&offset::SB_S_DEV)?;
    Ok(FileKey { ino: inode.load(&offset::INODE_I_INO)?, dev: device, pad: 0 })
}

/// Bits of [`exec_flag`] for an executable's inode.
#[inline(always)]
pub fn exec_flags(inode: Ptr) -> Result<u32, Skip> {
    let links: u32 = inode.load(&offset::INODE_I_NLINK)?;
    if links != 0 {
        return Ok(0);
    }
    let sb = inode.ptr(&offset::INODE_I_SB)?;
    let magic: u64 = sb.load(&offset::SB_S_MAGIC)?;
    let flags: u64 = sb.load(&offset::SB_S_FLAGS)?;
    let memory = magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC;
    let memfd = if memory && flags & SB_KERNMOUNT != 0 { exec_flag::MEMFD } else { 0 };
    Ok(exec_flag::DELETED | memfd)
}

/// What became of a path.
pub enum PathRead {
    /// It stands in the buffer.
    Whole(u16),
    /// It does not fit.
    TooLong,
}

/// Writes the resolved path of a file into `out`.
#[inline(always)]
pub fn path<const N: usize>(file: Ptr, out: *mut [u8; N]) -> Result<PathRead, Skip> {
    let path = file.embedded(&offset::FILE_F_PATH)?;
    // SAFETY: the verifier checks that `out` holds N bytes and that `path` is a `struct path`.
    let len = unsafe { helper::bpf_d_path(path.raw::<kernel_path>(), out.cast(), N as u32) };
    if len == -ENAMETOOLONG {
        Ok(PathRead::TooLong)
    } else if len <= 0 {
        Err(Skip::Read)
    } else {
        Ok(PathRead::Whole((len - 1) as u16))
    }
}

/// Writes the last component of a file's path into `out`: what is left of a path beyond `PATH_MAX`.
#[inline(always)]
pub fn last_component<const N: usize>(file: Ptr, out: *mut [u8; N]) -> Result<Text, Skip> {
    let dentry = file.embedded(&offset::FILE_F_PATH)?.ptr(&offset::PATH_DENTRY)?;
    let name = dentry.embedded(&offset::DENTRY_D_NAME)?.ptr(&offset::QSTR_NAME)?;
    // SAFETY: the verifier checks that `out` holds N bytes; the source is read fault-safe.
    let len = unsafe { helper::bpf_probe_read_kernel_str(out.cast(), N as u32, name.raw()) };
    if len <= 0 {
        Err(Skip::Read)
    } else {
        Ok(Text { offset: 0, len: (len - 1) as u16, truncated: 1, pad: 0 })
    }
}

/// Copies at most N bytes of user memory from `start`, not beyond `end`; returns how many.
/// Sleepable programs only.
#[inline(always)]
pub fn user_bytes<const N: usize>(start: u64, end: u64, out: *mut [u8; N]) -> Result<u16, Skip> {
    if end <= start {
        return Ok(0);
    }
    let room = end - start;
    let len = if room > N as u64 { N as u64 } else { room };
    // SAFETY: `len` is at most N; a bad user address is an error, not a fault.
    let failed = unsafe { helper::bpf_copy_from_user(out.cast(), len as u32, start as *const _) };
    if failed == 0 { Ok(len as u16) } else { Err(Skip::Read) }
}

/// Copies N bytes of kernel memory that BTF gives no type for.
#[inline(always)]
pub fn kernel_bytes<const N: usize>(from: Ptr) -> Result<[u8; N], Skip> {
    let mut out = [0; N];
    // SAFETY: `out` holds N bytes; the source is read fault-safe.
    let failed =
        unsafe { helper::bpf_probe_read_kernel(out.as_mut_ptr().cast(), N as u32, from.raw()) };
    if failed == 0 { Ok(out) } else { Err(Skip::Read) }
}

/// Writes the calling thread's name.
#[inline(always)]
pub fn comm(out: *mut [u8; COMM_LEN]) {
    // SAFETY: the verifier checks that `out` holds COMM_LEN bytes.
    unsafe { helper::bpf_get_current_comm(out.cast(), COMM_LEN as u32) };
}

/// Facts of the calling task that helpers give: (tid, uid, gid, cgroup id, CPU).
#[inline(always)]
pub fn caller() -> (u32, u32, u32, u64, u32) {
    // SAFETY: no preconditions.
    unsafe {
        let owner = helper::bpf_get_current_uid_gid();
        (
            helper::bpf_get_current_pid_tgid() as u32,
            owner as u32,
            (owner >> 32) as u32,
            helper::bpf_get_current_cgroup_id(),
            helper::bpf_get_smp_processor_id() as u32,
        )
    }
}

/// Thread group id of the calling task.
#[inline(always)]
pub fn tgid() -> u32 {
    // SAFETY: no preconditions.
    (unsafe { helper::bpf_get_current_pid_tgid() } >> 32) as u32
}

/// `CLOCK_BOOTTIME`, nanoseconds.
#[inline(always)]
pub fn boot_ns() -> u64 {
    // SAFETY: no preconditions.
    unsafe { helper::bpf_ktime_get_boot_ns() }
}
