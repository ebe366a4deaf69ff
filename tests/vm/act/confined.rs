//! A child that has less than its parent from its first instruction on, as a hardened service has.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::call::{at, call};

/// Rows of a filter of system calls.
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUALS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const HAS_ANY: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Places in `seccomp_data`: the number of the call, and the lower halves of its arguments.
const CALL: u32 = 0;
const FIRST: u32 = 16;
const THIRD: u32 = 32;

const fn row(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// The last capability that the kernels of the matrix know.
const LAST_CAPABILITY: usize = 40;
/// `PR_SET_MDWE` with `PR_MDWE_REFUSE_EXEC_GAIN`, from Linux 6.3 on.
const PR_SET_MDWE: usize = 65;

/// Rights and resources that a child goes without.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Without {
    /// Every capability but these, a bit each.
    pub(crate) all_but: Option<u64>,
    /// Descriptors beyond so many.
    pub(crate) descriptors: Option<u64>,
    /// Memory that is executable once it was written.
    pub(crate) written_code: bool,
    /// Locked memory beyond so many bytes.
    pub(crate) locked_bytes: Option<u64>,
    /// Any network, loopback too, and sockets of other families than AF_UNIX and AF_NETLINK.
    pub(crate) network: bool,
}

/// Has `socket(2)` refuse other families, as `RestrictAddressFamilies=AF_UNIX AF_NETLINK` does.
fn only_unix_sockets() -> io::Result<()> {
    filter(&mut [
        row(LOAD, 0, 0, CALL),
        row(EQUALS, 0, 4, libc::SYS_socket as u32),
        row(LOAD, 0, 0, FIRST),
        row(EQUALS, 2, 0, libc::AF_UNIX as u32),
        row(EQUALS, 1, 0, libc::AF_NETLINK as u32),
        row(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        row(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
}

/// Has memory that is or was writable never become executable, as `MemoryDenyWriteExecute=yes` does on kernels that
/// have no `PR_SET_MDWE`.
fn no_written_code() -> io::Result<()> {
    let both = (libc::PROT_WRITE | libc::PROT_EXEC) as u32;
    filter(&mut [
        row(LOAD, 0, 0, CALL),
        row(EQUALS, 3, 0, libc::SYS_mprotect as u32),
        row(EQUALS, 2, 0, libc::SYS_pkey_mprotect as u32),
        row(EQUALS, 3, 0, libc::SYS_mmap as u32),
        row(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        row(LOAD, 0, 0, THIRD),
        row(HAS_ANY, 4, 3, libc::PROT_EXEC as u32),
        row(LOAD, 0, 0, THIRD),
        row(AND, 0, 0, both),
        row(EQUALS, 1, 0, both),
        row(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        row(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ])
}

/// Has a filter judge the system calls of this process from here on.
fn filter(rows: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: rows.len() as u16, filter: rows.as_mut_ptr() };
    let filter = [libc::PR_SET_SECCOMP as usize, libc::SECCOMP_MODE_FILTER as usize, at(&program)];
    call(libc::SYS_prctl, filter).map(drop)
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
        if let Some(most) = without.locked_bytes {
            setrlimit(Resource::Memlock, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        if without.network {
            call(libc::SYS_unshare, [libc::CLONE_NEWNET as usize])?;
            only_unix_sockets()?;
        }
        if without.written_code {
            // Kernels before 6.3 do not know it.
            if call(libc::SYS_prctl, [PR_SET_MDWE, 1, 0, 0, 0]).is_err() {
                no_written_code()?;
            }
        }
        io::Result::Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls alone; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(act) };
}
