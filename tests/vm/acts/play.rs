//! An act while it runs: its process, and what becomes of its connections.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;

use super::{How, MinerAct};
use crate::harness::{Guest, wait_for};

const STAND_IN: &str = "/krsi/stand-in-miner";

/// Listens wherever acts connect to, and keeps what comes.
pub(super) fn pools<'a>(acts: impl Iterator<Item = &'a MinerAct>) -> anyhow::Result<()> {
    let mut all: Vec<&str> = acts.filter_map(|act| act.to.as_deref()).collect();
    all.sort_unstable();
    all.dedup();
    for to in all {
        let listener = match TcpListener::bind(to) {
            // Another test of this guest listens there.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
            listener => listener.with_context(|| to.to_owned())?,
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Each is read until its other end closes it.
                std::thread::spawn(move || io::copy(&mut &stream, &mut io::sink()));
            }
        });
    }
    Ok(())
}

/// A process that plays an act; killed when dropped, with those that it started.
pub(super) struct Playing {
    pub(super) act: MinerAct,
    child: Child,
    out: PathBuf,
    /// Held as long as the act runs: a file in memory, or one that is gone.
    _file: Option<File>,
}

impl Playing {
    pub(super) fn start(guest: &Guest, act: &MinerAct) -> anyhow::Result<Self> {
        let out = guest.path(&format!("{}.out", act.name.replace('/', " ")));
        let (mut command, file) = command(guest, act)?;
        command.env("STAND_IN", act.to.as_deref().unwrap_or_default());
        if act.work {
            command.env("STAND_IN_WORK", "1");
        }
        if let Some(says) = &act.says {
            command.env("STAND_IN_SAYS", says);
        }
        // A group of its own, so that what it starts ends with it.
        command.process_group(0).stdin(Stdio::null());
        command.stdout(File::create(&out)?).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{act:?}"))?;
        Ok(Self { act: act.clone(), child, out, _file: file })
    }

    /// Waits until its first connection is there.
    pub(super) fn wait_until_it_runs(&self) -> anyhow::Result<()> {
        wait_for(&self.act.name, || Ok(self.outcomes()?.contains(": ok").then_some(())))
    }

    /// Whether a report is about it, or about what it started.
    pub(super) fn is_about(&self, report: &Value) -> bool {
        // A name that was drawn is in nobody else's path.
        let exe = report["exe"].as_str().unwrap_or_default();
        report["tgid"] == self.child.id() || !self.act.real && exe == self.act.program
    }

    /// Whether its last connection, or what it sent last, was refused.
    pub(super) fn is_refused(&self) -> anyhow::Result<bool> {
        Ok(self.outcomes()?.lines().rev().take(2).any(|line| line.ends_with(": EPERM")))
    }

    /// Whether it has connected, if it is to.
    pub(super) fn has_acted(&self) -> anyhow::Result<bool> {
        Ok(self.act.real || self.act.to.is_none() || self.outcomes()?.contains(": ok"))
    }

    /// What it told last.
    pub(super) fn last(&self) -> String {
        let text = self.outcomes().unwrap_or_default();
        text.lines().last().unwrap_or("nothing").to_owned()
    }

    fn outcomes(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        File::open(&self.out)?.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        // It may have ended already.
        let _killed = Command::new("/bin/kill").args(["-9", "--", &group]).status();
        let _ended = self.child.wait();
    }
}

fn command(guest: &Guest, act: &MinerAct) -> anyhow::Result<(Command, Option<File>)> {
    let (name, arguments) = act.argv.split_first().context("no arguments")?;
    let from = |path: &Path| {
        let mut command = Command::new(path);
        command.arg0(name).args(arguments);
        command
    };
    if act.real {
        return Ok((from(act.program.as_ref()), None));
    }
    let program = Path::new(&act.program);
    match act.how {
        How::Plain | How::Before => {
            copy(program)?;
            Ok((from(program), None))
        }
        How::Memfd | How::BeforeMemfd => {
            let file = File::from(memfd_create(act.program.as_str(), MemfdFlags::empty())?);
            let path = of_descriptor(&file);
            fs::copy(STAND_IN, &path)?;
            Ok((from(&path), Some(file)))
        }
        How::Deleted => {
            copy(program)?;
            let file = File::open(program)?;
            fs::remove_file(program)?;
            Ok((from(&of_descriptor(&file)), Some(file)))
        }
        How::Chroot => {
            let root = guest.path(&format!("root of {}", act.name));
            let inside = root.join(act.program.trim_start_matches('/'));
            copy(&inside)?;
            let mut command = Command::new("/bin/busybox");
            command.arg("chroot").arg(root).arg(program).args(arguments);
            Ok((command, None))
        }
        How::Loop => {
            copy(program)?;
            let mut command = Command::new("/bin/busybox");
            command.args(["sh", "-c", "while true; do \"$@\"; sleep 1; done", "sh"]);
            command.arg(program).args(arguments);
            Ok((command, None))
        }
        How::Env => {
            copy(program)?;
            let mut command = Command::new("/bin/busybox");
            command.args(["env", "HOME=/root"]).arg(program).args(arguments);
            Ok((command, None))
        }
    }
}

fn copy(to: &Path) -> anyhow::Result<()> {
    ensure!(!to.exists(), "{} is there", to.display());
    fs::create_dir_all(to.parent().context("no folder")?)?;
    fs::copy(STAND_IN, to)?;
    Ok(fs::set_permissions(to, Permissions::from_mode(0o755))?)
}

fn of_descriptor(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}
