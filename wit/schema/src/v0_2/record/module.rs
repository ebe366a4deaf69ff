//! Records of what reaches into the kernel itself: modules, BPF, perf, lockdown, clock, log.

records! {
    /// The kernel reads a module, firmware, a kexec image or a policy from a file.
    KernelReadFile<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// `READING_*` of `include/linux/kernel_read_file.h`: 1 firmware, 2 module, 3 kexec image.
        purpose: Number,
        /// 1 when the contents will be looked at as well.
        contents: Number,
    }

    /// The kernel takes the same from memory.
    KernelLoadData {
        /// `LOADING_*`, numbered as the purpose of `kernel_read_file`.
        purpose: Number,
        /// 1 when the contents will be looked at as well.
        contents: Number,
    }

    /// The kernel asks user space for a module.
    KernelModuleRequest<'a> {
        /// Name or alias of the module.
        name: Text<'a>,
    }

    /// bpf(2) is called.
    Bpf {
        /// `BPF_*` command.
        command: Number,
        /// Bytes of its attributes.
        size: Number,
        /// 1 when the kernel itself calls; since 6.15.
        from_kernel: Number,
    }

    /// A descriptor of a BPF program is made.
    BpfProg<'a> {
        /// Id of the program; 0 while it is new.
        id: Number,
        /// Type of the program, `BPF_PROG_TYPE_*`.
        kind: Number,
        /// Name of the program.
        name: Text<'a>,
        /// Tag of the program, a hash of its instructions.
        tag: Bytes<'a>,
    }

    /// A descriptor of a BPF map is made.
    BpfMap<'a> {
        /// Id of the map; 0 while it is new.
        id: Number,
        /// Type of the map, `BPF_MAP_TYPE_*`.
        kind: Number,
        /// Name of the map.
        name: Text<'a>,
        /// `FMODE_*`: 1 to read, 2 to write.
        mode: Number,
    }

    /// perf_event_open(2) is called.
    PerfEventOpen {
        /// `PERF_SECURITY_*`: 0 open, 1 of a CPU, 2 of the kernel, 3 of a tracepoint.
        purpose: Number,
        /// `PERF_TYPE_*`; older kernels only.
        kind: Number,
        /// Which event of that type; older kernels only.
        config: Number,
    }

    /// Something that lockdown guards is wanted.
    LockedDown {
        /// `LOCKDOWN_*` of `include/linux/security.h`.
        reason: Number,
    }

    /// The clock is set.
    Settime {
        /// Seconds since the epoch; there is none when only the time zone is set.
        seconds: Signed,
        /// Nanoseconds of that second.
        nanoseconds: Signed,
    }

    /// The kernel's log is read or cleared.
    Syslog {
        /// `SYSLOG_ACTION_*`: 2 and 3 read, 5 clears.
        action: Number,
    }
}
