//! Facts about the machine that decide whether and how hooks can be attached.

use std::fs;
use std::path::Path;

use crate::kernel::map::namespace::{self, PidsError};
use crate::kernel::program::backend::BackendKind;

/// Where securityfs lists the active LSMs in order.
pub(crate) const LSM_LIST: &str = "/sys/kernel/security/lsm";

/// Why this machine cannot take LSM programs.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not enough privilege.
    #[error("not root: loading BPF LSM programs needs CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN")]
    NotRoot,
    /// Nothing can be loaded without these.
    #[error(
        "CAP_BPF with CAP_PERFMON is missing, and so is CAP_SYS_ADMIN: no program can be loaded"
    )]
    NoCapability,
    /// Numbers of processes would be strangers'.
    #[error(transparent)]
    Pids(#[from] PidsError),
    /// `bpf` is not among the active LSMs.
    #[error("the BPF LSM is not active: {LSM_LIST} is \"{list}\"")]
    NoBpfLsm {
        /// Active LSMs, comma separated.
        list: String,
    },
    /// The kernel has no BTF.
    #[error("{} is missing: this kernel was built without BTF", crate::kernel::btf::VMLINUX)]
    NoBtf,
}

/// Checks what can be known before loading. An absent LSM list proves nothing and passes: the
/// canary decides.
///
/// # Errors
/// The first thing that is missing for the backend that is asked for.
pub(crate) fn check(backend: Option<BackendKind>) -> Result<(), ProbeError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ProbeError::NotRoot);
    }
    namespace::pids()?;
    if !Path::new(crate::kernel::btf::VMLINUX).exists() {
        return Err(ProbeError::NoBtf);
    }
    match fs::read_to_string(LSM_LIST) {
        Ok(list) if backend == Some(BackendKind::Lsm) && !lists_bpf(&list) => {
            Err(ProbeError::NoBpfLsm { list: list.trim().chars().take(256).collect() })
        }
        _ => Ok(()),
    }
}

/// The backend that this machine takes: LSM programs where `bpf` is listed or the list cannot be read.
#[must_use]
pub(crate) fn backend() -> BackendKind {
    match fs::read_to_string(LSM_LIST) {
        Ok(list) if !lists_bpf(&list) => BackendKind::FmodRet,
        _ => BackendKind::Lsm,
    }
}

fn lists_bpf(list: &str) -> bool {
    list.trim().split(',').any(|name| name == "bpf")
}

/// Release of the running kernel, as `uname -r` prints it.
#[must_use]
pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::lists_bpf;

    #[test]
    fn bpf_must_be_a_whole_word_of_the_list() {
        assert!(lists_bpf("lockdown,capability,bpf\n"));
        assert!(lists_bpf("bpf"));
        assert!(!lists_bpf("lockdown,capability,bpfx"));
        assert!(!lists_bpf(""));
    }
}
