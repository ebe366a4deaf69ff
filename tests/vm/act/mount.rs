//! Acts on mounts.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::call::{at, call, in_child, path};

fn mount_at(target: &CStr) -> io::Result<()> {
    let tmpfs = at(c"tmpfs".to_bytes_with_nul());
    call(libc::SYS_mount, [tmpfs, at(target.to_bytes_with_nul()), tmpfs, 0, 0]).map(drop)
}

fn umount_at(target: &CStr) -> io::Result<()> {
    call(libc::SYS_umount2, [at(target.to_bytes_with_nul()), 0]).map(drop)
}

fn made(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let made = folder.join(name);
    fs::create_dir(&made)?;
    Ok(made)
}

/// The hook is that of the mount; the umount clears up.
pub(super) fn mount(folder: &Path) -> io::Result<()> {
    let target = path(&made(folder, "mounted")?)?;
    mount_at(&target)?;
    umount_at(&target)
}

/// Unmounts what a denial left mounted.
pub(super) fn clear(folder: &Path) {
    for name in ["mounted", "from", "to"] {
        let Ok(target) = path(&folder.join(name)) else { continue };
        // Most often nothing is there.
        let _unmounted = umount_at(&target);
    }
}

/// `move_mount(2)`: `mount --move` is a matter of sb_mount.
pub(super) fn move_mount(folder: &Path) -> io::Result<()> {
    let (from, to) = (path(&made(folder, "from")?)?, path(&made(folder, "to")?)?);
    mount_at(&from)?;
    let here = libc::AT_FDCWD as usize;
    let (source, target) = (at(from.to_bytes_with_nul()), at(to.to_bytes_with_nul()));
    let moved = call(libc::SYS_move_mount, [here, source, here, target, 0]);
    umount_at(if moved.is_ok() { &to } else { &from })?;
    moved.map(drop)
}

/// In a mount namespace and a root of the child's own: the root of an initramfs cannot be moved.
pub(super) fn pivot_root(folder: &Path) -> io::Result<()> {
    let root = path(&made(folder, "root")?)?;
    in_child(|| {
        call(libc::SYS_unshare, [libc::CLONE_NEWNS as usize])?;
        mount_at(&root)?;
        call(libc::SYS_chroot, [at(root.to_bytes_with_nul())])?;
        call(libc::SYS_chdir, [at(c"/".to_bytes_with_nul())])?;
        let (new, old) = (c"/new", c"/new/old");
        call(libc::SYS_mkdir, [at(new.to_bytes_with_nul()), 0o700])?;
        mount_at(new)?;
        call(libc::SYS_mkdir, [at(old.to_bytes_with_nul()), 0o700])?;
        call(libc::SYS_pivot_root, [at(new.to_bytes_with_nul()), at(old.to_bytes_with_nul())])
            .map(drop)
    })
}
