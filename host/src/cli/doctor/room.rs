//! Facts → findings about what a service leaves a process: memory, descriptors, executable memory, a place for code.

use super::diagnose::{Finding, Severity, finding};
use crate::kernel::survey::facts::Facts;
use crate::kernel::survey::privilege::{DESCRIPTORS, MEMLOCK_BYTES};

/// Memory below which a cgroup is too small for maps, one plugin and the host itself.
const MEMORY_BYTES: u64 = 256 << 20;

/// Whether there is memory, and room for descriptors.
pub(super) fn memory(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let raises = facts.capabilities.is_none_or(|set| set & (1 << 24) != 0);
    if let Some(bytes) = facts.memlock_bytes
        && facts.memlock_counts
        && !raises
        && bytes < MEMLOCK_BYTES
    {
        findings.push(finding(
            Severity::Blocks,
            format!("RLIMIT_MEMLOCK is {bytes} bytes, it counts BPF memory on this kernel, and CAP_SYS_RESOURCE is missing"),
            "maps cannot be made",
            "LimitMEMLOCK=infinity in the service, or ulimit -l unlimited",
        ));
    }
    if let Some(bytes) = facts.memory_max_bytes
        && bytes < MEMORY_BYTES
    {
        findings.push(finding(
            Severity::Limits,
            format!("memory.max of this cgroup is {bytes} bytes"),
            "maps, plugins and compiled code count towards it: some may find no room",
            format!("MemoryMax={}M or more in the service", MEMORY_BYTES >> 20),
        ));
    }
    if let Some(most) = facts.descriptors
        && most < DESCRIPTORS
        && !raises
    {
        findings.push(finding(
            Severity::Limits,
            format!("RLIMIT_NOFILE is at most {most}, and CAP_SYS_RESOURCE is missing"),
            "many hooks, watches and plugins together may find no descriptor",
            "LimitNOFILE=65536 in the service, or ulimit -Hn 65536",
        ));
    }
    findings
}

/// Whether the code of plugins can be had, and kept.
pub(super) fn code(facts: &Facts) -> Vec<Finding> {
    let executable = facts.code_error.iter().map(|error| {
        let cost = "no plugin runs; watches of the command line do";
        let fix = "MemoryDenyWriteExecute=no in the service: the code of plugins is made executable once it is written";
        finding(Severity::Limits, format!("memory cannot be made executable: {error}"), cost, fix)
    });
    let kept = facts.cache_error.iter().map(|error| {
        let cost = "plugins are compiled at every start, or their code is copied";
        let fix = "CacheDirectory=krsi-host in the service, or --cache-dir DIR where files may be kept and mapped";
        finding(Severity::Note, error.clone(), cost, fix)
    });
    executable.chain(kept).collect()
}

/// Whether the kernel tells of files that change.
pub(super) fn signs(facts: &Facts) -> Option<Finding> {
    facts.inotify_error.as_ref().map(|error| {
        let cost = "files of plugins are looked at every second, and a change is taken up a few seconds later";
        let fix = "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches";
        finding(Severity::Note, format!("the kernel does not tell of files that change: {error}"), cost, fix)
    })
}
