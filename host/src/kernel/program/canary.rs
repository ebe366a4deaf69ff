//! The canaries of hooks: acts that reach them, and the counters that show it.
//!
//! The backend is proven before ([`super::proof`]). What a canary does not reach stays attached and is told:
//! an act may be refused by others, by a mount option, a namespace, a rule.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::flag;
use krsi_host_abi::hook::Hook;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::kernel::map::{Counters, Flags, MapError};

/// An act of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// A file is opened and read.
    Open,
    /// A socket is made, bound and connected; of the local family, which needs no network.
    Socket,
    /// A child is forked and ends.
    Fork,
    /// A child is forked and executes a file.
    Exec,
}

/// Hooks that an act reaches on every kernel. Others stand on the proof of the backend.
const REACHED: [(Hook, Act); 13] = [
    (Hook::BprmCheckSecurity, Act::Exec),
    (Hook::BprmCommittedCreds, Act::Exec),
    (Hook::FileOpen, Act::Open),
    (Hook::SocketConnect, Act::Socket),
    (Hook::SchedProcessFork, Act::Fork),
    (Hook::SchedProcessExit, Act::Fork),
    (Hook::BprmCredsForExec, Act::Exec),
    (Hook::BprmCommittingCreds, Act::Exec),
    (Hook::FilePermission, Act::Open),
    (Hook::MmapFile, Act::Exec),
    (Hook::SocketCreate, Act::Socket),
    (Hook::SocketBind, Act::Socket),
    (Hook::TaskAlloc, Act::Fork),
];

/// A hook that is attached, and was not seen to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unproven {
    /// The hook that was to be seen.
    pub hook: Hook,
    /// Why its canary could not run; `None` when it ran, and the hook was not called.
    pub why: Option<String>,
}

impl fmt::Display for Unproven {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.hook.name();
        match &self.why {
            Some(why) => write!(formatter, "{name}: its canary could not run: {why}"),
            None => write!(formatter, "{name}: its canary ran and it was not called"),
        }
    }
}

/// What became of the acts: of each its error, if it could not be done.
struct Done([(Act, io::Result<()>); 4]);

impl Done {
    fn failure(&self, act: Act) -> Option<String> {
        let of = self.0.iter().find(|(done, _)| *done == act);
        of.and_then(|(_, result)| Some(result.as_ref().err()?.to_string()))
    }
}

/// Does what each hook watches; those that were not called.
///
/// # Errors
/// When the flags or counters cannot be accessed.
pub(crate) fn prove(
    hooks: &[Hook],
    flags: &Flags,
    counters: &Counters,
) -> Result<Vec<Unproven>, MapError> {
    let reached = REACHED.into_iter().filter(|(hook, _)| hooks.contains(hook));
    let seen = |hook: Hook| counters.total(hook.id(), Counter::Seen);
    let mut before = Vec::new();
    for (hook, act) in reached {
        before.push((hook, act, seen(hook)?));
        flags.raise(hook.id(), flag::CANARY)?;
    }
    if before.is_empty() {
        return Ok(Vec::new());
    }
    let done = act();
    let mut unproven = Vec::new();
    for (hook, act, count) in before {
        if seen(hook)? == count {
            unproven.push(Unproven { hook, why: done.failure(act) });
        }
        flags.lower(hook.id(), flag::CANARY)?;
    }
    Ok(unproven)
}

/// Does all acts; each whatever became of the others.
fn act() -> Done {
    let open = File::open("/proc/self/exe").and_then(|mut file| file.read(&mut [0; 16]));
    let child = Command::new("/proc/self/exe")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // A child that could not execute was forked all the same.
    let forked = match &child {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(again(error)),
        _ => Ok(()),
    };
    Done([
        (Act::Open, open.map(drop)),
        (Act::Socket, socket()),
        (Act::Fork, forked),
        (Act::Exec, child.map(drop)),
    ])
}

fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

fn socket() -> io::Result<()> {
    let name = format!("krsi-host-canary-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::bind_addr(&address)?.connect_addr(&address)
}

/// Executes a file of a few bytes, in vain: what it wants as interpreter is not there.
///
/// # Errors
/// When there can be no such file.
pub(crate) fn execute() -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_need_neither_a_network_nor_each_other() {
        let Done(acts) = act();
        let failed: Vec<_> = acts.iter().filter(|(_, result)| result.is_err()).collect();
        // A test's own executable does not know `--version`, and that is no error of the act.
        assert!(failed.is_empty(), "{failed:?}");
        let done = Done([
            (Act::Open, Ok(())),
            (Act::Socket, Err(io::ErrorKind::PermissionDenied.into())),
            (Act::Fork, Ok(())),
            (Act::Exec, Ok(())),
        ]);
        assert_eq!(done.failure(Act::Open), None);
        let why = done.failure(Act::Socket);
        let told = Unproven { hook: Hook::SocketBind, why }.to_string();
        assert_eq!(told, "socket_bind: its canary could not run: permission denied");
        let told = Unproven { hook: Hook::TaskAlloc, why: None }.to_string();
        assert_eq!(told, "task_alloc: its canary ran and it was not called");
    }
}
