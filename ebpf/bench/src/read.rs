//! Reads of what a hook's arguments reach, at offsets that the driver freezes.
//!
//! Offsets are those of `krsi_host_abi::capture`, and the members of `struct vm_area_struct` that
//! the driver resolves itself. The driver refuses a kernel that lacks one.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{path as kernel_path, task_struct};
use aya_ebpf::helpers::generated as helper;
use krsi_host_abi::deny::{FileKey, ProcessKey};
use krsi_host_abi::for_each_offset;
use krsi_host_abi::record::COMM_LEN;

/// An offset global.
pub struct Offset(&'static u32);

macro_rules! define {
    ($($name:ident)*) => {
        mod global {
            $(#[unsafe(no_mangle)] pub static $name: u32 = 0;)*
            #[unsafe(no_mangle)] pub static VMA_VM_START: u32 = 0;
            #[unsafe(no_mangle)] pub static VMA_VM_END: u32 = 0;
            #[unsafe(no_mangle)] pub static VMA_VM_FLAGS: u32 = 0;
            #[unsafe(no_mangle)] pub static VMA_VM_FILE: u32 = 0;
        }
        /// Offsets in types of the kernel's, a constant for each.
        #[allow(dead_code, reason = "the table serves ours; the baselines read a part")]
        pub mod offset {
            use super::{Offset, global};
            $(pub const $name: Offset = Offset(&global::$name);)*
            pub const VMA_VM_START: Offset = Offset(&global::VMA_VM_START);
            pub const VMA_VM_END: Offset = Offset(&global::VMA_VM_END);
            pub const VMA_VM_FLAGS: Offset = Offset(&global::VMA_VM_FLAGS);
            pub const VMA_VM_FILE: Offset = Offset(&global::VMA_VM_FILE);
        }
    };
}
for_each_offset!(define);

/// A kernel pointer that is not NULL.
#[derive(Clone, Copy)]
pub struct Ptr(*const u8);

impl Ptr {
    /// Argument `N` of the hook.
    #[inline(always)]
    pub fn arg<const N: usize>(ctx: &impl EbpfContext) -> Option<Self> {
        // SAFETY: the context of an LSM program is an array of u64 arguments.
        let pointer = unsafe { *ctx.as_ptr().cast::<*const u8>().add(N) };
        if pointer.is_null() { None } else { Some(Self(pointer)) }
    }

    /// The pointer in a member.
    #[inline(always)]
    pub fn ptr(self, member: &Offset) -> Option<Self> {
        let pointer: *const u8 = self.load(member);
        if pointer.is_null() { None } else { Some(Self(pointer)) }
    }

    /// The address of an embedded structure.
    #[inline(always)]
    pub fn embedded(self, member: &Offset) -> Self {
        // SAFETY: pointer arithmetic inside the structure, and a frozen global.
        Self(unsafe { self.0.add(core::ptr::read_volatile(member.0) as usize) })
    }

    /// A member's value; `T` has the member's size.
    #[inline(always)]
    pub fn load<T: Copy>(self, member: &Offset) -> T {
        // SAFETY: the verifier proves that this is a load inside the structure.
        unsafe { core::ptr::read_volatile(self.embedded(member).0.cast::<T>()) }
    }
}

/// Argument `N` as a number.
#[inline(always)]
pub fn number<const N: usize>(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: the context of an LSM program is an array of u64 arguments.
    unsafe { *ctx.as_ptr().cast::<u64>().add(N) }
}

/// The calling task.
#[inline(always)]
pub fn current() -> Option<Ptr> {
    // SAFETY: no preconditions.
    let task: *mut task_struct = unsafe { helper::bpf_get_current_task_btf() };
    if task.is_null() { None } else { Some(Ptr(task.cast())) }
}

/// The process of a task.
#[inline(always)]
pub fn process_key(task: Ptr) -> Option<ProcessKey> {
    let leader = task.ptr(&offset::TASK_GROUP_LEADER)?;
    Some(ProcessKey {
        start_boot_ns: leader.load(&offset::TASK_START_BOOTTIME),
        tgid: task.load(&offset::TASK_TGID),
        pad: 0,
    })
}

/// Inode number of a task's mount namespace.
#[inline(always)]
pub fn mount_ns(task: Ptr) -> Option<u32> {
    let namespace = task.ptr(&offset::TASK_NSPROXY)?.ptr(&offset::NSPROXY_MNT_NS)?;
    Some(namespace.embedded(&offset::MNT_NAMESPACE_NS).load(&offset::NS_COMMON_INUM))
}

/// Identity of a file.
#[inline(always)]
pub fn file_key(file: Ptr) -> Option<FileKey> {
    let inode = file.ptr(&offset::FILE_F_INODE)?;
    let dev = inode.ptr(&offset::INODE_I_SB)?.load(&offset::SB_S_DEV);
    let generation = inode.load(&offset::INODE_I_GENERATION);
    Some(FileKey { ino: inode.load(&offset::INODE_I_INO), dev, generation })
}

/// Writes the path of a file into `out`; its length with the NUL, or a negative errno.
#[inline(always)]
pub fn path<const N: usize>(file: Ptr, out: *mut [u8; N]) -> i64 {
    let path = file.embedded(&offset::FILE_F_PATH);
    // SAFETY: the verifier checks that `out` holds N bytes and that `path` is a `struct path`.
    unsafe {
        let path: *const kernel_path = path.0.cast();
        helper::bpf_d_path(path.cast_mut(), out.cast(), N as u32)
    }
}

/// The first 16 bytes of a socket address: all of IPv4's.
#[inline(always)]
pub fn address(from: Ptr) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    // SAFETY: `out` holds 16 bytes; the source is read fault-safe.
    let failed =
        unsafe { helper::bpf_probe_read_kernel(out.as_mut_ptr().cast(), 16, from.0.cast()) };
    if failed == 0 { Some(out) } else { None }
}

/// Facts about the caller that helpers give.
pub struct Caller {
    /// Thread id.
    pub tid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Number of the CPU.
    pub cpu: u32,
    /// Cgroup id.
    pub cgroup_id: u64,
    /// Time since boot.
    pub boot_ns: u64,
}

/// Asks the helpers about the caller.
#[inline(always)]
pub fn caller() -> Caller {
    // SAFETY: no preconditions.
    unsafe {
        let owner = helper::bpf_get_current_uid_gid();
        Caller {
            tid: helper::bpf_get_current_pid_tgid() as u32,
            uid: owner as u32,
            gid: (owner >> 32) as u32,
            cpu: helper::bpf_get_smp_processor_id() as u32,
            cgroup_id: helper::bpf_get_current_cgroup_id(),
            boot_ns: helper::bpf_ktime_get_boot_ns(),
        }
    }
}

/// Writes the thread's name.
#[inline(always)]
pub fn comm(out: *mut [u8; COMM_LEN]) {
    // SAFETY: `out` holds as many bytes as are asked for.
    unsafe { helper::bpf_get_current_comm(out.cast(), COMM_LEN as u32) };
}
