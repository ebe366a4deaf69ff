//! Names of the frozen globals that are no offsets: what the host knows when it loads a program.

/// Section of the object with its [`crate::ABI_VERSION`], four bytes, the least first. No program
/// reads it: the host does, and takes it out before it makes the object's maps.
pub const ABI_SECTION: &str = ".rodata.abi";
/// The host's thread group id: no rule decides its own calls, and none is reported. `u32`.
pub const HOST_TGID: &str = "HOST_TGID";
/// How paths are resolved: one of [`d_path`]. `u32`.
pub const D_PATH: &str = "D_PATH";
/// Values of [`D_PATH`].
pub mod d_path {
    /// Paths are not resolved by the kernel; the program walks along dentries.
    pub const NONE: u32 = 0;
    /// Paths are resolved by the helper `bpf_d_path`, which the kernel allows at some hooks.
    pub const HELPER: u32 = 1;
    /// Paths are resolved by the kernel function [`crate::kfunc::PATH_D_PATH`].
    pub const KFUNC: u32 = 2;
}
/// 1 where `bpf_get_current_task_btf` exists (5.11); elsewhere the task is read by probes. `u32`.
pub const TASK_BTF: &str = "TASK_BTF";
/// 1 where leases that changed meanwhile are read again: a kernel that verifies each function at each place
/// that calls it (5.10) takes twice as long to load a program that does. `u32`.
pub const READS_AGAIN: &str = "READS_AGAIN";
/// 1 where programs are told the cgroups above the caller's (5.15); elsewhere bounds by cgroup are checked by the
/// host alone, when a rule is made. `u32`.
pub const ANCESTORS: &str = "ANCESTORS";
/// What calls of this program can be about: bits of [`objects`]. `u32`.
pub const OBJECTS: &str = "OBJECTS";
/// Bits of [`OBJECTS`].
pub mod objects {
    /// A file, or a path.
    pub const FILE: u32 = 1 << 0;
    /// A destination.
    pub const NETWORK: u32 = 1 << 1;
}
/// 1 in a program that may sleep: user memory is faulted in. `u32`.
pub const MAY_SLEEP: &str = "MAY_SLEEP";
/// 1 where the answer refuses; after a function (`fexit`) it must be 0. `u32`.
pub const CAN_DENY: &str = "CAN_DENY";
/// Slot that the witness counts in. `u32`.
pub const WITNESS_SLOT: &str = "WITNESS_SLOT";
/// Where the witness finds what a function answered: behind its arguments, in words. `u32`.
pub const WITNESS_ANSWER: &str = "WITNESS_ANSWER";
/// Halves of the secret that hashes of paths start with. `u32` each.
pub const PATH_SECRET: [&str; 2] = ["PATH_SECRET_LOW", "PATH_SECRET_HIGH"];
/// Mebibytes of a file at most that is hashed. `u32`.
pub const DIGEST_MIB: &str = "DIGEST_MIB";
/// What an instance of the template does. [`crate::spec::Spec`].
pub const SPEC: &str = "SPEC";
