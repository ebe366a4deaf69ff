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

    /// True when `self` covers all of `other`.
    #[must_use]
    pub const fn contains(self, other: Keys) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct HookRow {
    /// The hook.
    pub hook: Hook,
    /// The kernel's name of it.
    pub name: &'static str,
    /// How it is attached.
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
    BprmCheckSecurity = 1, "bprm_check_security", LsmDeny, FILE;
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
}

/// Slots of every array that is indexed by hook id.
pub const HOOK_SLOTS: usize = 64;

impl Hook {
    /// The id that records and maps carry.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// This hook's bit in a lease's hook mask.
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self.id()
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
    fn ids_are_pinned_unique_and_fit_their_arrays() {
        let ids: [(u16, &str); 6] = [
            (1, "bprm_check_security"),
            (2, "bprm_committed_creds"),
            (3, "file_open"),
            (4, "socket_connect"),
            (5, "sched_process_fork"),
            (6, "sched_process_exit"),
        ];
        assert_eq!(HOOKS.len(), ids.len());
        for (row, (id, name)) in HOOKS.iter().zip(ids) {
            assert_eq!((row.hook.id(), row.name), (id, name));
            assert!(usize::from(id) < HOOK_SLOTS);
            assert_eq!(Hook::from_id(id), Some(row.hook));
            assert_eq!(Hook::from_name(name), Some(row.hook));
        }
        assert_eq!(Hook::from_id(0), None);
    }
}
