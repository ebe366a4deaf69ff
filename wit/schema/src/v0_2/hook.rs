//! The hooks of this contract, and sets of them.

use alloc::vec::Vec;

use super::call::FieldRow;
use super::record;
use crate::codec::{CodecError, Decode, Encode, Reader};

macro_rules! hooks {
    (
        bodies { $($(#[$body_doc:meta])* $body:ident = $body_id:literal, $body_name:literal;)* }
        calls { $($(#[$call_doc:meta])* $call:ident = $call_id:literal, $call_name:literal;)* }
    ) => {
        /// A hook of this contract; ids and names are the kernel contract's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Hook {
            $($(#[$body_doc])* $body = $body_id,)*
            $($(#[$call_doc])* $call = $call_id,)*
        }

        impl Hook {
            /// Every hook, in id order.
            pub const ALL: &'static [Hook] = &[$(Hook::$body,)* $(Hook::$call,)*];

            /// The hook with that id in this contract.
            #[must_use]
            pub const fn from_id(id: u16) -> Option<Hook> {
                match id {
                    $($body_id => Some(Hook::$body),)*
                    $($call_id => Some(Hook::$call),)*
                    _ => None,
                }
            }

            /// The kernel's name of the hook.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Hook::$body => $body_name,)*
                    $(Hook::$call => $call_name,)*
                }
            }

            /// The values of a [`super::Call`] of this hook, in order; none for a hook with a body
            /// of its own.
            #[must_use]
            pub const fn fields(self) -> &'static [FieldRow] {
                match self {
                    $(Hook::$body => &[],)*
                    $(Hook::$call => record::$call::FIELDS,)*
                }
            }

            /// Whether its events are a [`super::Call`].
            #[must_use]
            pub const fn is_call(self) -> bool {
                match self {
                    $(Hook::$body => false,)*
                    $(Hook::$call => true,)*
                }
            }
        }
    };
}

hooks! {
bodies {
    /// An executable is about to run, once per interpreter level; argv is not readable yet.
    BprmCheckSecurity = 1, "bprm_check_security";
    /// An exec that succeeded.
    BprmCommittedCreds = 2, "bprm_committed_creds";
    /// A file is being opened.
    FileOpen = 3, "file_open";
    /// A socket is being connected.
    SocketConnect = 4, "socket_connect";
    /// A process was created.
    SchedProcessFork = 5, "sched_process_fork";
    /// A process ended.
    SchedProcessExit = 6, "sched_process_exit";
}
calls {
    /// An exec was asked for; its file is open.
    BprmCredsForExec = 7, "bprm_creds_for_exec";
    /// The credentials that a file's mode and capabilities give.
    BprmCredsFromFile = 8, "bprm_creds_from_file";
    /// The point of no return of an exec.
    BprmCommittingCreds = 9, "bprm_committing_creds";
    /// Each read and write of an open file.
    FilePermission = 10, "file_permission";
    /// A mapping is made; anonymous ones have no file.
    MmapFile = 11, "mmap_file";
    /// The protection of a mapping is changed.
    FileMprotect = 12, "file_mprotect";
    /// A name is removed.
    PathUnlink = 13, "path_unlink";
    /// A name is moved.
    PathRename = 14, "path_rename";
    /// A folder is made; a file key is that of its parent.
    PathMkdir = 15, "path_mkdir";
    /// A folder is removed.
    PathRmdir = 16, "path_rmdir";
    /// A symbolic link is made; a file key is that of its parent.
    PathSymlink = 17, "path_symlink";
    /// A hard link is made.
    PathLink = 18, "path_link";
    /// Permission bits are changed.
    PathChmod = 19, "path_chmod";
    /// Owner or group is changed.
    PathChown = 20, "path_chown";
    /// A file is cut by its name.
    PathTruncate = 21, "path_truncate";
    /// A file, device, pipe or socket is made; a file key is that of its parent.
    PathMknod = 22, "path_mknod";
    /// As `path_unlink`, without the mount.
    InodeUnlink = 23, "inode_unlink";
    /// As `path_rename`, without the mount.
    InodeRename = 24, "inode_rename";
    /// As `path_mkdir`, without the mount.
    InodeMkdir = 25, "inode_mkdir";
    /// As `path_rmdir`, without the mount.
    InodeRmdir = 26, "inode_rmdir";
    /// As `path_symlink`, without the mount.
    InodeSymlink = 27, "inode_symlink";
    /// As `path_link`, without the mount.
    InodeLink = 28, "inode_link";
    /// As `path_chmod`, `path_chown` and `path_truncate`, without the mount.
    InodeSetattr = 29, "inode_setattr";
    /// As `path_mknod`, without the mount.
    InodeMknod = 30, "inode_mknod";
    /// An extended attribute is set.
    InodeSetxattr = 31, "inode_setxattr";
    /// A socket is made.
    SocketCreate = 32, "socket_create";
    /// A socket is given a local address.
    SocketBind = 33, "socket_bind";
    /// A socket is to accept connections.
    SocketListen = 34, "socket_listen";
    /// A connection is accepted.
    SocketAccept = 35, "socket_accept";
    /// Data is sent; the address is the message's own, if it has one.
    SocketSendmsg = 36, "socket_sendmsg";
    /// A process wants to look into another one.
    PtraceAccessCheck = 37, "ptrace_access_check";
    /// A process asks its parent to trace it.
    PtraceTraceme = 38, "ptrace_traceme";
    /// A signal is sent.
    TaskKill = 39, "task_kill";
    /// User ids are changed.
    TaskFixSetuid = 40, "task_fix_setuid";
    /// Capabilities are changed.
    Capset = 41, "capset";
    /// A capability is used; very frequent.
    Capable = 42, "capable";
    /// The kernel reads a module, firmware, a kexec image or a policy from a file.
    KernelReadFile = 43, "kernel_read_file";
    /// The kernel loads a module or kexec image from memory.
    KernelLoadData = 44, "kernel_load_data";
    /// The kernel asks user space for a module.
    KernelModuleRequest = 45, "kernel_module_request";
    /// Bpf(2) is called.
    Bpf = 46, "bpf";
    /// A descriptor of a BPF program is made.
    BpfProg = 47, "bpf_prog";
    /// A descriptor of a BPF map is made.
    BpfMap = 48, "bpf_map";
    /// Perf_event_open(2) is called.
    PerfEventOpen = 49, "perf_event_open";
    /// Mount(2) is called.
    SbMount = 50, "sb_mount";
    /// Umount(2) is called.
    SbUmount = 51, "sb_umount";
    /// A mount is moved, by move_mount(2) too.
    MoveMount = 52, "move_mount";
    /// Pivot_root(2) is called.
    SbPivotroot = 53, "sb_pivotroot";
    /// A user namespace is made.
    UsernsCreate = 54, "userns_create";
    /// Something that lockdown guards is wanted.
    LockedDown = 55, "locked_down";
    /// The clock is set.
    Settime = 56, "settime";
    /// The kernel's log is read or cleared.
    Syslog = 57, "syslog";
    /// A key is made.
    KeyAlloc = 58, "key_alloc";
    /// A key is used.
    KeyPermission = 59, "key_permission";
    /// A System V IPC object is used.
    IpcPermission = 60, "ipc_permission";
    /// Shared memory is attached.
    ShmShmat = 61, "shm_shmat";
    /// A message is sent to a queue.
    MsgQueueMsgsnd = 62, "msg_queue_msgsnd";
    /// Semaphores are operated.
    SemSemop = 63, "sem_semop";
    /// A task is made; it has no pid yet.
    TaskAlloc = 64, "task_alloc";
    /// A task's memory goes, late.
    TaskFree = 65, "task_free";
    /// An io_uring request runs under other credentials.
    UringOverrideCreds = 66, "uring_override_creds";
    /// An io_uring wants a polling thread.
    UringSqpoll = 67, "uring_sqpoll";
    /// An io_uring command of a driver.
    UringCmd = 68, "uring_cmd";
}
}

impl Hook {
    /// The hook with that kernel name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Hook> {
        Self::all().find(|hook| hook.name() == name)
    }

    /// Every hook, in id order.
    pub fn all() -> impl Iterator<Item = Hook> {
        Self::ALL.iter().copied()
    }
}

/// A set of hooks: bit `n` is the hook with id `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HookSet(pub u128);

/// Bytes of the bits, without zeros at the end, so that there can be more hooks than bits here.
impl Encode for HookSet {
    fn encode(&self, out: &mut Vec<u8>) {
        let bytes = self.0.to_le_bytes();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.get(..used).unwrap_or_default().encode(out);
    }
}

impl Decode<'_> for HookSet {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut bits = 0;
        for (at, byte) in (0u32..).zip(alloc::borrow::Cow::<[u8]>::decode(from)?.iter()) {
            if at < u128::BITS / 8 {
                bits |= u128::from(*byte) << (8 * at);
            } else if *byte != 0 {
                let number = u64::from(8 * at + byte.trailing_zeros());
                return Err(CodecError::Unknown { what: "hook", number });
            }
        }
        Ok(HookSet(bits))
    }
}

impl HookSet {
    /// The set with `hook` added.
    #[must_use]
    pub const fn with(self, hook: Hook) -> Self {
        Self(self.0 | 1 << (hook as u16))
    }

    /// Whether `hook` is in the set.
    #[must_use]
    pub const fn contains(self, hook: Hook) -> bool {
        self.0 & 1 << (hook as u16) != 0
    }

    /// Whether no hook is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The hooks of the set, in id order. Bits that name no hook are left out.
    pub fn iter(self) -> impl Iterator<Item = Hook> {
        Hook::all().filter(move |hook| self.contains(*hook))
    }

    /// Whether every bit of the set names a hook of this contract.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.iter().fold(HookSet::default(), HookSet::with) == self
    }
}

impl FromIterator<Hook> for HookSet {
    fn from_iter<I: IntoIterator<Item = Hook>>(hooks: I) -> Self {
        hooks.into_iter().fold(Self::default(), Self::with)
    }
}
