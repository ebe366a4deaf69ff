//! Functions of the kernel that programs may call where it has them (`Documentation/bpf/kfuncs.rst`).
//!
//! A program calls one by a number that is no helper's, in a branch that a frozen global switches; the
//! host puts the function's BTF id in its place, or leaves the number where it is never reached.

/// `int bpf_path_d_path(struct path *path, char *buf, size_t buf__sz)` of `fs/bpf_fs_kfuncs.c`, from 6.12
/// on: resolves a path in any LSM program.
pub const PATH_D_PATH: i32 = 0x4b46_0001;
/// `struct file *bpf_get_task_exe_file(struct task_struct *task)` of `fs/bpf_fs_kfuncs.c`, from 6.12 on.
pub const TASK_EXE_FILE: i32 = 0x4b46_0002;
/// `void bpf_put_file(struct file *file)` of `fs/bpf_fs_kfuncs.c`, from 6.12 on.
pub const PUT_FILE: i32 = 0x4b46_0003;
/// `int bpf_get_file_xattr(struct file *file, const char *name__str, struct bpf_dynptr *value_p)` of
/// `fs/bpf_fs_kfuncs.c`, from 6.8 on, in programs that sleep.
pub const FILE_XATTR: i32 = 0x4b46_0004;
/// `int bpf_get_fsverity_digest(struct file *file, struct bpf_dynptr *digest_p)` of `fs/verity/measure.c`,
/// from 6.8 on.
pub const FSVERITY_DIGEST: i32 = 0x4b46_0005;

/// Every number with the kernel's name of the function.
pub const KFUNCS: [(i32, &str); 5] = [
    (PATH_D_PATH, "bpf_path_d_path"),
    (TASK_EXE_FILE, "bpf_get_task_exe_file"),
    (PUT_FILE, "bpf_put_file"),
    (FILE_XATTR, "bpf_get_file_xattr"),
    (FSVERITY_DIGEST, "bpf_get_fsverity_digest"),
];
