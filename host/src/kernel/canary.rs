//! The proof of life: acts that must reach each attached hook, and the counters that show it.
//!
//! A kernel booted without `bpf` in `lsm=` loads and attaches LSM programs without error and never
//! runs them (bpftrace #2716), so attaching proves nothing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::flag;
use krsi_host_abi::hook::Hook;
use rustix::fs::{MemfdFlags, memfd_create};

use super::map::{Counters, Flags, MapError};

/// Why life is not proven.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// Hooks were attached, the act was done, and the hooks did not fire.
    #[error("attached but never called: {}", names(hooks))]
    Silent {
        /// Hooks that stayed silent.
        hooks: Vec<Hook>,
    },
    /// The flags or counters could not be accessed.
    #[error("the canary's maps")]
    Map(#[source] MapError),
}

/// Hooks that [`act`] reaches on every kernel.
const REACHED: [Hook; 13] = [
    Hook::BprmCheckSecurity,
    Hook::BprmCommittedCreds,
    Hook::FileOpen,
    Hook::SocketConnect,
    Hook::SchedProcessFork,
    Hook::SchedProcessExit,
    Hook::BprmCredsForExec,
    Hook::BprmCommittingCreds,
    Hook::FilePermission,
    Hook::MmapFile,
    Hook::SocketCreate,
    Hook::SocketBind,
    Hook::TaskAlloc,
];

/// Does what each hook watches and checks that it was seen. A hook that no harmless act reaches on
/// every kernel stands on the others: they are met the same way.
///
/// # Errors
/// When a hook stayed silent.
pub fn prove(hooks: &[Hook], flags: &Flags, counters: &Counters) -> Result<(), CanaryError> {
    let hooks: Vec<Hook> = hooks.iter().copied().filter(|hook| REACHED.contains(hook)).collect();
    if hooks.is_empty() {
        return Ok(());
    }
    let seen = |hook: Hook| counters.total(hook.id(), Counter::Seen).map_err(CanaryError::Map);
    let mut before = Vec::with_capacity(hooks.len());
    for hook in hooks {
        before.push((hook, seen(hook)?));
        flags.raise(hook.id(), flag::CANARY).map_err(CanaryError::Map)?;
    }
    act();
    let mut silent = Vec::new();
    for (hook, count) in before {
        if seen(hook)? == count {
            silent.push(hook);
        }
        flags.lower(hook.id(), flag::CANARY).map_err(CanaryError::Map)?;
    }
    if silent.is_empty() { Ok(()) } else { Err(CanaryError::Silent { hooks: silent }) }
}

/// An open and a read, a socket that is bound and connected, and a fork, exec and exit. Their results
/// do not matter, only that they reach the hooks.
fn act() {
    drop(File::open("/proc/self/exe").and_then(|mut file| file.read(&mut [0; 16])));
    drop(UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.connect("127.0.0.1:9")));
    let child = Command::new("/proc/self/exe")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    drop(child);
}

/// Executes a file of a few bytes, in vain: what it wants as interpreter is not there.
///
/// # Errors
/// When there can be no such file.
pub fn execute() -> std::io::Result<()> {
    let mut written = File::from(memfd_create("krsi-host-canary", MemfdFlags::CLOEXEC)?);
    written.write_all(b"#!/krsi-host/no-such-interpreter\n")?;
    let name = |file: &File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let file = File::open(name(&written))?;
    // What is open for writing is not executed (ETXTBSY).
    drop(written);
    let path = name(&file);
    // It ends in ENOENT, after the hook.
    drop(Command::new(path).stdin(Stdio::null()).status());
    Ok(())
}

fn names(hooks: &[Hook]) -> String {
    hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ")
}
