//! Bounded reads of what a hook's arguments reach: fields, strings, the calling process.
//!
//! Every load goes through [`Ptr`], which the verifier tracks: a direct, fault-safe load from a
//! pointer whose type the kernel's BTF gives. What cannot be read is a [`Skip`], never a guess.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated as helper;
use krsi_host_abi::deny::{Digest, FileKey, ProcessKey};
use krsi_host_abi::record::{COMM_LEN, exec_flag};

use crate::offset::{self, Offset};

pub use crate::skip::Skip;

/// `TMPFS_MAGIC` of `include/uapi/linux/magic.h`.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// `HUGETLBFS_MAGIC` of `include/uapi/linux/magic.h`.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
/// `FUSE_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
const FUSE_MAGIC: u64 = 0x6573_5546;
/// `OVERLAYFS_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
const OVERLAY_MAGIC: u64 = 0x794c_7630;
/// `SB_I_NODEV` of `include/linux/fs.h`, which file systems have that a user namespace mounted.
const SB_I_NODEV: u64 = 1 << 2;
/// `SB_KERNMOUNT` of `include/linux/fs.h`: the kernel's own mount, where memfds live.
const SB_KERNMOUNT: u64 = 1 << 22;

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

    /// The value at an offset.
    #[inline(always)]
    pub fn load_at<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the verifier proves that this is a load inside the structure, or turns it into a
        // fault-safe one.
        unsafe { core::ptr::read_volatile(self.0.add(offset).cast::<T>()) }
    }

    /// The pointer `offset` bytes further.
    #[inline(always)]
    pub fn at(self, offset: usize) -> Self {
        // SAFETY: pointer arithmetic inside the structure; the verifier bounds it.
        Self(unsafe { self.0.add(offset) })
    }

    /// A pointer that the verifier takes for an argument's own.
    #[inline(always)]
    pub fn new(pointer: *const u8) -> Result<Self, Skip> {
        if pointer.is_null() { Err(Skip::Null) } else { Ok(Self(pointer)) }
    }

    /// The address that the pointer holds.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
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

/// The calling task, or what it points to: typed where the kernel gives it so, else an address.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

impl Task {
    /// The calling task.
    #[inline(always)]
    pub fn current() -> Result<Self, Skip> {
        // SAFETY: no preconditions; the helper that a kernel lacks stands in a branch that the
        // verifier knows is never taken there.
        let task = unsafe {
            if offset::task_btf() {
                helper::bpf_get_current_task_btf().cast::<u8>().cast_const()
            } else {
                helper::bpf_get_current_task() as *const u8
            }
        };
        if task.is_null() { Err(Skip::Null) } else { Ok(Self(task)) }
    }

    /// A task that a tracepoint hands over.
    #[inline(always)]
    pub fn of(task: Ptr) -> Self {
        Self(task.0)
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
        // SAFETY: pointer arithmetic inside the structure.
        Ok(Self(unsafe { self.0.add(offset) }))
    }

    /// A member's value; `T` has the member's size.
    #[inline(always)]
    pub fn load<T: Copy>(self, member: &Offset) -> Result<T, Skip> {
        self.load_at(member.get()?)
    }

    /// The pointer at an offset.
    #[inline(always)]
    pub fn ptr_at(self, offset: usize) -> Result<Self, Skip> {
        let pointer: *const u8 = self.load_at(offset)?;
        if pointer.is_null() { Err(Skip::Null) } else { Ok(Self(pointer)) }
    }

    /// The address of the task.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// Identity of the inode that the pointer at an offset leads to, as [`file_words`] has it.
    #[inline(always)]
    pub fn inode(self, offset: usize) -> Result<(u64, u64), Skip> {
        let inode = self.ptr_at(offset)?;
        let dev = inode.ptr(&offset::INODE_I_SB)?.load(&offset::SB_S_DEV)?;
        let generation = inode.load(&offset::INODE_I_GENERATION)?;
        let ino = inode.load(&offset::INODE_I_INO)?;
        Ok((ino, FileKey { ino, dev, generation }.place()))
    }

    /// The value at an offset.
    #[inline(always)]
    pub fn load_at<T: Copy>(self, offset: usize) -> Result<T, Skip> {
        if offset::task_btf() {
            // SAFETY: the verifier proves that this is a load inside the structure, or turns it into
            // a fault-safe one.
            Ok(unsafe { core::ptr::read_volatile(self.0.add(offset).cast::<T>()) })
        } else {
            probe(self.0 as u64 + offset as u64)
        }
    }
}

/// Reads kernel memory at an address that BTF gives no type for.
#[inline(always)]
pub fn probe<T: Copy>(address: u64) -> Result<T, Skip> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: `value` holds a `T`; the source is read fault-safe.
    let failed = unsafe {
        helper::bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        )
    };
    // SAFETY: the helper has written every byte, and `T` is plain data.
    if failed == 0 { Ok(unsafe { value.assume_init() }) } else { Err(Skip::Read) }
}

/// The process of a task: its group leader's start time makes the key unique.
#[inline(always)]
pub fn process_key(task: Task) -> Result<ProcessKey, Skip> {
    let leader = task.ptr_at(offset::TASK_GROUP_LEADER.vital())?;
    Ok(ProcessKey {
        start_boot_ns: leader.load_at(offset::TASK_START_BOOTTIME.vital())?,
        tgid: tgid_of(task)?,
        pad: 0,
    })
}

/// Writes a process into the file of an iterator. What finds no room is asked for again.
#[inline(always)]
pub fn write_key(file: Ptr, key: &ProcessKey) {
    // SAFETY: the kernel's own file, and a key of that many bytes.
    unsafe {
        helper::bpf_seq_write(file.raw(), (&raw const *key).cast(), size_of::<ProcessKey>() as u32);
    }
}

/// The process that a task is the first of; none for a further thread.
#[inline(always)]
pub fn forked(child: Ptr) -> Result<Option<ProcessKey>, Skip> {
    let tgid: u32 = child.load(&offset::TASK_TGID)?;
    let pid: u32 = child.load(&offset::TASK_PID)?;
    if tgid == pid { process_key(Task::of(child)).map(Some) } else { Ok(None) }
}

/// Thread group id of a task.
#[inline(always)]
pub fn tgid_of(task: Task) -> Result<u32, Skip> {
    task.load_at(offset::TASK_TGID.vital())
}

/// User id of a task in the initial user namespace (`cred->uid.val`).
#[inline(always)]
pub fn uid_of(task: Task) -> Result<u32, Skip> {
    task.ptr_at(offset::TASK_CRED.vital())?.load_at(offset::CRED_UID.vital())
}

/// Inode number of a task's mount namespace; 0 once the task has none.
#[inline(always)]
pub fn mount_ns(task: Task) -> u32 {
    let number = || {
        let namespace = task.ptr(&offset::TASK_NSPROXY)?.ptr(&offset::NSPROXY_MNT_NS)?;
        namespace.embedded(&offset::MNT_NAMESPACE_NS)?.load::<u32>(&offset::NS_COMMON_INUM)
    };
    number().unwrap_or(0)
}

/// Identity of an inode.
#[inline(always)]
pub fn file_key(inode: Ptr) -> Result<FileKey, Skip> {
    let dev = inode.ptr(&offset::INODE_I_SB)?.load(&offset::SB_S_DEV)?;
    let generation = inode.load(&offset::INODE_I_GENERATION)?;
    Ok(FileKey { ino: inode.load(&offset::INODE_I_INO)?, dev, generation })
}

/// Identity of an inode: its number, and its device and generation.
#[inline(always)]
pub fn file_words(inode: Ptr) -> Result<(u64, u64), Skip> {
    let key = file_key(inode)?;
    Ok((key.ino, key.place()))
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

/// Whether a user may stall who reads a file: who serves a FUSE file system can, and an overlay that an
/// unprivileged user mounted may lie on one.
#[inline(always)]
pub fn may_stall(inode: Ptr) -> Result<bool, Skip> {
    let sb = inode.ptr(&offset::INODE_I_SB)?;
    let magic: u64 = sb.load(&offset::SB_S_MAGIC)?;
    let flags: u64 = sb.load(&offset::SB_S_IFLAGS)?;
    Ok(magic == FUSE_MAGIC || magic == OVERLAY_MAGIC && flags & SB_I_NODEV != 0)
}

/// Copies a kernel string into `out`; its length without the NUL.
#[inline(always)]
pub fn text<const N: usize>(from: u64, out: *mut [u8; N]) -> Result<u16, Skip> {
    // SAFETY: the verifier checks that `out` holds N bytes; the source is read fault-safe.
    let len = unsafe { helper::bpf_probe_read_kernel_str(out.cast(), N as u32, from as *const _) };
    if len <= 0 { Err(Skip::Read) } else { Ok((len - 1) as u16) }
}

/// Copies at most N bytes of user memory from `start`, not beyond `end`; returns how many. A program
/// that may not sleep gets only what is resident. `zero` is 0, which the verifier does not know.
#[inline(always)]
pub fn user_bytes<const N: usize>(
    (start, end): (u64, u64),
    zero: u64,
    out: *mut [u8; N],
) -> Result<u16, Skip> {
    if end <= start {
        return Ok(0);
    }
    let room = end - start;
    // Xored, it is a number of its own: 6.1 carries no bound over to where the first is kept.
    let len = if room > N as u64 { N as u64 } else { room } ^ zero;
    if len > N as u64 {
        return Err(Skip::Read);
    }
    // SAFETY: `len` is at most N; a bad user address is an error, not a fault.
    let failed = unsafe {
        if offset::may_sleep() {
            helper::bpf_copy_from_user(out.cast(), len as u32, start as *const _)
        } else {
            helper::bpf_probe_read_user(out.cast(), len as u32, start as *const _)
        }
    };
    if failed == 0 { Ok(len as u16) } else { Err(Skip::Read) }
}

/// Copies `len` bytes, at most N, of kernel memory into `out`.
#[inline(always)]
pub fn copy<const N: usize>(from: u64, out: *mut [u8; N], len: u16) -> Result<(), Skip> {
    let len = if len as usize > N { N as u32 } else { u32::from(len) };
    // SAFETY: the verifier checks that `out` holds `len` bytes; the source is read fault-safe.
    let failed = unsafe { helper::bpf_probe_read_kernel(out.cast(), len, from as *const _) };
    if failed == 0 { Ok(()) } else { Err(Skip::Read) }
}

/// Copies all of a value that the caller lends.
#[inline(always)]
pub fn copy_all<T>(from: *const T, to: *mut T) {
    // SAFETY: both hold a `T`, and any bytes of the source are read fault-safe. It is mapped, so that
    // nothing fails.
    let _copied =
        unsafe { helper::bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, from.cast()) };
}

/// Writes a value into a reservation.
#[inline(always)]
pub fn put<T>(into: *mut T, value: T) {
    // SAFETY: `into` points into a live reservation.
    unsafe { into.write(value) };
}

/// Word `at` of a buffer whose address is a multiple of 8.
#[inline(always)]
pub fn word<const N: usize>(of: *const [u8; N], at: usize) -> u64 {
    if (at + 1) * 8 > N {
        return 0;
    }
    // SAFETY: `of` is a live reservation of N bytes, aligned to 8, and the word lies within it.
    unsafe { core::ptr::read_volatile(of.cast::<u64>().add(at)) }
}

/// Byte `at` of a buffer, below its length.
#[inline(always)]
pub fn byte<const N: usize>(of: *const [u8; N], at: usize) -> u8 {
    if at >= N {
        return 0;
    }
    // SAFETY: `of` is a live reservation or value of N bytes and `at` is below N.
    unsafe { core::ptr::read_volatile(of.cast::<u8>().add(at)) }
}

/// Writes the calling thread's name.
#[inline(always)]
pub fn comm(out: *mut [u8; COMM_LEN]) {
    // SAFETY: the verifier checks that `out` holds COMM_LEN bytes.
    unsafe { helper::bpf_get_current_comm(out.cast(), COMM_LEN as u32) };
}

/// Argument `N` as the verifier types it. Written out, because the compiler would merge the loads of
/// several into one from a computed address, which the verifier refuses for a context.
#[inline(always)]
pub fn argument<const N: usize>(ctx: *const u64) -> *const u8 {
    let argument;
    // SAFETY: the context of LSM and tracing programs is an array of u64 arguments.
    unsafe {
        core::arch::asm!(
            "{argument} = *(u64 *)({ctx} + {at})",
            argument = out(reg) argument,
            ctx = in(reg) ctx,
            at = const N * 8,
            options(pure, readonly, nostack),
        );
    }
    argument
}

/// The low half of a pointer, as a number that the verifier knows nothing about: only whoever may leak
/// pointers may have it (`is_pointer_value` in `kernel/bpf/verifier.c`), as the host may.
#[inline(always)]
pub fn low_half(pointer: *const u8) -> u64 {
    let low;
    // SAFETY: a register is copied into another.
    unsafe {
        core::arch::asm!(
            "w1 = w1",
            inout("r1") pointer => low,
            options(pure, nomem, nostack),
        );
    }
    low
}

/// Which of the first six arguments are 0, as bits. The verifier may take a pointer argument for
/// never NULL where it can be (`mmap_file`'s file): a number whose origin it does not know, it lets be
/// compared.
#[inline(never)]
pub fn nulls(ctx: *const u64, zero: u64) -> u32 {
    let zero = zero as u32;
    let Ok([a, b, c, d, e, f]) = probe::<[u64; 6]>(ctx as u64) else { return u32::MAX ^ zero };
    let bit = |value: u64, at: u32| if value == 0 { 1 << at } else { 0 } ^ zero;
    bit(a, 0) | bit(b, 1) | bit(c, 2) | bit(d, 3) | bit(e, 4) | bit(f, 5)
}

/// Id of the caller's cgroup in the unified hierarchy.
#[inline(always)]
pub fn cgroup_id() -> u64 {
    // SAFETY: no preconditions.
    unsafe { helper::bpf_get_current_cgroup_id() }
}

/// Id of the cgroup at a level above the caller's, its own at its level; 0 below.
#[inline(always)]
pub fn ancestor_cgroup_id(level: u32) -> u64 {
    // SAFETY: no preconditions.
    unsafe { helper::bpf_get_current_ancestor_cgroup_id(level as i32) }
}

/// Facts of the calling task that helpers give.
pub struct Caller {
    /// Thread id of the caller, in the initial pid namespace.
    pub tid: u32,
    /// User id of the caller, in the initial user namespace.
    pub uid: u32,
    /// Group id of the caller, in the initial user namespace.
    pub gid: u32,
    /// Id of its cgroup in the unified hierarchy.
    pub cgroup_id: u64,
    /// CPU it runs on.
    pub cpu: u32,
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
            cgroup_id: helper::bpf_get_current_cgroup_id(),
            cpu: helper::bpf_get_smp_processor_id() as u32,
        }
    }
}

/// The calling thread, in the initial pid namespace.
#[inline(always)]
pub fn pid_tgid() -> u64 {
    // SAFETY: no preconditions.
    unsafe { helper::bpf_get_current_pid_tgid() }
}

/// Address of the calling task, as a number.
#[inline(always)]
pub fn task_address() -> u64 {
    // SAFETY: no preconditions.
    unsafe { helper::bpf_get_current_task() }
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

/// Has a file hashed by IMA: the algorithm's number, or a negative errno. For programs that sleep.
#[inline(always)]
pub fn hash(file: Ptr, out: &mut Digest) -> i64 {
    // SAFETY: the file is the hook's own, `out` is as long as is said, and the verifier checks both.
    unsafe {
        helper::bpf_ima_file_hash(file.raw(), out.as_mut_ptr().cast(), size_of::<Digest>() as u32)
    }
}
