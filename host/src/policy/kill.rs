//! Sends `SIGKILL` to a process, never to another one that came to its pid.
//!
//! A pidfd is opened first and the start time read after it: when the start is that of the key, the
//! process held the pid before the pidfd was opened, so the pidfd is its own.

use std::fs;

use krsi_plugin_schema::latest::{ProcessKey, Refusal};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Nanoseconds of a clock tick of `/proc/<pid>/stat`: `USER_HZ` is 100.
const TICK_NS: u64 = 10_000_000;
/// Position of `starttime` after the name in `stat`, see proc(5).
const STARTTIME: usize = 19;

/// Why a process was not killed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KillError {
    /// Process 1 or the host.
    #[error("process {tgid} is never killed")]
    Protected { tgid: u32 },
    /// It ended, or the id belongs to another process now.
    #[error("process {tgid} is not there any more")]
    Gone { tgid: u32 },
    /// The kernel refused to send the signal.
    #[error("process {tgid}: the kernel refused")]
    Kernel {
        tgid: u32,
        #[source]
        source: std::io::Error,
    },
}

impl KillError {
    /// The refusal that the plugin gets.
    #[must_use]
    pub(crate) const fn refusal(&self) -> Refusal {
        match self {
            Self::Protected { .. } => Refusal::NotGranted,
            Self::Gone { .. } => Refusal::UnknownProcess,
            Self::Kernel { .. } => Refusal::Kernel,
        }
    }
}

/// Kills a process.
///
/// # Errors
/// When it is protected, gone, or the kernel refuses. Nothing was killed then.
pub(crate) fn kill(process: ProcessKey) -> Result<(), KillError> {
    let tgid = process.tgid;
    let pid = i32::try_from(tgid).ok().and_then(Pid::from_raw).ok_or(KillError::Gone { tgid })?;
    if pid == Pid::INIT || tgid == std::process::id() {
        return Err(KillError::Protected { tgid });
    }
    let failed = |errno| match errno {
        // EINVAL: a thread that leads no process.
        Errno::SRCH | Errno::INVAL => KillError::Gone { tgid },
        errno => KillError::Kernel { tgid, source: errno.into() },
    };
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
    if start_ticks(tgid) != Some(process.start_boot_ns / TICK_NS) {
        return Err(KillError::Gone { tgid });
    }
    pidfd_send_signal(&handle, Signal::KILL).map_err(failed)
}

fn start_ticks(tgid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{tgid}/stat")).ok()?;
    // A name may hold anything: count from the last parenthesis that closes.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    text.split_ascii_whitespace().nth(STARTTIME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_process_of_that_start_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let tgid = child.id();
        let start_boot_ns = start_ticks(tgid).unwrap() * TICK_NS + 4321;
        let other = ProcessKey { start_boot_ns: start_boot_ns + TICK_NS, tgid };
        assert!(matches!(kill(other), Err(KillError::Gone { .. })));
        assert!(child.try_wait().unwrap().is_none());
        kill(ProcessKey { start_boot_ns, tgid }).unwrap();
        assert!(!child.wait().unwrap().success());
        let again = kill(ProcessKey { start_boot_ns, tgid });
        assert!(matches!(again, Err(KillError::Gone { .. })));
    }

    #[test]
    fn the_host_and_the_first_process_are_protected() {
        for tgid in [1, std::process::id()] {
            let start_boot_ns = start_ticks(tgid).unwrap_or(0) * TICK_NS;
            let refused = kill(ProcessKey { start_boot_ns, tgid });
            assert!(matches!(refused, Err(KillError::Protected { .. })));
        }
        assert!(matches!(kill(ProcessKey::default()), Err(KillError::Gone { .. })));
    }
}
