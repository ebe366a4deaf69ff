//! System calls as the kernel takes them, for acts that no library offers, and acts in a child.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::c_long;

/// Makes a system call. Pointers among the arguments are to memory that the caller keeps alive and
/// that is as large as the call wants it.
pub(crate) fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> io::Result<usize> {
    let argument = |at: usize| arguments.get(at).copied().unwrap_or_default();
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(argument);
    // SAFETY: the kernel checks every argument; what it writes to is what callers say above.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A call that makes a descriptor.
pub(crate) fn open<const N: usize>(number: c_long, arguments: [usize; N]) -> io::Result<OwnedFd> {
    let raw = i32::try_from(call(number, arguments)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A path as the kernel takes it.
pub(crate) fn path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Names the calling thread; the kernel keeps 15 bytes.
pub(crate) fn set_name(name: &str) -> io::Result<()> {
    let name = CString::new(name).map_err(io::Error::other)?;
    call(libc::SYS_prctl, [libc::PR_SET_NAME as usize, at(name.to_bytes_with_nul())]).map(drop)
}

/// The address of something, as an argument.
pub(crate) fn at<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<u8>() as usize
}

/// A child that waits for its end; it ends when this is dropped, even if signals are denied.
pub(crate) struct Waiting {
    child: libc::pid_t,
    /// While it is open, the child reads the other end.
    held: Option<OwnedFd>,
}

impl Waiting {
    pub(crate) fn start() -> io::Result<Self> {
        let mut ends = [0_i32; 2];
        call(libc::SYS_pipe2, [(&raw mut ends) as usize, libc::O_CLOEXEC as usize])?;
        // SAFETY: the kernel has just made these descriptors, and nobody else knows of them.
        let [read, write] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
        match fork()? {
            0 => {
                drop(write);
                let mut byte = [0_u8; 1];
                let to = (&raw mut byte) as usize;
                let _ended = call(libc::SYS_read, [read.as_raw_fd() as usize, to, 1]);
                // SAFETY: as in `in_child`.
                unsafe { libc::_exit(0) }
            }
            child => Ok(Self { child, held: Some(write) }),
        }
    }

    pub(crate) fn pid(&self) -> usize {
        self.child as usize
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.held.take());
        let _ended = wait(self.child);
    }
}

/// Does something in a child, which changes what a process cannot change back; its errno is the
/// child's exit code.
pub(crate) fn in_child(act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match fork()? {
        0 => {
            let code = act().err().map_or(0, |error| error.raw_os_error().unwrap_or(255));
            // SAFETY: it ends the child and nothing else: no destructor, no buffer of the parent.
            unsafe { libc::_exit(code) }
        }
        child => match wait(child)? {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        },
    }
}

fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: the child makes system calls and ends; glibc keeps its allocator usable over a fork.
    let child = unsafe { libc::fork() };
    if child < 0 { Err(io::Error::last_os_error()) } else { Ok(child) }
}

/// The exit code of a child that has ended; 128 and its signal, if one ended it.
fn wait(child: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: the kernel writes one number, which is there.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let signal = libc::WTERMSIG(status);
    Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + signal })
}
