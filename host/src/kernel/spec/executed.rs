//! Hooks on the way of an exec, and where each finds the file: root's execution of the host's own is not
//! refused there, or the administrator could lock himself out.

/// The hooks, each with the paths of its file, of which the first that this kernel has is taken.
const EXECUTED: [(&str, &[&str]); 6] = [
    ("bprm_check_security", &["bprm.file.f_inode"]),
    ("bprm_creds_for_exec", &["bprm.file.f_inode"]),
    ("bprm_creds_from_file", &["file.f_inode", "bprm.file.f_inode"]),
    ("file_open", &["file.f_inode"]),
    ("file_permission", &["file.f_inode"]),
    ("inode_permission", &["inode"]),
];

/// Where a hook finds the file that is to be executed; nothing for other hooks.
pub(super) fn paths(hook: &str) -> &'static [&'static str] {
    EXECUTED.iter().find(|(name, _)| *name == hook).map_or(&[], |(_, paths)| paths)
}

/// Whether a hook is on the way of an exec.
#[must_use]
pub(crate) fn executes(hook: &str) -> bool {
    !paths(hook).is_empty()
}
