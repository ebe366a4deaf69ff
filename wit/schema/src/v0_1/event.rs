//! Events: one call of a hook.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::kind;
use super::process::{Argv, FileKey, ProcessKey};
use crate::frame::{Frame, FrameError, push};

macro_rules! hooks {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $body:ident;)*) => {
        /// A hook of this contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Hook { $($(#[$doc])* $variant = $id,)* }

        impl Hook {
            /// Every hook, in id order.
            pub const ALL: &'static [Hook] = &[$(Hook::$variant,)*];

            /// The hook with that id in this contract.
            #[must_use]
            pub const fn from_id(id: u16) -> Option<Hook> {
                match id { $($id => Some(Hook::$variant),)* _ => None }
            }

            /// The kernel's name of the hook.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Hook::$variant => $name,)* }
            }
        }

        /// What the hook was called with.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Body<'a> { $($(#[$doc])* $variant(hooks!(@type $body 'a)),)* }

        impl<'a> Body<'a> {
            /// The hook this body belongs to.
            #[must_use]
            pub const fn hook(&self) -> Hook {
                match self { $(Body::$variant(_) => Hook::$variant,)* }
            }
        }

        impl<'a> Event<'a> {
            /// Decodes the body of an event frame.
            ///
            /// # Errors
            /// When the body is not an event of `hook`.
            pub(super) fn decode(hook: Hook, frame: &Frame<'a>) -> Result<Self, FrameError> {
                Ok(match hook {
                    $(Hook::$variant => {
                        let (meta, body) = frame.decode()?;
                        Event { meta, body: Body::$variant(body) }
                    })*
                })
            }

            /// Appends the event to a batch.
            ///
            /// # Errors
            /// When the event is longer than a frame can be.
            pub fn push(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
                let at = kind::EVENT + self.body.hook() as u16;
                match &self.body {
                    $(Body::$variant(body) => push(out, at, &(&self.meta, body)),)*
                }
            }
        }
    };
    (@type Exec $life:lifetime) => { Exec<$life> };
    (@type FileOpen $life:lifetime) => { FileOpen<$life> };
    (@type $plain:ident $life:lifetime) => { $plain };
}

hooks! {
    /// An executable is about to run, once per interpreter level; argv is not readable yet.
    BprmCheckSecurity = 1, "bprm_check_security", Exec;
    /// An exec that succeeded.
    BprmCommittedCreds = 2, "bprm_committed_creds", Exec;
    /// A file is being opened.
    FileOpen = 3, "file_open", FileOpen;
    /// A socket is being connected.
    SocketConnect = 4, "socket_connect", Connect;
    /// A process was created.
    SchedProcessFork = 5, "sched_process_fork", Fork;
    /// A process ended.
    SchedProcessExit = 6, "sched_process_exit", Exit;
}

impl Hook {
    /// The hook with that kernel name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Hook> {
        Self::ALL.iter().copied().find(|hook| hook.name() == name)
    }
}

/// A set of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HookSet(pub u64);

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
        Hook::ALL.iter().copied().filter(move |hook| self.contains(*hook))
    }

    /// Whether every bit of the set names a hook of this contract.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.iter().fold(HookSet::default(), HookSet::with) == self
    }
}

/// Verdict on a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// No rule applied.
    #[default]
    None,
    /// The call was refused.
    Denied {
        /// Id of the rule that refused.
        rule_id: u64,
        /// Errno of the answer, positive.
        errno: u16,
    },
    /// An audit rule applied: it would have been refused.
    Audited {
        /// Rule that would have refused.
        rule_id: u64,
        /// Errno it would have answered.
        errno: u16,
    },
}

/// What every event carries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta<'a> {
    /// Time of the call, nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// Calling process.
    pub process: ProcessKey,
    /// Calling thread.
    pub tid: u32,
    /// User id in the initial namespace.
    pub uid: u32,
    /// Group id in the initial namespace.
    pub gid: u32,
    /// Inode number of the mount namespace, 0 when unknown.
    pub mount_ns: u32,
    /// Id of the cgroup.
    pub cgroup_id: u64,
    /// Name of the calling thread.
    #[serde(borrow)]
    pub comm: Cow<'a, str>,
    /// Verdict on the call.
    pub verdict: Verdict,
}

/// An event: a call of a hook, as plugins get it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// Time, caller and verdict of the call.
    pub meta: Meta<'a>,
    /// Hook of the call, and its arguments.
    pub body: Body<'a>,
}

/// What kind of file an executable is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecFlags(pub u32);

impl ExecFlags {
    /// Bit of a `memfd_create` file.
    pub const MEMFD: u32 = 1;
    /// Bit of a file without a name.
    pub const DELETED: u32 = 2;

    /// The executable is a `memfd_create` file.
    #[must_use]
    pub const fn memfd(self) -> bool {
        self.0 & Self::MEMFD != 0
    }

    /// The executable has no name left.
    #[must_use]
    pub const fn deleted(self) -> bool {
        self.0 & Self::DELETED != 0
    }
}

/// An executable. Bytes of the path that are not UTF-8 are escaped as `\xNN`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exec<'a> {
    /// Identity of the file; of a script, its interpreter's once committed.
    pub file: FileKey,
    /// Resolved path of the executable.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// The path is cut or could not be resolved in full.
    pub path_truncated: bool,
    /// Arguments; empty before the exec is committed.
    #[serde(borrow)]
    pub argv: Argv<'a>,
    /// Kind of the executable file.
    pub flags: ExecFlags,
}

/// A file being opened. Bytes of the path that are not UTF-8 are escaped as `\xNN`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileOpen<'a> {
    /// Identity of the file.
    pub file: FileKey,
    /// Resolved path of the file.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// The path is cut or could not be resolved in full.
    pub path_truncated: bool,
    /// `O_*` flags as the kernel keeps them.
    pub flags: u32,
    /// File type and permission bits.
    pub mode: u32,
}

/// A socket being connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// Destination address; `None` for families other than IPv4 and IPv6. IPv4-mapped is IPv4.
    pub address: Option<core::net::IpAddr>,
    /// Destination port, 0 without one.
    pub port: u16,
    /// Address family, `AF_*`.
    pub family: u16,
    /// Protocol, `IPPROTO_*`.
    pub protocol: u16,
    /// Socket type, `SOCK_*`.
    pub kind: u16,
}

/// A process that was created; [`Meta::process`] is its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The process that was created.
    pub child: ProcessKey,
}

/// A process that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Status as `wait(2)` encodes it.
    pub code: u32,
}
