//! What decides how krsi-host can work on this machine: gathered here, diagnosed by `krsi-host doctor`.
//!
//! Gathering changes nothing: files are read and programs are loaded that are attached to nothing.

use std::fs;
use std::path::Path;

use krsi_host_abi::hook::{Attach, HOOKS};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::privilege;
use super::probe::{self, LSM_LIST};
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::signature::Signature;
use crate::kernel::map::namespace;
use crate::kernel::program::plan::plan;
use crate::kernel::program::target::security_function;
use crate::kernel::program::trial::{self, Attempt, Outcome};

/// Functions of the kernel that something depends on.
pub(crate) const OPTIONAL_FUNCTIONS: [&str; 6] = [
    "bpf_path_d_path",
    "bpf_get_task_exe_file",
    "bpf_get_file_xattr",
    "bpf_get_fsverity_digest",
    "bpf_ima_file_hash",
    "ima_file_hash",
];

/// A hook that some LSM calls very early and every kernel has: what it takes, the others take.
const SAMPLE: &str = "file_open";
/// Longest text that is taken from a file of the kernel.
const TEXT_MAX: usize = 4096;

/// Facts about this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Facts {
    /// Release of the kernel.
    pub release: String,
    /// Architecture of the machine.
    pub machine: String,
    /// Active LSMs in order; `None` where the list cannot be read.
    pub lsm: Option<Vec<String>>,
    /// Why the kernel's types cannot be used; `None` when they can.
    pub btf_error: Option<String>,
    /// LSM hooks that BTF knows, the BPF LSM's own functions among them.
    pub hooks: usize,
    /// Whether the effective user is root.
    pub root: bool,
    /// Why processes cannot be told by their numbers; `None` when they can.
    pub pids_error: Option<String>,
    /// Why they cannot be told by their cgroups; `None` when they can.
    pub cgroups_error: Option<String>,
    /// Effective capabilities, a bit each (`include/uapi/linux/capability.h`).
    pub capabilities: Option<u64>,
    /// Lockdown mode: `none`, `integrity` or `confidentiality`; `None` without lockdown.
    pub lockdown: Option<String>,
    /// Sysctl `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// Sysctl `net.core.bpf_jit_enable`.
    pub bpf_jit_enable: Option<u32>,
    /// Sysctl `kernel.bpf_stats_enabled`.
    pub bpf_stats_enabled: Option<u32>,
    /// Sysctl `kernel.ftrace_enabled`.
    pub ftrace_enabled: Option<u32>,
    /// Result of loading a program of type LSM.
    pub lsm_trial: Outcome,
    /// Result of loading a program that modifies the return value of the hook's function.
    pub fmod_ret_trial: Outcome,
    /// Result of loading a program that only watches the hook's function.
    pub observe_trial: Outcome,
    /// Hooks of the table that this kernel does not have or refuses.
    pub lacking: Vec<LackingHook>,
    /// Structure members that this kernel does not have.
    pub missing: Vec<LackingMember>,
    /// Functions of [`OPTIONAL_FUNCTIONS`] that this kernel has.
    pub functions: Vec<&'static str>,
    /// Whether BPF memory counts towards `RLIMIT_MEMLOCK` (before 5.11) instead of a memory cgroup.
    pub memlock_counts: bool,
    /// Soft `RLIMIT_MEMLOCK` in bytes; `None` for no limit.
    pub memlock_bytes: Option<u64>,
    /// `memory.max` of the caller's cgroup in bytes; `None` for no limit.
    pub memory_max_bytes: Option<u64>,
    /// Hard `RLIMIT_NOFILE`; `None` for no limit.
    pub descriptors: Option<u64>,
    /// Why memory cannot be made executable; `None` when it can.
    pub code_error: Option<String>,
    /// What is wrong with the place of compiled code; `None` when nothing is.
    pub cache_error: Option<String>,
    /// Why the kernel does not tell of files that change; `None` when it does.
    pub inotify_error: Option<String>,
}

/// A hook that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LackingHook {
    pub hook: &'static str,
    pub why: String,
}

/// A member of a structure that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LackingMember {
    pub structure: &'static str,
    pub member: &'static str,
    pub why: String,
}

/// Looks at everything.
#[must_use]
pub(crate) fn gather() -> Facts {
    let uname = rustix::system::uname();
    let own = read("/proc/self/status").unwrap_or_default();
    let mut facts = Facts {
        release: probe::release(),
        machine: uname.machine().to_string_lossy().into_owned(),
        lsm: active_lsms(),
        root: rustix::process::geteuid().is_root(),
        pids_error: namespace::pids().err().map(|error| error.to_string()),
        cgroups_error: namespace::cgroups().err().map(|error| error.to_string()),
        capabilities: privilege::effective(&own),
        lockdown: read("/sys/kernel/security/lockdown").and_then(|text| chosen(&text)),
        unprivileged_bpf_disabled: sysctl("kernel/unprivileged_bpf_disabled"),
        bpf_jit_enable: sysctl("net/core/bpf_jit_enable"),
        bpf_stats_enabled: sysctl("kernel/bpf_stats_enabled"),
        ftrace_enabled: sysctl("kernel/ftrace_enabled"),
        memlock_bytes: getrlimit(Resource::Memlock).current,
        memory_max_bytes: memory_max(),
        descriptors: getrlimit(Resource::Nofile).maximum,
        ..Facts::default()
    };
    match KernelTypes::running() {
        Ok(types) => read_types(&mut facts, &types),
        Err(error) => facts.btf_error = Some(error.to_string()),
    }
    facts
}

/// What BTF says, and what trial loads show.
fn read_types(facts: &mut Facts, types: &KernelTypes) {
    let hooks = types.lsm_hooks();
    let plan = plan(types, |_| true);
    facts.hooks = hooks.len();
    facts.memlock_counts = types.offset("bpf_map_memory", "pages").is_ok();
    let has = |name: &&str| types.has_function(name);
    facts.functions = OPTIONAL_FUNCTIONS.into_iter().filter(has).collect();
    facts.lacking = plan
        .lacking
        .iter()
        .map(|(hook, why)| LackingHook { hook: hook.name(), why: why.to_string() })
        .collect();
    facts.missing = plan
        .missing
        .iter()
        .map(|field| LackingMember {
            structure: field.structure,
            member: field.member,
            why: field.why.to_string(),
        })
        .collect();
    if !facts.root {
        return;
    }
    let stub = |hook: &str| hooks.iter().find(|(name, _)| name == hook).map(|(_, stub)| stub);
    let target = |hook: &str| {
        security_function(hook, |name| types.has_function(name))
            .and_then(|name| types.signature(&name))
    };
    let tried = |attempt, on: Option<&Signature>| {
        on.map_or(Outcome::NoFunction, |on| trial::load(attempt, on.btf_id))
    };
    facts.lsm_trial = tried(Attempt::Lsm, stub(SAMPLE));
    facts.fmod_ret_trial = tried(Attempt::FmodRet, target(SAMPLE).as_ref());
    facts.observe_trial = tried(Attempt::Observe, target(SAMPLE).as_ref());
    if facts.lsm_trial != Outcome::Accepted {
        return;
    }
    // Hooks that this kernel has and refuses: its list of disabled ones.
    for row in HOOKS.iter().filter(|row| row.attach != Attach::Tracepoint) {
        if let Some(on) = stub(row.name)
            && let Outcome::Refused(obstacle) = tried(Attempt::Lsm, Some(on))
        {
            facts.lacking.push(LackingHook { hook: row.name, why: obstacle.to_string() });
        }
    }
}

/// Active LSMs in order; `None` where the list cannot be read.
#[must_use]
pub(crate) fn active_lsms() -> Option<Vec<String>> {
    Some(read(LSM_LIST)?.split(',').map(str::to_owned).collect())
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().chars().take(TEXT_MAX).collect())
}

fn sysctl(name: &str) -> Option<u32> {
    read(Path::new("/proc/sys").join(name))?.parse().ok()
}

/// The word in brackets.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

/// The tightest limit on the way from the caller's cgroup to the root.
fn memory_max() -> Option<u64> {
    let own = read("/proc/self/cgroup")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folders = Path::new(path).ancestors().map(|folder| root.join(folder));
    folders.filter_map(|folder| read(folder.join("memory.max"))?.parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read_as_they_are_written() {
        assert_eq!(chosen("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(chosen("none integrity"), None);
        assert_eq!(sysctl("kernel/no_such_sysctl"), None);
        assert!(sysctl("kernel/pid_max").is_some_and(|most| most > 300));
    }

    #[test]
    fn gathering_works_wherever_this_test_runs() {
        let facts = gather();
        assert_eq!(facts.release, probe::release());
        assert!(facts.capabilities.is_some());
        assert_eq!(facts.root, rustix::process::geteuid().is_root());
        // Either the types are there and know hooks, or it is said why not.
        assert!(facts.btf_error.is_some() || facts.hooks > 0);
    }
}
