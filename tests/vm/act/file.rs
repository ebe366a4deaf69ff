//! Acts on files: opened ones, names, attributes, mappings, programs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::call::{at, call, path};

fn made(folder: &Path) -> io::Result<PathBuf> {
    let file = folder.join("file");
    fs::write(&file, [b'x'; 4096])?;
    Ok(file)
}

/// Runs a program: the whole of it for all hooks of an exec.
pub(super) fn exec(folder: &Path) -> io::Result<()> {
    let program = folder.join("busybox");
    fs::copy("/bin/busybox", &program)?;
    let status = Command::new(program).arg("true").stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

pub(super) fn write(folder: &Path) -> io::Result<()> {
    File::create(folder.join("written"))?.write_all(b"x")
}

/// Maps a file, then does something with the address.
fn mapped(folder: &Path, then: impl FnOnce(usize) -> io::Result<()>) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(made(folder)?)?;
    let (protection, flags) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
    let descriptor = file.as_raw_fd() as usize;
    let address = call(libc::SYS_mmap, [0, 4096, protection, flags, descriptor, 0])?;
    let result = then(address);
    call(libc::SYS_munmap, [address, 4096])?;
    result
}

pub(super) fn map(folder: &Path) -> io::Result<()> {
    mapped(folder, |_| Ok(()))
}

pub(super) fn protect(folder: &Path) -> io::Result<()> {
    let protection = (libc::PROT_READ | libc::PROT_EXEC) as usize;
    mapped(folder, |address| call(libc::SYS_mprotect, [address, 4096, protection]).map(drop))
}

pub(super) fn unlink(folder: &Path) -> io::Result<()> {
    fs::remove_file(made(folder)?)
}

pub(super) fn rename(folder: &Path) -> io::Result<()> {
    fs::rename(made(folder)?, folder.join("renamed"))
}

pub(super) fn mkdir(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder.join("made"))
}

pub(super) fn rmdir(folder: &Path) -> io::Result<()> {
    let made = folder.join("made");
    fs::create_dir(&made)?;
    fs::remove_dir(made)
}

pub(super) fn symbolic_link(folder: &Path) -> io::Result<()> {
    symlink("nowhere", folder.join("symlink"))
}

pub(super) fn link(folder: &Path) -> io::Result<()> {
    fs::hard_link(made(folder)?, folder.join("link"))
}

pub(super) fn chmod(folder: &Path) -> io::Result<()> {
    fs::set_permissions(made(folder)?, fs::Permissions::from_mode(0o600))
}

pub(super) fn change_owner(folder: &Path) -> io::Result<()> {
    chown(made(folder)?, Some(1), Some(1))
}

/// By name; `File::set_len` goes by the descriptor.
pub(super) fn truncate(folder: &Path) -> io::Result<()> {
    let file = path(&made(folder)?)?;
    call(libc::SYS_truncate, [at(file.to_bytes_with_nul()), 1]).map(drop)
}

/// A pipe: regular files are another hook's.
pub(super) fn mknod(folder: &Path) -> io::Result<()> {
    let pipe = path(&folder.join("pipe"))?;
    let mode = (libc::S_IFIFO | 0o600) as usize;
    call(libc::SYS_mknod, [at(pipe.to_bytes_with_nul()), mode, 0]).map(drop)
}

pub(super) fn setxattr(folder: &Path) -> io::Result<()> {
    let file = path(&made(folder)?)?;
    let name = c"trusted.krsi".to_bytes_with_nul();
    call(libc::SYS_setxattr, [at(file.to_bytes_with_nul()), at(name), at(b"x"), 1, 0]).map(drop)
}
