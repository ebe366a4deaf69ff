//! Functions of the kernel that programs may call where it has them (`Documentation/bpf/kfuncs.rst`).
//!
//! A program calls one by a number that is no helper's, in a branch that a frozen global switches; the
//! host puts the function's BTF id in its place, or leaves the number where it is never reached.

/// `bpf_path_d_path(struct path *path, char *buf, size_t buf__sz)` of `fs/bpf_fs_kfuncs.c`, from 6.12 on:
/// resolves a path in any LSM program.
pub const PATH_D_PATH: i32 = 0x4b46_0001;

/// Every number with the kernel's name of the function.
pub const KFUNCS: [(i32, &str); 1] = [(PATH_D_PATH, "bpf_path_d_path")];
