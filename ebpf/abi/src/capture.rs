//! Names of the frozen offsets: which structure member each read-only global of the object stands for.
//!
//! The host resolves them from the running kernel's BTF. A member that a kernel lacks is
//! [`ABSENT`]: the programs test for it and the verifier drops the dead branch.

/// Value of an offset that this kernel does not have; never a usable offset.
pub const ABSENT: u32 = u32::MAX;

/// One offset: the global in the object, the structure, the member.
#[derive(Clone, Copy, Debug)]
pub struct Offset {
    /// Symbol of the read-only global.
    pub global: &'static str,
    /// Kernel structure.
    pub structure: &'static str,
    /// Member; members of anonymous structs and unions count as the structure's own.
    pub member: &'static str,
}

macro_rules! offsets {
    ($($global:ident = $structure:literal . $member:literal;)*) => {
        /// Every offset that the object reads.
        pub const OFFSETS: &[Offset] = &[
            $(Offset { global: stringify!($global), structure: $structure, member: $member },)*
        ];

        /// Calls `$with!` with the names of all globals, to define them in the object.
        #[macro_export]
        macro_rules! for_each_offset {
            ($with:ident) => { $with! { $($global)* } };
        }
    };
}

offsets! {
    TASK_TGID = "task_struct"."tgid";
    TASK_PID = "task_struct"."pid";
    TASK_GROUP_LEADER = "task_struct"."group_leader";
    TASK_REAL_PARENT = "task_struct"."real_parent";
    TASK_START_BOOTTIME = "task_struct"."start_boottime";
    TASK_SIGNAL = "task_struct"."signal";
    TASK_EXIT_CODE = "task_struct"."exit_code";
    TASK_NSPROXY = "task_struct"."nsproxy";
    TASK_CRED = "task_struct"."cred";
    CRED_UID = "cred"."uid";
    NSPROXY_MNT_NS = "nsproxy"."mnt_ns";
    MNT_NAMESPACE_NS = "mnt_namespace"."ns";
    NS_COMMON_INUM = "ns_common"."inum";
    SIGNAL_LIVE = "signal_struct"."live";
    BPRM_FILE = "linux_binprm"."file";
    BPRM_P = "linux_binprm"."p";
    BPRM_EXEC = "linux_binprm"."exec";
    BPRM_ARGC = "linux_binprm"."argc";
    FILE_F_PATH = "file"."f_path";
    FILE_F_INODE = "file"."f_inode";
    FILE_F_FLAGS = "file"."f_flags";
    PATH_DENTRY = "path"."dentry";
    PATH_MNT = "path"."mnt";
    VFSMOUNT_MNT_ROOT = "vfsmount"."mnt_root";
    MOUNT_MNT = "mount"."mnt";
    MOUNT_MNT_PARENT = "mount"."mnt_parent";
    MOUNT_MNT_MOUNTPOINT = "mount"."mnt_mountpoint";
    DENTRY_D_PARENT = "dentry"."d_parent";
    DENTRY_D_NAME = "dentry"."d_name";
    QSTR_NAME = "qstr"."name";
    INODE_I_INO = "inode"."i_ino";
    INODE_I_SB = "inode"."i_sb";
    INODE_I_GENERATION = "inode"."i_generation";
    INODE_I_NLINK = "inode"."i_nlink";
    INODE_I_MODE = "inode"."i_mode";
    INODE_I_SIZE = "inode"."i_size";
    SB_S_DEV = "super_block"."s_dev";
    SB_S_MAGIC = "super_block"."s_magic";
    SB_S_FLAGS = "super_block"."s_flags";
    SB_S_IFLAGS = "super_block"."s_iflags";
    SOCKET_SK = "socket"."sk";
    SOCKET_TYPE = "socket"."type";
    SOCK_SK_PROTOCOL = "sock"."sk_protocol";
}

/// Offsets that every program needs, to know whose call it is: a kernel without one takes none.
pub const VITAL: [&str; 5] =
    ["TASK_TGID", "TASK_GROUP_LEADER", "TASK_START_BOOTTIME", "TASK_CRED", "CRED_UID"];
