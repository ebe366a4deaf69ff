//! LSM hook → the kernel's `security_*` function that calls it: where `fmod_ret` and `fexit` attach.
//!
//! Most functions carry the hook's name, many without its `_security`; [`RENAMED`] holds the rest, as
//! measured on 5.10, 6.1, 6.12 and 7.2 (`security/security.c`). `inode_xattr_skipcap` has none.

/// Hooks whose function has another name.
const RENAMED: &[(&str, &str)] = &[
    ("settime", "settime64"),
    ("vm_enough_memory", "vm_enough_memory_mm"),
    ("cred_prepare", "prepare_creds"),
    ("cred_transfer", "transfer_creds"),
    ("userns_create", "create_user_ns"),
    ("socket_sock_rcv_skb", "sock_rcv_skb"),
    ("sk_getsecid", "sk_classify_flow"),
    ("sb_free_mnt_opts", "free_mnt_opts"),
    ("sb_add_mnt_opt", "add_mnt_opt"),
    ("xfrm_state_delete_security", "xfrm_state_delete"),
    ("xfrm_policy_delete_security", "xfrm_policy_delete"),
    ("inode_alloc_security", "inode_alloc"),
    ("inode_free_security", "inode_free"),
];

/// The function that calls a hook, if `exists` knows it; `hook` is the name without `bpf_lsm_`.
///
/// A name of the table comes first: `security_sk_getsecid` or the like may come to mean another thing.
pub(crate) fn security_function(hook: &str, exists: impl Fn(&str) -> bool) -> Option<String> {
    let renamed = RENAMED.iter().find(|(name, _)| *name == hook).map(|(_, function)| *function);
    let candidates = [renamed, Some(hook), hook.strip_suffix("_security")];
    let mut functions = candidates.into_iter().flatten().map(|name| format!("security_{name}"));
    functions.find(|function| exists(function))
}

#[cfg(test)]
mod tests {
    use super::security_function;

    #[test]
    fn a_function_is_found_by_table_then_by_name_then_without_its_suffix() {
        let check = |hook: &str, kernel: &[&str], expected: Option<&str>| {
            let found = security_function(hook, |name| kernel.contains(&name));
            assert_eq!(found.as_deref(), expected, "{hook}");
        };
        check("file_open", &["security_file_open"], Some("security_file_open"));
        check("bprm_check_security", &["security_bprm_check"], Some("security_bprm_check"));
        let init = ["security_inode_init_security", "security_inode_init"];
        check("inode_init_security", &init, Some("security_inode_init_security"));
        check("settime", &["security_settime64", "security_settime"], Some("security_settime64"));
        // A kernel that has the table's hook under its plain name.
        check("settime", &["security_settime"], Some("security_settime"));
        check("inode_xattr_skipcap", &["security_inode_setxattr"], None);
        check("", &["security_file_open"], None);
    }
}
