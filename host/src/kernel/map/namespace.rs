//! Whether numbers of processes and groups mean the same to krsi-host as to its programs.
//!
//! Programs see numbers of the initial PID namespace, and ids of groups in the cgroup2 hierarchy.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Inode number of the initial PID namespace (`PROC_PID_INIT_INO` of `include/linux/proc_ns.h`).
const INITIAL_PIDS: u64 = 0xEFFF_FFFC;

/// Why processes cannot be told from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PidsError {
    /// krsi-host has a PID namespace that is not the first.
    #[error(
        "it runs in a PID namespace of its own: programs see other numbers of processes than it does, \
         and would take strangers for the host or for each other"
    )]
    Namespace,
    /// `/proc` shows another one.
    #[error(
        "/proc does not show krsi-host under its own number: it is of another PID namespace, or not mounted"
    )]
    Proc,
}

/// Whether numbers of processes here are those that programs see.
///
/// # Errors
/// Why programs see other numbers of processes.
pub(crate) fn pids() -> Result<(), PidsError> {
    let shown = fs::read_link("/proc/self").ok();
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    check_pids(shown.as_deref(), &own, fs::metadata("/proc/self/ns/pid").ok().map(|at| at.ino()))
}

/// A kernel without PID namespaces has no file for them.
fn check_pids(shown: Option<&Path>, own: &str, namespace: Option<u64>) -> Result<(), PidsError> {
    match namespace {
        Some(number) if number != INITIAL_PIDS => Err(PidsError::Namespace),
        _ if shown != Some(Path::new(own)) => Err(PidsError::Proc),
        _ => Ok(()),
    }
}

/// Why ids of cgroups tell nobody from anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup2 hierarchy is mounted.
    #[error("no cgroup2 hierarchy is mounted, so every process has the same cgroup id")]
    None,
    /// The cgroup2 hierarchy is mounted, and unused.
    #[error(
        "processes are grouped by cgroup version 1, and in the cgroup2 hierarchy all have the same id"
    )]
    Unused,
}

/// Whether ids of cgroups tell processes apart.
///
/// # Errors
/// Why ids of cgroups tell nobody apart.
pub(crate) fn cgroups() -> Result<(), CgroupError> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    check_cgroups(&read("/proc/self/mountinfo"), &read("/proc/1/cgroup"))
}

/// `mounts` is a `/proc/PID/mountinfo`, `init` the `/proc/PID/cgroup` of PID 1: whoever uses a hierarchy puts
/// that one into a group.
fn check_cgroups(mounts: &str, init: &str) -> Result<(), CgroupError> {
    let kinds = mounts.lines().filter_map(|line| line.split_once(" - ")?.1.split(' ').next());
    let (mut one, mut two) = (false, false);
    for kind in kinds {
        one |= kind == "cgroup";
        two |= kind == "cgroup2";
    }
    let is_unused = init.lines().find_map(|line| line.strip_prefix("0::")) == Some("/");
    match (one, two) {
        (_, false) => Err(CgroupError::None),
        (true, true) if is_unused => Err(CgroupError::Unused),
        (_, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pid_namespace_is_told() {
        let at = |number: &'static str| Some(Path::new(number));
        let initial = Some(INITIAL_PIDS);
        assert_eq!(check_pids(at("17"), "17", initial), Ok(()));
        assert_eq!(check_pids(at("17"), "17", None), Ok(()));
        // The same number by chance.
        assert_eq!(check_pids(at("17"), "17", Some(4_026_532_000)), Err(PidsError::Namespace));
        assert_eq!(check_pids(at("1"), "17", initial), Err(PidsError::Proc));
        assert_eq!(check_pids(None, "17", initial), Err(PidsError::Proc));
        assert_eq!(check_pids(None, "17", None), Err(PidsError::Proc));
    }

    #[test]
    fn groups_of_version_1_tell_nobody_apart() {
        let mount =
            |kind: &str| format!("30 24 0:26 / /sys/x rw,nosuid shared:9 - {kind} {kind} rw\n");
        let (one, two) = (mount("cgroup"), mount("cgroup2"));
        let root = mount("ext4");
        let check = |mounts: &[&String], init: &str, expected| {
            let mounts: String = mounts.iter().map(|line| line.as_str()).collect();
            assert_eq!(check_cgroups(&mounts, init), expected, "{mounts}{init}");
        };
        check(&[&root, &two], "0::/init.scope\n", Ok(()));
        // A machine without a manager of groups: whoever makes some can be told.
        check(&[&root, &two], "0::/\n", Ok(()));
        check(&[&root], "0::/\n", Err(CgroupError::None));
        check(&[&root, &one], "1:name=systemd:/init.scope\n0::/\n", Err(CgroupError::None));
        // systemd's hybrid groups by both.
        let hybrid = "1:name=systemd:/init.scope\n0::/init.scope\n";
        check(&[&root, &one, &two], hybrid, Ok(()));
        let unused = "1:name=systemd:/init.scope\n0::/\n";
        check(&[&root, &one, &two], unused, Err(CgroupError::Unused));
        check(&[], "", Err(CgroupError::None));
    }
}
