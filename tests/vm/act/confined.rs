//! A child that has less than its parent from its first instruction on, as a hardened service has.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::call::call;

/// The last capability that the kernels of the matrix know.
const LAST_CAPABILITY: usize = 40;
/// `PR_SET_MDWE` with `PR_MDWE_REFUSE_EXEC_GAIN`, from Linux 6.3 on.
const PR_SET_MDWE: usize = 65;

/// What a child does without.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Without {
    /// Every capability but these, a bit each.
    pub(crate) all_but: Option<u64>,
    /// Descriptors beyond so many.
    pub(crate) descriptors: Option<u64>,
    /// Memory that is executable once it was written.
    pub(crate) written_code: bool,
}

/// Has a command do without.
pub(crate) fn confine(command: &mut Command, without: Without) {
    let act = move || {
        if let Some(kept) = without.all_but {
            for capability in (0..=LAST_CAPABILITY).filter(|bit| kept & (1 << bit) == 0) {
                call(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, capability, 0, 0, 0])?;
            }
        }
        if let Some(most) = without.descriptors {
            setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        if without.written_code {
            call(libc::SYS_prctl, [PR_SET_MDWE, 1, 0, 0, 0])?;
        }
        io::Result::Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls alone; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(act) };
}
