//! Other names for what is denied: links, `..`, descriptors, mounts in a namespace of one's own.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use rustix::fs::{Mode, OFlags, open, openat};

use super::call::{at, call, in_child, path};
use super::{EACCES, denial, denials};
use crate::harness::{Guest, expect_errno, wait_for, wait_for_errno};
use crate::scene::Scene;

/// A folder with a file in it.
fn vault(guest: &Guest) -> anyhow::Result<(PathBuf, PathBuf)> {
    let vault = guest.path("vault");
    fs::create_dir_all(&vault)?;
    let file = vault.join("file");
    fs::write(&file, "content\n")?;
    Ok((vault, file))
}

/// Mounts one place over another in a mount namespace of a child's own, and opens something there.
fn open_in_namespace(from: &Path, to: &Path, file: &Path) -> io::Result<()> {
    let (source, target) = (path(from)?, path(to)?);
    in_child(|| {
        call(libc::SYS_unshare, [libc::CLONE_NEWNS as usize])?;
        let (source, target) = (at(source.to_bytes_with_nul()), at(target.to_bytes_with_nul()));
        call(libc::SYS_mount, [source, target, 0, libc::MS_BIND as usize, 0])?;
        File::open(file).map(drop)
    })
}

/// Ways to a path are resolved before they are judged, and recorded as resolved.
pub(super) fn detours(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (vault, file) = vault(guest)?;
    let neighbour = guest.file("neighbour")?;
    fs::create_dir(guest.path("elsewhere"))?;
    let (link, folder_link) = (guest.path("link"), guest.path("folder-link"));
    symlink(&file, &link)?;
    symlink(&vault, &folder_link)?;
    symlink(&neighbour, guest.path("neighbour-link"))?;
    Ok(Scene::new(vec![format!("deny {} 13 file_open", vault.display())], move |host| {
        let here = format!("/proc/{}/fd", std::process::id());
        // O_PATH opens nothing, so that no hook is asked.
        let folder = open(&vault, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let handle = open(&file, OFlags::PATH, Mode::empty())?;
        let ways = [
            file.clone(),
            link,
            folder_link.join("file"),
            guest.path("elsewhere/../vault/./file"),
            format!("{here}/{}/file", folder.as_raw_fd()).into(),
            format!("{here}/{}", handle.as_raw_fd()).into(),
            format!("/proc/{}/root{}", std::process::id(), file.display()).into(),
        ];
        for way in &ways {
            expect_errno(EACCES, File::open(way))
                .map_err(|error| error.context(format!("{way:?}")))?;
        }
        let relative = openat(&folder, "file", OFlags::RDONLY, Mode::empty());
        expect_errno(EACCES, relative.map_err(io::Error::from))?;
        fs::read_to_string(guest.path("neighbour-link"))?;
        fs::read_to_string(guest.path("vault/../neighbour"))?;
        let object = file.to_string_lossy();
        let record = denial(host, "file_open", &object, "ruler")?;
        ensure!(record["errno"] == "EACCES", "{record}");
        let acts = ways.len() + 1;
        wait_for("a record of each way", || {
            Ok((denials(host, &object)?.len() == acts).then_some(()))
        })?;
        Ok(())
    }))
}

/// A rule on a file does not know names.
pub(super) fn of_a_file(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    let (link, renamed) = (guest.path("link"), guest.path("renamed"));
    let mount = guest.file("mounted")?;
    Ok(Scene::new(vec![format!("open {} 600000 13", secret.display())], move |host| {
        drop(File::open(&secret)?);
        wait_for_errno(EACCES, || File::open(&secret))?;
        fs::hard_link(&secret, &link)?;
        expect_errno(EACCES, File::open(&link))?;
        fs::rename(&secret, &renamed)?;
        expect_errno(EACCES, File::open(&renamed))?;
        expect_errno(EACCES, open_in_namespace(&renamed, &mount, &mount))?;
        for name in [&link, &renamed, &mount] {
            let record = denial(host, "file_open", &name.to_string_lossy(), "sentry")?;
            ensure!(record["errno"] == "EACCES", "{record}");
        }
        // The mount was another's: here it is the file that it was, as the neighbour is.
        fs::read_to_string(&mount)?;
        fs::read_to_string(&neighbour)?;
        open_in_namespace(&neighbour, &mount, &mount)?;
        // A copy is another file.
        fs::write(&secret, "a new file of the old name")?;
        fs::read_to_string(&secret)?;
        Ok(())
    }))
}

/// A rule on a path knows nothing but names: whoever may give a file another is not held by it.
pub(super) fn of_a_path(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (vault, file) = vault(guest)?;
    let (link, moved) = (guest.path("link"), guest.path("moved"));
    let mount = guest.path("mounted");
    fs::create_dir(&mount)?;
    Ok(Scene::new(vec![format!("deny {} 13 file_open", vault.display())], move |host| {
        expect_errno(EACCES, File::open(&file))?;
        fs::hard_link(&file, &link)?;
        fs::read_to_string(&link)?;
        open_in_namespace(&vault, &mount, &mount.join("file"))?;
        fs::rename(&file, &moved)?;
        fs::read_to_string(&moved)?;
        // What gets the name is held by it, also of a mount of a namespace's own.
        fs::rename(&moved, &file)?;
        expect_errno(EACCES, File::open(&file))?;
        let neighbour = guest.file("neighbour")?;
        expect_errno(EACCES, open_in_namespace(&neighbour, &file, &file))?;
        fs::read_to_string(&neighbour)?;
        let object = file.to_string_lossy();
        denial(host, "file_open", &object, "ruler")?;
        wait_for("three records", || Ok((denials(host, &object)?.len() == 3).then_some(())))?;
        Ok(())
    }))
}
