//! The exec family: what is denied, what is recorded, and who is left alone.

use std::fs;
use std::os::fd::AsRawFd;
use std::process::Command;

use anyhow::ensure;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{
    Connecting, Guest, expect_errno, has_rule, listen, run, wait_for, wait_for_errno, wait_for_ok,
};

pub(crate) const TESTS: &[Test] = &[
    ("bprm_check_security_denied_by_inode", Boot::Each, denied_by_inode),
    ("bprm_check_security_denied_right_after_a_fork", Boot::Each, denied_after_fork),
    ("bprm_check_security_deny_expires", Boot::Each, deny_expires),
    ("bprm_committed_creds_kill", Boot::Each, kill),
    ("miner_renamed_is_denied", Boot::Each, miner_renamed),
    ("miner_memfd_is_denied", Boot::Each, miner_memfd),
];

const EPERM: i32 = 1;
const EACCES: i32 = 13;

fn denied_by_inode(guest: &mut Guest) -> anyhow::Result<()> {
    let victim = guest.executable("busybox-victim")?;
    let neighbour = guest.executable("busybox-neighbour")?;
    let host = guest.host("sentry", &format!("exec {} 60000 13", victim.display()))?;
    run(&victim, &["true"])?;
    wait_for_errno(EACCES, || run(&victim, &["true"]))?;
    let path = victim.to_string_lossy();
    let record =
        host.report(&[("kind", "verdict"), ("hook", "bprm_check_security"), ("object", &path)])?;
    ensure!(record["verdict"] == "denied" && record["errno"] == "EACCES", "{record}");
    ensure!(record["plugin"] == "sentry" && has_rule(&record), "{record}");
    ensure!(record["reason"] == format!("sentry: exec {path}"), "{record}");
    // By whatever name: a hard link and a rename reach the same inode.
    let link = guest.path("busybox-link");
    fs::hard_link(&victim, &link)?;
    expect_errno(EACCES, run(&link, &["true"]))?;
    fs::rename(&victim, guest.path("busybox-renamed"))?;
    expect_errno(EACCES, run(&guest.path("busybox-renamed"), &["true"]))?;
    run(&neighbour, &["true"])?;
    let summary = host.stop(Signal::INT)?;
    let row = hook(&summary, "bprm_check_security");
    ensure!(row["denied"].as_u64() >= Some(3), "{row}");
    Ok(())
}

/// The record of a process that was forked a moment before says what it runs.
fn denied_after_fork(guest: &mut Guest) -> anyhow::Result<()> {
    let victim = guest.executable("busybox-victim")?;
    let host = guest.host("sentry", &format!("exec {} 60000 13", victim.display()))?;
    run(&victim, &["true"])?;
    wait_for_errno(EACCES, || run(&victim, &["true"]))?;
    let text = format!("for i in 1 2 3 4 5 6 7 8 9 10; do {} true; done", victim.display());
    let mut command = Command::new("/bin/busybox");
    command.args(["sh", "-c", &text]).stderr(std::process::Stdio::null()).status()?;
    let forked =
        |record: &&serde_json::Value| record["kind"] == "verdict" && record["comm"] == "busybox";
    let records = wait_for("ten records of the shell's children", || {
        let records: Vec<_> = host.reports()?.iter().filter(forked).cloned().collect();
        Ok((records.len() >= 10).then_some(records))
    })?;
    let known = |record: &serde_json::Value| record["exe"] == "/bin/busybox";
    ensure!(records.iter().all(known), "{records:#?}");
    host.stop(Signal::INT).map(drop)
}

fn hook<'a>(summary: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let rows = summary["hooks"].as_array();
    rows.and_then(|rows| rows.iter().find(|row| row["hook"] == name)).unwrap_or(summary)
}

fn deny_expires(guest: &mut Guest) -> anyhow::Result<()> {
    let victim = guest.executable("busybox-victim")?;
    let host = guest.host("sentry", &format!("exec {} 6000 1", victim.display()))?;
    run(&victim, &["true"])?;
    wait_for_errno(EPERM, || run(&victim, &["true"]))?;
    wait_for_ok(|| run(&victim, &["true"]))?;
    host.stop(Signal::TERM).map(drop)
}

fn kill(guest: &mut Guest) -> anyhow::Result<()> {
    let victim = guest.executable("busybox-victim")?;
    let config = format!("kill {} 0 0", victim.display());
    // Started before the host: two programs that start together may preempt each other in the hook.
    let mut neighbour = Command::new("/bin/sleep").arg("600").spawn()?;
    let host = guest.host_with(&[("sentry", &config)], &["--grant-kill"])?;
    let status = Command::new(&victim).args(["sleep", "60"]).status()?;
    use std::os::unix::process::ExitStatusExt;
    let told = || format!("{status}; {:#?}\n{}", host.reports(), host.stderr());
    ensure!(status.signal() == Some(9), "{}", told());
    ensure!(neighbour.try_wait()?.is_none(), "the neighbour was killed too");
    neighbour.kill()?;
    neighbour.wait()?;
    host.stop(Signal::INT)?;
    // Without the operator's grant the same wish is refused, in words.
    let host = guest.host("sentry", &config)?;
    run(&victim, &["true"])?;
    let refusal = host.report(&[("kind", "refusal"), ("plugin", "sentry")])?;
    ensure!(refusal["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{refusal}");
    host.stop(Signal::INT).map(drop)
}

fn miner_renamed(guest: &mut Guest) -> anyhow::Result<()> {
    let miner = guest.path("kworkerd");
    fs::copy("/krsi/stand-in-miner", &miner)?;
    // A fresh build in a folder where anybody may write, which talks to the same port.
    let build = guest.path("fresh-build");
    fs::copy("/krsi/stand-in-miner", &build)?;
    listen("127.0.0.1:3333")?;
    let host = guest.host("miner", "")?;
    let pool = ["--repeat", "4000", "--every", "50", "-o"];
    let mut command = Command::new(&miner);
    command.args(["--donate-level", "1"]).args(pool).arg("stratum+tcp://127.0.0.1:3333");
    let mining = Connecting::start(&mut command, guest.path("mining"))?;
    let mut command = Command::new(&build);
    command.args(pool).arg("127.0.0.1:3333");
    let innocent = Connecting::start(&mut command, guest.path("innocent"))?;
    mining.wait_for("EPERM")?;
    wait_for_errno(EPERM, || run(&miner, &[]))?;
    innocent.wait_for("ok")?;
    let alert = host.report(&[("kind", "alert"), ("technique", "T1496")])?;
    ensure!(alert["tgid"] == mining.pid(), "{alert}");
    for hook in ["bprm_check_security", "socket_connect"] {
        host.report(&[
            ("kind", "verdict"),
            ("verdict", "denied"),
            ("hook", hook),
            ("plugin", "miner"),
        ])?;
    }
    ensure!(innocent.last()? == "ok", "the innocent neighbour was denied");
    let summary = host.stop(Signal::INT)?;
    ensure!(summary["delay_p99_ns"].as_u64() > Some(0), "{summary}");
    Ok(())
}

fn miner_memfd(guest: &mut Guest) -> anyhow::Result<()> {
    listen("127.0.0.1:4444")?;
    let host = guest.host("miner", "")?;
    let memfd = memfd_create("kworker", MemfdFlags::empty())?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), memfd.as_raw_fd());
    fs::copy("/krsi/stand-in-miner", &path)?;
    let mut command = Command::new(&path);
    let repeat = ["--repeat", "4000", "--every", "50", "-o"];
    // A container runtime runs from memory too.
    let mut runtime = Command::new(&path);
    runtime.args(repeat).arg("127.0.0.1:4444");
    let runtime = Connecting::start(&mut runtime, guest.path("runtime"))?;
    runtime.wait_for("ok")?;
    command.args(["--donate-level", "1"]).args(repeat).arg("stratum+tcp://127.0.0.1:4444");
    let mining = Connecting::start(&mut command, guest.path("mining"))?;
    mining.wait_for("EPERM")?;
    ensure!(runtime.last()? == "ok", "the neighbour in memory was denied");
    let alert = host.report(&[("kind", "alert"), ("technique", "T1496")])?;
    ensure!(alert["evidence"].to_string().contains("in memory"), "{alert}");
    host.stop(Signal::INT).map(drop)
}
