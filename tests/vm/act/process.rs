//! Acts on processes and their credentials.

use std::io;
use std::path::Path;

use super::call::{Waiting, at, call, in_child};

/// Nobody's user id.
const NOBODY: usize = 65534;
/// `_LINUX_CAPABILITY_VERSION_3` of `include/uapi/linux/capability.h`: two words of each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

pub(super) fn attach(_folder: &Path) -> io::Result<()> {
    let other = Waiting::start()?;
    call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, other.pid(), 0, 0]).map(drop)
}

pub(super) fn trace_me(_folder: &Path) -> io::Result<()> {
    in_child(|| call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize, 0, 0, 0]).map(drop))
}

/// Signal 0 asks whether another could be sent.
pub(super) fn kill(_folder: &Path) -> io::Result<()> {
    let other = Waiting::start()?;
    call(libc::SYS_kill, [other.pid(), 0]).map(drop)
}

pub(super) fn setuid(_folder: &Path) -> io::Result<()> {
    in_child(|| call(libc::SYS_setuid, [NOBODY]).map(drop))
}

/// Sets the capabilities that the child has.
pub(super) fn capset(_folder: &Path) -> io::Result<()> {
    in_child(|| {
        let header = [CAPABILITY_VERSION, 0];
        let mut sets = [0_u32; 6];
        call(libc::SYS_capget, [at(&header), (&raw mut sets) as usize])?;
        call(libc::SYS_capset, [at(&header), at(&sets)]).map(drop)
    })
}

/// Gives the machine the name that it has: that needs `CAP_SYS_ADMIN`.
pub(super) fn capable(_folder: &Path) -> io::Result<()> {
    let name = rustix::system::uname();
    let name = name.nodename().to_bytes();
    call(libc::SYS_sethostname, [at(name), name.len()]).map(drop)
}

pub(super) fn new_user_namespace(_folder: &Path) -> io::Result<()> {
    in_child(|| call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize]).map(drop))
}

/// A child that ends at once.
pub(super) fn fork(_folder: &Path) -> io::Result<()> {
    in_child(|| Ok(()))
}
