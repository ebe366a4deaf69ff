//! Watches that refuse by a text: under a flood of what they do not match, and beyond what can be read.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::Signal;
use serde_json::Value;

use super::preempt::preempts_itself;
use super::{EACCES, EPERM, denial, denials, watches};
use crate::Boot;
use crate::harness::{Guest, expect_errno, repeats, wait_for, wait_for_errno};

/// Opens that the watch does not match: more than the ring of verdicts has room for.
const FLOOD: usize = 5000;
/// Denied opens of another plugin's rule meanwhile.
const RULED: usize = 30;
/// Denied opens amid a running flood, usually and in a soak.
const ACTS: [usize; 2] = [300, 10_000];
/// Threads that make the flood of opens.
const FLOODERS: usize = 4;
/// Folders of a path beyond `PATH_MAX`, and the bytes of each name.
const DEPTH: usize = 20;
const NAME_BYTES: usize = 250;

const WATCH: &str = "file_open: file.f_path.dentry.d_name.name as name \
                     if file.f_path.dentry.d_name.name == \"forbidden\" deny EACCES";

/// Nobody's flood decides what is refused, whether the host reads or not, nor costs a rule its records.
pub(super) fn flooded(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, ruled) = (guest.file("forbidden")?, guest.file("ruled")?);
    let neighbour = guest.file("neighbour")?;
    let rules = format!("open {} 600000 13", ruled.display());
    let host = guest.sentry(&rules, &["--watch", WATCH])?;
    drop(File::open(&ruled)?);
    wait_for_errno(EACCES, || File::open(&ruled))?;
    expect_errno(EACCES, File::open(&secret))?;
    let object = ruled.to_string_lossy();
    let before = denials(&host, &object)?.len();
    host.signal(Signal::STOP)?;
    let acts = while_stopped([&secret, &ruled, &neighbour]);
    host.signal(Signal::CONT)?;
    acts?;
    wait_for("a record of each denial of the rule", || {
        Ok((denials(&host, &object)?.len() >= before + RULED).then_some(()))
    })?;
    denial(&host, "file_open", &object, "sentry")?;
    let acts = repeats(ACTS[0], ACTS[1]);
    let passed = amid_flood(&secret, &neighbour, acts)?;
    let may_pass = guest.boot() == Boot::WithoutBpf && preempts_itself();
    ensure!(passed == 0 || may_pass, "{passed} of {acts} opens passed");
    fs::read_to_string(&neighbour)?;
    let summary = host.stop(Signal::INT)?;
    let denied = in_all(&summary, "denied")?;
    ensure!(denied >= (acts + RULED - passed) as u64, "{denied} denied: {summary}");
    Ok(())
}

fn while_stopped([secret, ruled, neighbour]: [&Path; 3]) -> anyhow::Result<()> {
    for _ in 0..FLOOD {
        drop(File::open(neighbour)?);
    }
    expect_errno(EACCES, File::open(secret))?;
    for _ in 0..RULED {
        expect_errno(EACCES, File::open(ruled))?;
    }
    Ok(())
}

/// Opens that passed while others opened another file without an end.
fn amid_flood(secret: &Path, neighbour: &Path, acts: usize) -> anyhow::Result<usize> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..FLOODERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(File::open(neighbour));
                }
            });
        }
        let passed = (0..acts).try_fold(0, |passed, _| match File::open(secret) {
            Ok(_) => Ok(passed + 1),
            refused => expect_errno(EACCES, refused).map(|()| passed),
        });
        over.store(true, Ordering::Relaxed);
        passed
    })
}

/// A path that is too long to be read may start as a watch asks: it is refused, and counted.
pub(super) fn of_a_deep_path(guest: &mut Guest) -> anyhow::Result<()> {
    let neighbour = guest.file("neighbour")?;
    let folder = guest.path("deep");
    let deepest = nest(&folder)?;
    let file = || openat(&deepest, "x", OFlags::RDONLY, Mode::empty()).map_err(io::Error::from);
    drop(file()?);
    let watch = format!(
        "file_open: file.f_path as path if file.f_path.startsWith(\"{}/\") deny EPERM",
        folder.display()
    );
    if !guest.resolves("file_open") {
        let mut command = Command::new("/krsi/krsi-host");
        let refused = guest.refused(command.args(["--watch", &watch]))?;
        ensure!(refused.stderr.contains("resolves no path at this hook"), "{refused:?}");
        return Ok(());
    }
    let host = guest.start(&watches(&[&watch]))?;
    expect_errno(EPERM, file())?;
    expect_errno(EPERM, fs::write(folder.join("y"), "y"))?;
    fs::read_to_string(&neighbour)?;
    let summary = host.stop(Signal::INT)?;
    let (denied, errors) = (in_all(&summary, "denied")?, in_all(&summary, "errors")?);
    ensure!(denied == 2 && errors == 1, "{denied} denied, {errors} errors: {summary}");
    drop(file()?);
    Ok(())
}

/// Folders within each other, with the file `x` in the last.
fn nest(first: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    mkdirat(CWD, first, Mode::RWXU)?;
    let mut folder = openat(CWD, first, flags, Mode::empty())?;
    let name = "n".repeat(NAME_BYTES);
    for _ in 0..DEPTH {
        mkdirat(&folder, &name, Mode::RWXU)?;
        folder = openat(&folder, &name, flags, Mode::empty())?;
    }
    drop(openat(&folder, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR)?);
    Ok(folder)
}

/// A number of all rows of the summary together.
fn in_all(summary: &Value, name: &str) -> anyhow::Result<u64> {
    let rows = summary["hooks"].as_array().context("hooks")?;
    Ok(rows.iter().filter_map(|row| row[name].as_u64()).sum())
}
