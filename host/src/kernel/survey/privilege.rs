//! What this process may do: capabilities and limits, and what is lost without each.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::probe::{ProbeError, release};

/// A capability that something depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    /// Number of the capability's bit (`include/uapi/linux/capability.h`).
    pub(crate) bit: u32,
    /// Name of the capability, `CAP_*`.
    pub(crate) name: &'static str,
    /// Consequence of lacking the capability.
    pub(crate) cost: &'static str,
}

/// Capabilities without which krsi-host works, within limits.
pub(crate) const NEEDED: [Needed; 6] = [
    Needed { bit: 5, name: "CAP_KILL", cost: "a plugin's kill of another user's process fails" },
    Needed {
        bit: 6,
        name: "CAP_SETGID",
        cost: "plugins are compiled by a child that stays root, without capabilities and without files",
    },
    Needed {
        bit: 7,
        name: "CAP_SETUID",
        cost: "plugins are compiled by a child that stays root, without capabilities and without files",
    },
    Needed {
        bit: 19,
        name: "CAP_SYS_PTRACE",
        cost: "executables of other users' earlier processes stay unknown",
    },
    Needed {
        bit: 21,
        name: "CAP_SYS_ADMIN",
        cost: "`krsi-host hooks` cannot list what is attached",
    },
    Needed {
        bit: 24,
        name: "CAP_SYS_RESOURCE",
        cost: "limits of locked memory and of open files stay as they are",
    },
];

/// Descriptors that every hook with a program, the maps and some plugins take together.
pub(crate) const DESCRIPTORS: u64 = 1024;
/// What maps and programs take at most, on kernels that count it as locked memory.
pub(crate) const MEMLOCK_BYTES: u64 = 128 << 20;

/// `CAP_SYS_ADMIN`, or else `CAP_BPF` and `CAP_PERFMON`.
#[must_use]
pub(crate) const fn may_load(capabilities: u64) -> bool {
    let (admin, bpf) = (1 << 21, 1 << 39 | 1 << 38);
    capabilities & admin != 0 || capabilities & bpf == bpf
}

/// The effective capabilities of this process; `None` where `/proc` does not tell.
#[must_use]
pub(crate) fn capabilities() -> Option<u64> {
    effective(&fs::read_to_string("/proc/self/status").ok()?)
}

/// The effective capabilities of a `/proc/PID/status`.
pub(super) fn effective(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

/// Needed capabilities that are missing.
pub(crate) fn missing(capabilities: u64) -> impl Iterator<Item = Needed> {
    NEEDED.into_iter().filter(move |needed| capabilities & (1 << needed.bit) == 0)
}

/// Raises what limits this process and may be raised; says what is missing, a sentence each.
///
/// # Errors
/// When nothing can be loaded without the capabilities that are missing.
pub(crate) fn prepare() -> Result<Vec<String>, ProbeError> {
    let capabilities = capabilities();
    if capabilities.is_some_and(|set| !may_load(set)) {
        return Err(ProbeError::NoCapability);
    }
    let lacking = capabilities.into_iter().flat_map(missing);
    let mut told: Vec<String> = lacking
        .map(|Needed { name, cost, .. }| {
            format!("{name} is missing: {cost} (give it to the service)")
        })
        .collect();
    // Raised where that is allowed; what stays too low is told.
    let _raised = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    let bytes = getrlimit(Resource::Memlock).current;
    if let Some(bytes) = bytes.filter(|bytes| counts_locked(&release()) && *bytes < MEMLOCK_BYTES) {
        told.push(format!(
            "RLIMIT_MEMLOCK is {bytes} bytes, which BPF memory counts towards on this kernel: maps may find no \
             room (LimitMEMLOCK=infinity in the service)"
        ));
    }
    told.extend(raise_descriptors());
    Ok(told)
}

fn raise_descriptors() -> Option<String> {
    let most = getrlimit(Resource::Nofile).maximum?;
    let raise =
        |most| setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) });
    // With CAP_SYS_RESOURCE beyond the hard limit too.
    let _raised = raise(most.max(DESCRIPTORS)).or_else(|_| raise(most));
    let now = getrlimit(Resource::Nofile).current.filter(|now| *now < DESCRIPTORS)?;
    Some(format!(
        "RLIMIT_NOFILE is {now}: many hooks and plugins need up to {DESCRIPTORS} descriptors (LimitNOFILE=65536 in \
         the service)"
    ))
}

/// Whether a release of the kernel counts BPF memory as locked: before 5.11.
fn counts_locked(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) < (5, 11)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_known_by_its_bit() {
        let status = "Name:\tcat\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(effective(status), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("CapEff:\tmany\n"), None);
        assert_eq!(effective(""), None);
        let names = |set| missing(set).map(|needed| needed.name).collect::<Vec<_>>();
        assert_eq!(names(0x1ff_ffff_ffff), Vec::<&str>::new());
        assert_eq!(names(!(1 << 5 | 1 << 7)), ["CAP_KILL", "CAP_SETUID"]);
        let [admin, bpf, perfmon] = [21, 39, 38].map(|bit| 1 << bit);
        assert!(may_load(admin) && may_load(bpf | perfmon) && !may_load(bpf) && !may_load(0));
    }

    #[test]
    fn kernels_before_5_11_count_bpf_memory_as_locked() {
        let counting = ["5.10.234-1", "5.4.0", "4.19.1"].map(counts_locked);
        assert_eq!(counting, [true; 3]);
        let others = ["5.11.0-rc1", "6.1.0-33-amd64", "7.0.1"].map(counts_locked);
        assert_eq!(others, [false; 3]);
    }
}
