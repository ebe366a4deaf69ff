//! The file family: opens denied by inode, in audit mode, and for a time.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use super::act::call;
use super::{Boot, Test};
use crate::harness::{
    Guest, Host, expect_errno, has_rule, number, run, wait_for, wait_for_errno, wait_for_ok,
};
use crate::scene::{SENTRY, Scene, SceneTest};

pub(crate) const TESTS: &[Test] = &[("file_number_used_again", Boot::Each, number_used_again)];

pub(crate) const SCENES: &[SceneTest] = &[
    ("file_open_denied_by_inode", Boot::Each, &SENTRY, denied_by_inode),
    ("file_open_audited", Boot::Each, &SENTRY, audited),
    ("file_open_deny_expires", Boot::Each, &SENTRY, deny_expires),
    ("file_open_long_path", Boot::Each, &SENTRY, long_path),
];

const EACCES: i32 = 13;
const EPERM: i32 = 1;
const ENOTTY: i32 = 25;
/// `FS_IOC_SETVERSION` of `include/uapi/linux/fs.h`: `_IOW('v', 2, long)`.
const FS_IOC_SETVERSION: usize = 0x4008_7602;

fn denied_by_inode(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    let line = format!("open {} 600000 13", secret.display());
    let again = secret.clone();
    let scene = Scene::new(vec![line], move |host| {
        drop(File::open(&secret)?);
        wait_for_errno(EACCES, || File::open(&secret))?;
        let path = secret.to_string_lossy();
        let record =
            host.report(&[("kind", "verdict"), ("hook", "file_open"), ("object", &path)])?;
        ensure!(record["verdict"] == "denied" && record["errno"] == "EACCES", "{record}");
        ensure!(has_rule(&record) && record["plugin"] == "sentry", "{record}");
        ensure!(record["tgid"] == std::process::id(), "{record}");
        ensure!(number(&record, "until_unix_ns")? > number(&record, "unix_ns")?, "{record}");
        let link = guest.path("link");
        fs::hard_link(&secret, &link)?;
        expect_errno(EACCES, File::open(&link))?;
        ensure!(fs::read_to_string(&neighbour)? == "neighbour", "the neighbour's content");
        Ok(())
    });
    // A denial ends with its host.
    Ok(scene.ending(move |_| Ok(File::open(&again).map(drop)?)))
}

fn audited(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let watched = guest.file("watched")?;
    let line = format!("audit {} 600000 13", watched.display());
    Ok(Scene::new(vec![line], move |host| {
        let path = watched.to_string_lossy().into_owned();
        // Every open succeeds, before the rule and under it.
        let record = wait_for("an audited open", || {
            drop(File::open(&watched)?);
            let audited = |report: &serde_json::Value| {
                report["verdict"] == "audited" && report["object"] == *path
            };
            Ok(host.reports()?.into_iter().find(audited))
        })?;
        ensure!(record["errno"] == "EACCES" && record["plugin"] == "sentry", "{record}");
        drop(File::open(&watched)?);
        Ok(())
    }))
}

fn deny_expires(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let secret = guest.file("secret")?;
    Ok(Scene::new(vec![format!("open {} 6000 1", secret.display())], move |_| {
        drop(File::open(&secret)?);
        wait_for_errno(EPERM, || File::open(&secret))?;
        wait_for_ok(|| File::open(&secret)).map(drop)
    }))
}

/// Files that are made until one has the number of one that is gone.
const MADE: usize = 1000;

/// A rule ends with its file: the next file with its number, on ext4, and with its number and its device, on a
/// file system that was mounted anew, is somebody else. Where nothing tells them apart there is no rule.
fn number_used_again(guest: &mut Guest) -> anyhow::Result<()> {
    let (disk, memory) = (Mounted::disk(guest)?, Mounted::memory(guest)?);
    let [victim, neighbour] =
        ["busybox-victim", "busybox-neighbour"].map(|name| disk.folder.join(name));
    let [read, passing, kept] =
        [disk.folder.join("read"), memory.folder.join("passing"), guest.file("kept")?];
    let lines = [
        format!("exec {} 3600000 1", victim.display()),
        format!("exec {} 3600000 1", neighbour.display()),
        format!("open {} 3600000 13", read.display()),
        format!("open {} 3600000 13", passing.display()),
        format!("open {} 3600000 13", kept.display()),
        "open /proc/version 3600000 13".to_owned(),
    ];
    let host = guest.host_with(&[("sentry", &lines.join("\n")), ("census-0.1.0", "")], &[])?;
    for path in [&victim, &neighbour] {
        let _before = fs::remove_file(path);
        fs::copy("/bin/busybox", path)?;
        run(path, &["true"])?;
        wait_for_errno(EPERM, || run(path, &["true"]))?;
        told(&host, "bprm_check_security", path, "sentry")?;
    }
    // Contract 0.1 has no generations: its plugin means what it was last told of.
    let older = disk.folder.join("deny-me");
    let opened = [(&read, "sentry"), (&passing, "sentry"), (&kept, "sentry"), (&older, "census")];
    for (path, plugin) in opened {
        let _before = fs::remove_file(path);
        // To write it is an open, too.
        fs::write(path, "content")?;
        wait_for_errno(EACCES, || File::open(path))?;
        told(&host, "file_open", path, plugin)?;
    }
    keeps_its_generation(&victim)?;
    expect_errno(EPERM, run(&victim, &["true"]))?;
    // The same file is still meant after everybody has forgotten it.
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    expect_errno(EACCES, File::open(&read))?;

    let next = again(&victim)?;
    fs::copy("/bin/busybox", &next)?;
    run(&next, &["true"]).context("the next file is executed")?;
    for path in [&read, &older] {
        let next = again(path)?;
        fs::write(&next, "another").with_context(|| next.display().to_string())?;
        ensure!(fs::read_to_string(&next)? == "another");
    }
    expect_errno(EPERM, run(&neighbour, &["true"]))?;

    let gone = fs::metadata(&passing)?;
    let memory = memory.anew()?;
    fs::write(&passing, "another").context("a file of the next mount is made")?;
    let next = fs::metadata(&passing)?;
    ensure!((gone.dev(), gone.ino()) == (next.dev(), next.ino()), "{gone:?} {next:?}");
    ensure!(fs::read_to_string(&passing).context("and opened")? == "another");
    expect_errno(EACCES, File::open(&kept))?;

    drop(File::open("/proc/version")?);
    let refusal = host.report(&[("kind", "refusal"), ("plugin", "sentry")])?;
    let reason = refusal["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("does not tell its files from later ones"), "{refusal}");
    drop(File::open("/proc/version")?);
    host.stop(Signal::INT)?;
    memory.end()?;
    disk.end()
}

/// An owner gives a file another generation where ext4 has no checksums of metadata, by default not.
fn keeps_its_generation(path: &Path) -> anyhow::Result<()> {
    let (file, generation) = (File::open(path)?, [1_i32]);
    let arguments = [file.as_raw_fd() as usize, FS_IOC_SETVERSION, call::at(&generation)];
    expect_errno(ENOTTY, call::call(libc::SYS_ioctl, arguments))
}

/// The record of a denial of a file.
fn told(host: &Host, hook: &str, path: &Path, plugin: &str) -> anyhow::Result<()> {
    let path = path.to_string_lossy();
    let record = host.report(&[("kind", "verdict"), ("hook", hook), ("object", &path)])?;
    ensure!(record["verdict"] == "denied" && record["plugin"] == plugin, "{record}");
    ensure!(has_rule(&record), "{record}");
    Ok(())
}

/// Removes a file, and makes others until one has its number: that one.
fn again(path: &Path) -> anyhow::Result<PathBuf> {
    let gone = fs::metadata(path)?.ino();
    fs::remove_file(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for made in 0..MADE {
        let next = path.with_file_name(format!("{name}-{made}"));
        File::create(&next)?;
        if fs::metadata(&next)?.ino() == gone {
            return Ok(next);
        }
    }
    bail!("no file has the number {gone}")
}

/// A file system that is mounted in the test's folder.
struct Mounted {
    folder: PathBuf,
    what: &'static [&'static str],
}

impl Mounted {
    fn disk(guest: &Guest) -> anyhow::Result<Self> {
        Self::mount(guest.path("disk"), &["-t", "ext4", "/dev/nvme0n1"])
    }

    fn memory(guest: &Guest) -> anyhow::Result<Self> {
        Self::mount(guest.path("memory"), &["-t", "tmpfs", "none"])
    }

    fn mount(folder: PathBuf, what: &'static [&'static str]) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut mount = Command::new("/bin/busybox");
        let status = mount.arg("mount").args(what).arg(&folder).status()?;
        ensure!(status.success(), "mount {what:?}: {status}");
        Ok(Self { folder, what })
    }

    fn end(self) -> anyhow::Result<()> {
        let status = Command::new("/bin/busybox").arg("umount").arg(&self.folder).status()?;
        ensure!(status.success(), "umount {}: {status}", self.folder.display());
        Ok(())
    }

    /// Another one in its place.
    fn anew(self) -> anyhow::Result<Self> {
        let (folder, what) = (self.folder.clone(), self.what);
        self.end()?;
        Self::mount(folder, what)
    }
}

fn long_path(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let mut folder = guest.path("deep");
    for _ in 0..12 {
        folder = folder.join("a".repeat(100));
    }
    fs::create_dir_all(&folder)?;
    let secret = folder.join("secret");
    fs::write(&secret, "deep")?;
    Ok(Scene::new(vec![format!("open {} 600000 13", secret.display())], move |host| {
        drop(File::open(&secret)?);
        wait_for_errno(EACCES, || File::open(&secret))?;
        let object = secret.to_string_lossy();
        let fields = [("kind", "verdict"), ("hook", "file_open"), ("object", &*object)];
        host.report(&fields).map(drop)
    }))
}
