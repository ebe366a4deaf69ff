//! Records of tasks and credentials.

use crate::v0_1::ProcessKey;

records! {
    /// A process wants to look into another one.
    PtraceAccessCheck<'a> {
        /// Process id of the other one.
        target_tgid: Number,
        /// Start of the other process, nanoseconds of `CLOCK_BOOTTIME`.
        target_start_boot_ns: Number,
        /// Thread name of the other one.
        target_comm: Text<'a>,
        /// `PTRACE_MODE_*`: 1 to read, 2 to attach.
        mode: Number,
    }

    /// A process asks its parent to trace it.
    PtraceTraceme<'a> {
        /// Process id of the parent.
        tracer_tgid: Number,
        /// Start of the other process, nanoseconds of `CLOCK_BOOTTIME`.
        tracer_start_boot_ns: Number,
        /// Thread name of the parent.
        tracer_comm: Text<'a>,
    }

    /// A signal is sent.
    TaskKill<'a> {
        /// Process id of the receiver.
        target_tgid: Number,
        /// Start of the other process, nanoseconds of `CLOCK_BOOTTIME`.
        target_start_boot_ns: Number,
        /// Thread name of the receiver.
        target_comm: Text<'a>,
        /// The signal; 0 only asks whether it may be sent.
        signal: Number,
    }

    /// User ids are changed.
    TaskFixSetuid {
        /// Real user id.
        uid: Number,
        /// Effective user id.
        euid: Number,
        /// Real user id to be.
        new_uid: Number,
        /// Effective user id to be.
        new_euid: Number,
        /// Saved user id to be.
        new_suid: Number,
        /// `LSM_SETID_*`: which system call.
        flags: Number,
    }

    /// Capabilities are changed. Before 6.3 the kernel keeps them in halves.
    Capset {
        /// Effective set to be, or its low half.
        effective: Number,
        /// High half of the effective set.
        effective_high: Number,
        /// Permitted set to be, or its low half.
        permitted: Number,
        /// High half of the permitted set.
        permitted_high: Number,
        /// Inheritable set to be, or its low half.
        inheritable: Number,
        /// High half of the inheritable set.
        inheritable_high: Number,
    }

    /// A capability is used.
    Capable {
        /// Capability, `CAP_*`.
        capability: Number,
        /// `CAP_OPT_*`: 2 when it is not to be audited.
        options: Number,
        /// Inode number of the user namespace it is used in.
        user_ns: Number,
    }

    /// A user namespace is made.
    UsernsCreate {
        /// Real user id.
        uid: Number,
        /// Effective user id.
        euid: Number,
    }

    /// A task is made; it has no id yet.
    TaskAlloc {
        /// `CLONE_*` flags.
        clone_flags: Number,
    }

    /// A task's memory goes, late.
    TaskFree<'a> {
        /// Process id of the task.
        tgid: Number,
        /// Thread id of the task.
        tid: Number,
        /// Thread name of the task.
        comm: Text<'a>,
    }
}

fn key(tgid: Option<u64>, start_boot_ns: Option<u64>) -> Option<ProcessKey> {
    Some(ProcessKey { start_boot_ns: start_boot_ns?, tgid: u32::try_from(tgid?).ok()? })
}

impl PtraceAccessCheck<'_> {
    /// Key of the process that is looked into.
    #[must_use]
    pub fn target(&self) -> Option<ProcessKey> {
        key(self.target_tgid, self.target_start_boot_ns)
    }
}

impl PtraceTraceme<'_> {
    /// Key of the parent, which is to trace.
    #[must_use]
    pub fn tracer(&self) -> Option<ProcessKey> {
        key(self.tracer_tgid, self.tracer_start_boot_ns)
    }
}

impl TaskKill<'_> {
    /// Key of the process that receives the signal.
    #[must_use]
    pub fn target(&self) -> Option<ProcessKey> {
        key(self.target_tgid, self.target_start_boot_ns)
    }
}

impl Capset {
    /// Effective set to be, as bits of `CAP_*`.
    #[must_use]
    pub fn effective_set(&self) -> Option<u64> {
        whole(self.effective, self.effective_high)
    }

    /// Permitted set to be, as bits of `CAP_*`.
    #[must_use]
    pub fn permitted_set(&self) -> Option<u64> {
        whole(self.permitted, self.permitted_high)
    }

    /// Inheritable set to be, as bits of `CAP_*`.
    #[must_use]
    pub fn inheritable_set(&self) -> Option<u64> {
        whole(self.inheritable, self.inheritable_high)
    }
}

fn whole(low: Option<u64>, high: Option<u64>) -> Option<u64> {
    low.map(|low| low | high.unwrap_or(0) << 32)
}
