//! Facts → findings: what is wrong with a machine, what each thing costs, and the fix. Pure.

use serde::Serialize;

use super::super::exit::Health;
use super::room;
use crate::kernel::program::trial::{Grounds, Outcome};
use crate::kernel::survey::facts::{Facts, LackingHook, LackingMember, OPTIONAL_FUNCTIONS};
use crate::kernel::survey::privilege::{Needed, may_load, missing};

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// krsi-host cannot work.
    Blocks,
    /// A feature of krsi-host is not available here.
    Limits,
    /// Worth knowing.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Severity of the finding.
    pub(super) severity: Severity,
    /// The finding, in words.
    pub(super) what: String,
    /// Consequence for the user.
    pub(super) cost: String,
    /// Advice to the user.
    pub(super) fix: String,
}

/// How programs would get onto the hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BackendChoice {
    /// Programs of the BPF LSM.
    Lsm,
    /// On the return values of `security_*` functions.
    FmodRet,
    /// On their entries: nothing can be denied.
    ObserveOnly,
    /// Programs cannot be attached at all.
    None,
}

/// What is to be said of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Diagnosis {
    /// How well krsi-host can work on the machine.
    pub(super) health: Health,
    /// The backend that would be chosen.
    pub(super) backend: BackendChoice,
    /// The findings, the gravest first.
    pub(super) findings: Vec<Finding>,
}

pub(super) fn finding(
    severity: Severity,
    what: impl Into<String>,
    cost: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
    Finding { severity, what: what.into(), cost: cost.into(), fix: fix.into() }
}

/// Derives the findings about a machine from its facts.
pub(super) fn diagnose(facts: &Facts) -> Diagnosis {
    let backend = backend(facts);
    let mut findings = Vec::new();
    findings.extend(privilege(facts));
    findings.extend(numbers(facts));
    findings.extend(types(facts));
    findings.extend(way(facts, backend));
    findings.extend(attaching(facts));
    findings.extend(facts.lacking.iter().map(hook));
    findings.extend(facts.missing.iter().map(member));
    if facts.btf_error.is_none() {
        let absent = |name: &&&str| !facts.functions.contains(*name);
        findings.extend(OPTIONAL_FUNCTIONS.iter().filter(absent).map(|name| function(name)));
    }
    findings.extend(room::memory(facts));
    findings.extend(room::code(facts));
    findings.extend(room::signs(facts));
    findings.extend(settings(facts));
    // Stable: within a severity, the order above.
    findings.sort_by_key(|finding| finding.severity);
    let health = match findings.first().map(|finding| finding.severity) {
        Some(Severity::Blocks) => Health::Unable,
        Some(Severity::Limits) => Health::Limited,
        Some(Severity::Note) | None => Health::Fine,
    };
    Diagnosis { health, backend, findings }
}

fn lists_bpf(facts: &Facts) -> Option<bool> {
    Some(facts.lsm.as_ref()?.iter().any(|name| name == "bpf"))
}

fn backend(facts: &Facts) -> BackendChoice {
    let accepted = |outcome: &Outcome| *outcome == Outcome::Accepted;
    if lists_bpf(facts) != Some(false) && accepted(&facts.lsm_trial) {
        BackendChoice::Lsm
    } else if accepted(&facts.fmod_ret_trial) {
        BackendChoice::FmodRet
    } else if accepted(&facts.observe_trial) {
        BackendChoice::ObserveOnly
    } else {
        BackendChoice::None
    }
}

fn is_forbidden(facts: &Facts) -> bool {
    matches!(&facts.lsm_trial, Outcome::Refused(obstacle) if obstacle.grounds == Grounds::NotPermitted)
}

fn privilege(facts: &Facts) -> Vec<Finding> {
    if !facts.root {
        let cost = "nothing can be loaded, and nothing was tried for this report";
        let fix = "run it as root, for example with sudo";
        return vec![finding(Severity::Blocks, "the effective user is not root", cost, fix)];
    }
    let Some(capabilities) = facts.capabilities else { return Vec::new() };
    let mut findings = Vec::new();
    if !may_load(capabilities) {
        findings.push(finding(
            Severity::Blocks,
            "CAP_BPF with CAP_PERFMON is missing, and so is CAP_SYS_ADMIN",
            "nothing can be loaded",
            "give the service these capabilities: docker --cap-add, AmbientCapabilities=",
        ));
    }
    findings.extend(missing(capabilities).map(|Needed { name, cost, .. }| {
        let fix = format!("give the service {name}");
        finding(Severity::Limits, format!("{name} is missing"), cost, fix)
    }));
    findings
}

/// Whether processes can be told by their numbers and their cgroups.
fn numbers(facts: &Facts) -> Vec<Finding> {
    let pids = facts.pids_error.iter().map(|error| {
        let cost = "krsi-host does not start";
        let fix = "run it in the machine's PID namespace: --pid=host, hostPID: true";
        finding(Severity::Blocks, error.clone(), cost, fix)
    });
    let cgroups = facts.cgroups_error.iter().map(|error| {
        let cost = "rules, filters, scopes and exemptions by cgroup are refused";
        let fix = "boot with systemd.unified_cgroup_hierarchy=1";
        finding(Severity::Limits, error.clone(), cost, fix)
    });
    pids.chain(cgroups).collect()
}

fn types(facts: &Facts) -> Option<Finding> {
    let error = facts.btf_error.as_ref()?;
    let cost = "no hook can be found and no field be read";
    let fix = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y";
    Some(finding(Severity::Blocks, error.clone(), cost, fix))
}

/// LSMs whose place is not for `lsm=` to choose: the first and the last ones.
const FIXED: [&str; 3] = ["capability", "ima", "evm"];

/// Whether and how programs can be had on hooks; silent where nobody could try.
fn way(facts: &Facts, backend: BackendChoice) -> Option<Finding> {
    // Where capabilities are missing, that is told already.
    let told = is_forbidden(facts) && facts.capabilities.is_some_and(|set| !may_load(set));
    if facts.lsm_trial == Outcome::Untried || told {
        return None;
    }
    let list = facts.lsm.as_ref().map(|list| list.join(",")).unwrap_or_default();
    let movable = facts.lsm.iter().flatten().filter(|name| !FIXED.contains(&name.as_str()));
    let order: Vec<&str> = movable.map(String::as_str).chain(["bpf"]).collect();
    let boot = format!(
        "boot with lsm={}, for example in GRUB_CMDLINE_LINUX of /etc/default/grub",
        order.join(",")
    );
    match (backend, lists_bpf(facts)) {
        (BackendChoice::Lsm, Some(true)) => None,
        (BackendChoice::Lsm, _) => Some(finding(
            Severity::Limits,
            "the list of active LSMs cannot be read",
            "whether the BPF LSM is active shows only when krsi-host starts",
            "mount -t securityfs securityfs /sys/kernel/security",
        )),
        (BackendChoice::FmodRet, _) => Some(finding(
            Severity::Limits,
            format!("{}: backend fmod_ret", reason(facts, &list)),
            "no rules on digests of executables; whole paths only of file_open, file_permission, \
             path_truncate and inode_getattr; no inode_xattr_skipcap; where the kernel preempts \
             itself, calls that come while a program stands still on their core pass, and are \
             counted as missed",
            boot,
        )),
        (BackendChoice::ObserveOnly, _) => Some(finding(
            Severity::Limits,
            format!(
                "{}, and the kernel takes no fmod_ret program{}",
                reason(facts, &list),
                words(&facts.fmod_ret_trial)
            ),
            "plugins see events, but nothing can be denied",
            boot,
        )),
        (BackendChoice::None, _) => Some(refused(facts)),
    }
}

fn reason(facts: &Facts, list: &str) -> String {
    match lists_bpf(facts) {
        Some(false) => format!("bpf is not among the active LSMs ({list})"),
        _ => format!("the kernel takes no LSM program{}", words(&facts.lsm_trial)),
    }
}

fn refused(facts: &Facts) -> Finding {
    let what = format!("the kernel takes no program on a hook{}", words(&facts.lsm_trial));
    let fix = if is_forbidden(facts) {
        "run it in the initial user namespace, without a seccomp filter on bpf(2)"
    } else {
        "use a kernel built with CONFIG_BPF_LSM=y, CONFIG_BPF_JIT=y and CONFIG_FUNCTION_TRACER=y"
    };
    finding(Severity::Blocks, what, "nothing is seen and nothing denied", fix)
}

/// What the kernel said, to be put behind a statement.
fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(obstacle) => format!(": {obstacle}"),
        Outcome::NoFunction => ": it has no such function".into(),
        Outcome::Untried | Outcome::Accepted => String::new(),
    }
}

/// What loads and is not called, or cannot be attached.
fn attaching(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.ftrace_enabled == Some(0) {
        findings.push(finding(
            Severity::Blocks,
            "kernel.ftrace_enabled is 0",
            "programs are attached and never called",
            "sysctl kernel.ftrace_enabled=1",
        ));
    }
    if facts.bpf_jit_enable == Some(0) {
        findings.push(finding(
            Severity::Blocks,
            "net.core.bpf_jit_enable is 0",
            "no program can be attached to a function of the kernel",
            "sysctl net.core.bpf_jit_enable=1",
        ));
    }
    if facts.lockdown.as_deref() == Some("confidentiality") {
        findings.push(finding(
            Severity::Blocks,
            "the kernel is locked down for confidentiality",
            "programs may not read kernel memory: the kernel refuses every one of krsi-host's",
            "boot with lockdown=integrity, or without lockdown=",
        ));
    }
    findings
}

/// Hooks by the start of their name: what is lost without them, and where they come from.
const HOOKS: &[(&str, &str, &str)] = &[
    (
        "path_",
        "the inode_* hook serves instead: the same calls, but without the mount and the whole path",
        "use a kernel built with CONFIG_SECURITY_PATH=y",
    ),
    (
        "userns_create",
        "new user namespaces are not seen and cannot be denied",
        "use a kernel from 6.1, or limit them with sysctl user.max_user_namespaces",
    ),
    (
        "uring_cmd",
        "commands that io_uring gives to drivers are not seen and cannot be denied",
        "use a kernel from 6.0, or sysctl kernel.io_uring_disabled=2 where there is one",
    ),
    (
        "uring_",
        "set-up and credentials of io_uring are not seen; opens and connects through it are",
        "use a kernel from 5.16, or sysctl kernel.io_uring_disabled=2 where there is one",
    ),
    (
        "socket_",
        "network calls of that kind are not seen and cannot be denied",
        "use a kernel built with CONFIG_SECURITY_NETWORK=y",
    ),
    ("key_", "keys are not guarded", "use a kernel built with CONFIG_KEYS=y"),
    (
        "sched_",
        "processes are followed by /proc only: lineages have gaps",
        "use a kernel built with CONFIG_TRACEPOINTS=y",
    ),
];

fn hook(lacking: &LackingHook) -> Finding {
    let row = HOOKS.iter().find(|(start, ..)| lacking.hook.starts_with(start));
    let (cost, fix) = row.map_or(
        (
            "plugins and rules that name it are told that it is not there",
            "use a newer kernel, or a plugin that does without it",
        ),
        |(_, cost, fix)| (*cost, *fix),
    );
    finding(Severity::Limits, format!("no hook {}: {}", lacking.hook, lacking.why), cost, fix)
}

fn member(lacking: &LackingMember) -> Finding {
    finding(
        Severity::Limits,
        format!("no member {} in struct {}: {}", lacking.member, lacking.structure, lacking.why),
        "what needs it is left out of records and rules, and counted as skipped_field",
        "please report this with the output of `uname -a`",
    )
}

fn function(name: &str) -> Finding {
    let (cost, fix) = match name {
        "bpf_path_d_path" => (
            "hooks that may not sleep, such as file_permission, path_mknod and move_mount, tell paths \
             only up to their mount",
            "use a kernel from 6.12",
        ),
        "bpf_get_task_exe_file" => {
            ("watches see current.mm.exe_file and cannot test it", "use a kernel from 6.12")
        }
        "bpf_get_file_xattr" => ("watches on xattr of a file are refused", "use a kernel from 6.8"),
        "bpf_get_fsverity_digest" => (
            "watches on fsverity of a file are refused",
            "use a kernel from 6.8 that is built with CONFIG_FS_VERITY=y",
        ),
        "bpf_ima_file_hash" => {
            ("rules on digests of executables are refused", "use a kernel from 5.18")
        }
        _ => (
            "rules on digests of executables are refused",
            "use a kernel from 5.18 that is built with CONFIG_IMA=y",
        ),
    };
    finding(Severity::Limits, format!("the kernel does not have {name}"), cost, fix)
}

/// LSMs that deny by policies of their own.
const DENYING: [&str; 6] = ["selinux", "smack", "tomoyo", "apparmor", "landlock", "ipe"];

fn settings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let list = facts.lsm.as_deref().unwrap_or_default();
    let before: Vec<&str> = list
        .iter()
        .map(String::as_str)
        .take_while(|name| *name != "bpf")
        .filter(|name| DENYING.contains(name))
        .collect();
    if lists_bpf(facts) == Some(true) && !before.is_empty() {
        findings.push(finding(
            Severity::Note,
            format!("{} before bpf in lsm=", before.join(", ")),
            "what they deny is denied before krsi-host sees it",
            "put bpf before them, if such calls are to be seen",
        ));
    }
    if facts.bpf_stats_enabled == Some(0) {
        findings.push(finding(
            Severity::Note,
            "kernel.bpf_stats_enabled is 0",
            "`krsi-host hooks` knows neither calls nor run times of programs",
            "sysctl kernel.bpf_stats_enabled=1 while you measure: it adds to every call",
        ));
    }
    if facts.unprivileged_bpf_disabled == Some(0) {
        findings.push(finding(
            Severity::Note,
            "kernel.unprivileged_bpf_disabled is 0",
            "nothing of krsi-host; any user can load BPF programs into this kernel",
            "sysctl kernel.unprivileged_bpf_disabled=2",
        ));
    }
    findings
}
