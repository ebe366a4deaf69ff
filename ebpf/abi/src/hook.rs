//! The hook table: id, kernel name, backend, body and the deny keys that apply to each hook.
//!
//! Ids are never reused. Names are those of `include/linux/lsm_hook_defs.h` or, for tracepoints,
//! of `include/trace/events/sched.h`.

/// How a program is attached to its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// LSM hook that can refuse: its errno is the system call's answer.
    LsmDeny,
    /// LSM hook whose return value the kernel ignores (a void hook); may sleep.
    LsmObserve,
    /// Typed tracepoint (`tp_btf`): observe only.
    Tracepoint,
}

/// Which keys of the deny maps a hook looks up, in verdict order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys(u32);

impl Keys {
    /// No key: the hook cannot deny.
    pub const NONE: Keys = Keys(0);
    /// Process and lineage of the caller.
    pub const SUBJECT: Keys = Keys(1);
    /// Subject, then the file's (device, inode).
    pub const FILE: Keys = Keys(1 | 2);
    /// Subject, then network prefix and port.
    pub const NETWORK: Keys = Keys(1 | 4);
    /// Subject, then the digest of an executable.
    pub const DIGEST: Keys = Keys(1 | 8);
    /// Both what a file is and what its digest is.
    pub const IMAGE: Keys = Keys(1 | 2 | 8);

    /// True when `self` covers all of `other`.
    #[must_use]
    pub const fn contains(self, other: Keys) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A row of the table of hooks.
#[derive(Clone, Copy, Debug)]
pub struct HookRow {
    /// The hook of this row.
    pub hook: Hook,
    /// The kernel's name of it.
    pub name: &'static str,
    /// Kind of program that is attached to the hook.
    pub attach: Attach,
    /// Deny keys that apply.
    pub keys: Keys,
}

macro_rules! hooks {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $attach:ident, $keys:ident;)*) => {
        /// A hook the host knows by type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Hook { $($(#[$doc])* $variant = $id,)* }

        /// Every hook, in id order.
        pub const HOOKS: &[HookRow] = &[
            $(HookRow { hook: Hook::$variant, name: $name, attach: Attach::$attach, keys: Keys::$keys },)*
        ];

        impl Hook {
            /// The hook with that id, if this version knows it.
            #[must_use]
            pub const fn from_id(id: u16) -> Option<Hook> {
                match id { $($id => Some(Hook::$variant),)* _ => None }
            }

            /// The row of this hook.
            #[must_use]
            pub const fn row(self) -> HookRow {
                match self {
                    $(Hook::$variant => HookRow { hook: self, name: $name, attach: Attach::$attach, keys: Keys::$keys },)*
                }
            }
        }
    };
}

hooks! {
    /// `security_bprm_check`: an executable is about to run; once per interpreter level.
    BprmCheckSecurity = 1, "bprm_check_security", LsmDeny, IMAGE;
    /// `security_bprm_committed_creds`: the exec that succeeded; argv is readable.
    BprmCommittedCreds = 2, "bprm_committed_creds", LsmObserve, NONE;
    /// `security_file_open`: after path look-up and mode bits.
    FileOpen = 3, "file_open", LsmDeny, FILE;
    /// `security_socket_connect`: before the protocol sees the address.
    SocketConnect = 4, "socket_connect", LsmDeny, NETWORK;
    /// `sched_process_fork`: runs before the child is woken.
    SchedProcessFork = 5, "sched_process_fork", Tracepoint, NONE;
    /// `sched_process_exit`: reported for the last thread of a process.
    SchedProcessExit = 6, "sched_process_exit", Tracepoint, NONE;
    /// `security_bprm_creds_for_exec`: an exec was asked for; its file is open.
    BprmCredsForExec = 7, "bprm_creds_for_exec", LsmDeny, FILE;
    /// `security_bprm_creds_from_file`: the credentials that a file's mode and capabilities give.
    BprmCredsFromFile = 8, "bprm_creds_from_file", LsmDeny, FILE;
    /// `security_bprm_committing_creds`: the point of no return of an exec.
    BprmCommittingCreds = 9, "bprm_committing_creds", LsmObserve, NONE;
    /// `security_file_permission`: each read and write of an open file.
    FilePermission = 10, "file_permission", LsmDeny, FILE;
    /// `security_mmap_file`: a mapping is made; anonymous ones have no file.
    MmapFile = 11, "mmap_file", LsmDeny, FILE;
    /// `security_file_mprotect`: the protection of a mapping is changed.
    FileMprotect = 12, "file_mprotect", LsmDeny, FILE;
    /// `security_path_unlink`: a name is removed.
    PathUnlink = 13, "path_unlink", LsmDeny, FILE;
    /// `security_path_rename`: a name is moved.
    PathRename = 14, "path_rename", LsmDeny, FILE;
    /// `security_path_mkdir`: a folder is made; the key is its parent's.
    PathMkdir = 15, "path_mkdir", LsmDeny, FILE;
    /// `security_path_rmdir`: a folder is removed.
    PathRmdir = 16, "path_rmdir", LsmDeny, FILE;
    /// `security_path_symlink`: a symbolic link is made; the key is its parent's.
    PathSymlink = 17, "path_symlink", LsmDeny, FILE;
    /// `security_path_link`: a hard link is made.
    PathLink = 18, "path_link", LsmDeny, FILE;
    /// `security_path_chmod`: permission bits are changed.
    PathChmod = 19, "path_chmod", LsmDeny, FILE;
    /// `security_path_chown`: owner or group is changed.
    PathChown = 20, "path_chown", LsmDeny, FILE;
    /// `security_path_truncate`: a file is cut by its name.
    PathTruncate = 21, "path_truncate", LsmDeny, FILE;
    /// `security_path_mknod`: a file, device, pipe or socket is made; the key is its parent's.
    PathMknod = 22, "path_mknod", LsmDeny, FILE;
    /// `security_inode_unlink`: as path_unlink, without the mount.
    InodeUnlink = 23, "inode_unlink", LsmDeny, FILE;
    /// `security_inode_rename`: as path_rename, without the mount.
    InodeRename = 24, "inode_rename", LsmDeny, FILE;
    /// `security_inode_mkdir`: as path_mkdir, without the mount.
    InodeMkdir = 25, "inode_mkdir", LsmDeny, FILE;
    /// `security_inode_rmdir`: as path_rmdir, without the mount.
    InodeRmdir = 26, "inode_rmdir", LsmDeny, FILE;
    /// `security_inode_symlink`: as path_symlink, without the mount.
    InodeSymlink = 27, "inode_symlink", LsmDeny, FILE;
    /// `security_inode_link`: as path_link, without the mount.
    InodeLink = 28, "inode_link", LsmDeny, FILE;
    /// `security_inode_setattr`: as path_chmod, path_chown and path_truncate, without the mount.
    InodeSetattr = 29, "inode_setattr", LsmDeny, FILE;
    /// `security_inode_mknod`: as path_mknod, without the mount.
    InodeMknod = 30, "inode_mknod", LsmDeny, FILE;
    /// `security_inode_setxattr`: an extended attribute is set.
    InodeSetxattr = 31, "inode_setxattr", LsmDeny, FILE;
    /// `security_socket_create`: a socket is made.
    SocketCreate = 32, "socket_create", LsmDeny, SUBJECT;
    /// `security_socket_bind`: a socket is given a local address.
    SocketBind = 33, "socket_bind", LsmDeny, NETWORK;
    /// `security_socket_listen`: a socket is to accept connections.
    SocketListen = 34, "socket_listen", LsmDeny, SUBJECT;
    /// `security_socket_accept`: a connection is accepted.
    SocketAccept = 35, "socket_accept", LsmDeny, SUBJECT;
    /// `security_socket_sendmsg`: data is sent; the address is the message's own, or the socket's peer.
    SocketSendmsg = 36, "socket_sendmsg", LsmDeny, NETWORK;
    /// `security_ptrace_access_check`: a process wants to look into another one.
    PtraceAccessCheck = 37, "ptrace_access_check", LsmDeny, SUBJECT;
    /// `security_ptrace_traceme`: a process asks its parent to trace it.
    PtraceTraceme = 38, "ptrace_traceme", LsmDeny, SUBJECT;
    /// `security_task_kill`: a signal is sent.
    TaskKill = 39, "task_kill", LsmDeny, SUBJECT;
    /// `security_task_fix_setuid`: user ids are changed.
    TaskFixSetuid = 40, "task_fix_setuid", LsmDeny, SUBJECT;
    /// `security_capset`: capabilities are changed.
    Capset = 41, "capset", LsmDeny, SUBJECT;
    /// `security_capable`: a capability is used; very frequent.
    Capable = 42, "capable", LsmDeny, SUBJECT;
    /// `security_kernel_read_file`: the kernel reads a module, firmware, a kexec image or a policy from a file.
    KernelReadFile = 43, "kernel_read_file", LsmDeny, FILE;
    /// `security_kernel_load_data`: the same from memory.
    KernelLoadData = 44, "kernel_load_data", LsmDeny, SUBJECT;
    /// `security_kernel_module_request`: the kernel asks user space for a module.
    KernelModuleRequest = 45, "kernel_module_request", LsmDeny, SUBJECT;
    /// `security_bpf`: bpf(2) is called.
    Bpf = 46, "bpf", LsmDeny, SUBJECT;
    /// `security_bpf_prog`: a descriptor of a BPF program is made.
    BpfProg = 47, "bpf_prog", LsmDeny, SUBJECT;
    /// `security_bpf_map`: a descriptor of a BPF map is made.
    BpfMap = 48, "bpf_map", LsmDeny, SUBJECT;
    /// `security_perf_event_open`: perf_event_open(2) is called.
    PerfEventOpen = 49, "perf_event_open", LsmDeny, SUBJECT;
    /// `security_sb_mount`: mount(2) is called.
    SbMount = 50, "sb_mount", LsmDeny, SUBJECT;
    /// `security_sb_umount`: umount(2) is called.
    SbUmount = 51, "sb_umount", LsmDeny, SUBJECT;
    /// `security_move_mount`: a mount is moved, by move_mount(2) too.
    MoveMount = 52, "move_mount", LsmDeny, SUBJECT;
    /// `security_sb_pivotroot`: pivot_root(2) is called.
    SbPivotroot = 53, "sb_pivotroot", LsmDeny, SUBJECT;
    /// `security_create_user_ns`: a user namespace is made.
    UsernsCreate = 54, "userns_create", LsmDeny, SUBJECT;
    /// `security_locked_down`: something that lockdown guards is wanted.
    LockedDown = 55, "locked_down", LsmDeny, SUBJECT;
    /// `security_settime64`: the clock is set.
    Settime = 56, "settime", LsmDeny, SUBJECT;
    /// `security_syslog`: the kernel's log is read or cleared.
    Syslog = 57, "syslog", LsmDeny, SUBJECT;
    /// `security_key_alloc`: a key is made.
    KeyAlloc = 58, "key_alloc", LsmDeny, SUBJECT;
    /// `security_key_permission`: a key is used.
    KeyPermission = 59, "key_permission", LsmDeny, SUBJECT;
    /// `security_ipc_permission`: a System V IPC object is used.
    IpcPermission = 60, "ipc_permission", LsmDeny, SUBJECT;
    /// `security_shm_shmat`: shared memory is attached.
    ShmShmat = 61, "shm_shmat", LsmDeny, SUBJECT;
    /// `security_msg_queue_msgsnd`: a message is sent to a queue.
    MsgQueueMsgsnd = 62, "msg_queue_msgsnd", LsmDeny, SUBJECT;
    /// `security_sem_semop`: semaphores are operated.
    SemSemop = 63, "sem_semop", LsmDeny, SUBJECT;
    /// `security_task_alloc`: a task is made; it has no pid yet.
    TaskAlloc = 64, "task_alloc", LsmDeny, SUBJECT;
    /// `security_task_free`: a task's memory goes, late.
    TaskFree = 65, "task_free", LsmObserve, NONE;
    /// `security_uring_override_creds`: an io_uring request runs under other credentials.
    UringOverrideCreds = 66, "uring_override_creds", LsmDeny, SUBJECT;
    /// `security_uring_sqpoll`: an io_uring wants a polling thread.
    UringSqpoll = 67, "uring_sqpoll", LsmDeny, SUBJECT;
    /// `security_uring_cmd`: an io_uring command of a driver.
    UringCmd = 68, "uring_cmd", LsmDeny, SUBJECT;
}

/// Slots of every array that is indexed by hook id.
pub const HOOK_SLOTS: usize = 256;
/// First slot of a watch: a hook that the host knows only from the running kernel's BTF.
pub const WATCH_FIRST: u16 = 128;

impl Hook {
    /// The id that records and maps carry.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The kernel's name of the hook.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// This hook's bit in a lease's hook mask.
    #[must_use]
    pub const fn bit(self) -> u128 {
        1 << self.id()
    }

    /// Whether its program is an instance of the template, and its record a [`crate::record::Call`].
    #[must_use]
    pub const fn is_call(self) -> bool {
        self.id() > 6
    }

    /// Whether rules on paths apply: it is about a file whose path can be told.
    #[must_use]
    pub const fn has_path(self) -> bool {
        matches!(
            self,
            Hook::BprmCheckSecurity
                | Hook::FileOpen
                | Hook::BprmCredsForExec
                | Hook::BprmCredsFromFile
                | Hook::FilePermission
                | Hook::MmapFile
                | Hook::FileMprotect
                | Hook::PathUnlink
                | Hook::PathRename
                | Hook::PathMkdir
                | Hook::PathRmdir
                | Hook::PathSymlink
                | Hook::PathLink
                | Hook::PathChmod
                | Hook::PathChown
                | Hook::PathTruncate
                | Hook::PathMknod
                | Hook::KernelReadFile
        )
    }

    /// The hook with that kernel name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Hook> {
        HOOKS.iter().find(|row| row.name == name).map(|row| row.hook)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::too_many_lines, reason = "the table of all hooks")]
    fn ids_are_pinned_unique_and_fit_their_arrays() {
        let ids: [(u16, &str); 6] = [
            (1, "bprm_check_security"),
            (2, "bprm_committed_creds"),
            (3, "file_open"),
            (4, "socket_connect"),
            (5, "sched_process_fork"),
            (6, "sched_process_exit"),
        ];
        let calls: [&str; 62] = [
            "bprm_creds_for_exec",
            "bprm_creds_from_file",
            "bprm_committing_creds",
            "file_permission",
            "mmap_file",
            "file_mprotect",
            "path_unlink",
            "path_rename",
            "path_mkdir",
            "path_rmdir",
            "path_symlink",
            "path_link",
            "path_chmod",
            "path_chown",
            "path_truncate",
            "path_mknod",
            "inode_unlink",
            "inode_rename",
            "inode_mkdir",
            "inode_rmdir",
            "inode_symlink",
            "inode_link",
            "inode_setattr",
            "inode_mknod",
            "inode_setxattr",
            "socket_create",
            "socket_bind",
            "socket_listen",
            "socket_accept",
            "socket_sendmsg",
            "ptrace_access_check",
            "ptrace_traceme",
            "task_kill",
            "task_fix_setuid",
            "capset",
            "capable",
            "kernel_read_file",
            "kernel_load_data",
            "kernel_module_request",
            "bpf",
            "bpf_prog",
            "bpf_map",
            "perf_event_open",
            "sb_mount",
            "sb_umount",
            "move_mount",
            "sb_pivotroot",
            "userns_create",
            "locked_down",
            "settime",
            "syslog",
            "key_alloc",
            "key_permission",
            "ipc_permission",
            "shm_shmat",
            "msg_queue_msgsnd",
            "sem_semop",
            "task_alloc",
            "task_free",
            "uring_override_creds",
            "uring_sqpoll",
            "uring_cmd",
        ];
        let calls = (7..).zip(calls);
        let ids: std::vec::Vec<(u16, &str)> = ids.into_iter().chain(calls).collect();
        assert_eq!(HOOKS.len(), ids.len());
        for (row, (id, name)) in HOOKS.iter().zip(ids) {
            assert_eq!((row.hook.id(), row.name), (id, name));
            assert!(id < WATCH_FIRST && row.hook.is_call() == (id > 6));
            assert_eq!(Hook::from_id(id), Some(row.hook));
            assert_eq!(Hook::from_name(name), Some(row.hook));
        }
        assert_eq!(Hook::from_id(0), None);
    }
}
