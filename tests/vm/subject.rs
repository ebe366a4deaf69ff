//! Rules that name no object: on all who run in a cgroup, and on every call of a hook.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, expect_errno};
use crate::rule::{count, ruled, verdict};

pub(crate) const TESTS: &[Test] = &[
    ("rule_cgroup_denies_who_runs_in_it", Boot::Each, by_cgroup),
    ("rule_hook_denies_every_call", Boot::Each, by_hook),
];

const EPERM: i32 = 1;

/// Runs a shell's script from within a cgroup. The shell is put there from outside: its own redirection
/// would ask the hook for the file that it writes to.
pub(crate) fn run_in(
    cgroup: &Path,
    script: &str,
    arguments: &[&OsStr],
) -> anyhow::Result<ExitStatus> {
    let mut shell = Command::new("/bin/busybox");
    shell.args(["sh", "-c", &format!("read go && {script}"), "sh"]).args(arguments);
    let mut child = shell.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let procs = OpenOptions::new().write(true).open(cgroup.join("cgroup.procs"));
    procs.and_then(|mut procs| write!(procs, "{}", child.id()))?;
    child.stdin.take().context("its input")?.write_all(b"go\n")?;
    Ok(child.wait()?)
}

/// Whether a shell can read a file from within a cgroup.
fn reads_in(cgroup: &Path, file: &Path) -> anyhow::Result<bool> {
    Ok(run_in(cgroup, "read line < \"$1\"", &[file.as_os_str()])?.success())
}

/// A rule on a cgroup is about that one alone, not about those above or below it.
fn by_cgroup(guest: &mut Guest) -> anyhow::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let (denied, other) = (root.join("rule-cgroup"), root.join("rule-neighbour"));
    let below = denied.join("below");
    for cgroup in [&denied, &below, &other] {
        fs::create_dir_all(cgroup)?;
    }
    let file = guest.path("secret");
    fs::write(&file, "content\n")?;
    let rule = format!("cgroup {} 13 file_open", fs::metadata(&denied)?.ino());
    let host = ruled(guest, &rule, "", &[])?;
    ensure!(!reads_in(&denied, &file)?, "the cgroup could read");
    let object = file.to_string_lossy();
    let record = verdict(&host, &[("hook", "file_open"), ("object", &object)])?;
    ensure!(record["errno"] == "EACCES" && record["plugin"] == "ruler", "{record}");
    for cgroup in [&other, &below, root] {
        ensure!(reads_in(cgroup, &file)?, "{} could not read", cgroup.display());
    }
    let summary = host.stop(Signal::INT)?;
    ensure!(count(&summary, "file_open", "denied")? == 1, "{summary}");
    ensure!(reads_in(&denied, &file)?, "the denial stayed");
    [&below, &denied, &other].into_iter().try_for_each(|cgroup| Ok(fs::remove_dir(cgroup)?))
}

fn by_hook(guest: &mut Guest) -> anyhow::Result<()> {
    let (first, second) = (guest.file("first")?, guest.file("second")?);
    let host = ruled(guest, "hook every 1 path_unlink", "", &[])?;
    expect_errno(EPERM, fs::remove_file(&first))?;
    let status =
        Command::new("/bin/busybox").arg("rm").arg(&second).stderr(Stdio::null()).status()?;
    ensure!(!status.success(), "another process could remove a file");
    let record = verdict(&host, &[("hook", "path_unlink")])?;
    ensure!(record["errno"] == "EPERM" && record["plugin"] == "ruler", "{record}");
    // Another hook is nobody's affair.
    fs::rename(&second, guest.path("third"))?;
    let summary = host.stop(Signal::INT)?;
    ensure!(count(&summary, "path_unlink", "denied")? == 2, "{summary}");
    fs::remove_file(&first)?;
    Ok(())
}
