//! The exec family: what is denied, what is recorded, and who is left alone.

use std::fs;
use std::os::fd::AsRawFd;
use std::process::Command;

use anyhow::ensure;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{
    Connecting, Guest, Host, expect_errno, has_rule, listen, run, wait_for, wait_for_errno,
    wait_for_ok,
};
use crate::scene::{SENTRY, Scene, SceneTest, Stage};

pub(crate) const TESTS: &[Test] = &[("bprm_committed_creds_kill", Boot::Each, kill)];

pub(crate) const SCENES: &[SceneTest] = &[
    ("bprm_check_security_denied_by_inode", Boot::Each, &SENTRY, denied_by_inode),
    ("bprm_check_security_denied_right_after_a_fork", Boot::Each, &SENTRY, denied_after_fork),
    ("bprm_check_security_deny_expires", Boot::Each, &SENTRY, deny_expires),
    ("miner_renamed_is_denied", Boot::Each, &MINER, miner_renamed),
    ("miner_memfd_is_denied", Boot::Each, &MINER, miner_memfd),
];

/// The miner plugin as it comes.
const MINER: Stage = Stage { name: "stage-miner", start: |guest, _| guest.host("miner", "") };

const EPERM: i32 = 1;
const EACCES: i32 = 13;

fn denied_by_inode(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let victim = guest.executable("busybox-victim")?;
    let neighbour = guest.executable("busybox-neighbour")?;
    let line = format!("exec {} 600000 13", victim.display());
    let scene = Scene::new(vec![line], move |host| {
        run(&victim, &["true"])?;
        wait_for_errno(EACCES, || run(&victim, &["true"]))?;
        let path = victim.to_string_lossy();
        let fields = [("kind", "verdict"), ("hook", "bprm_check_security"), ("object", &*path)];
        let record = host.report(&fields)?;
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
        let names = [path.into_owned(), link.to_string_lossy().into_owned()];
        wait_for("a record of each name", || {
            let reports = host.reports()?;
            let is_told = |name: &String| {
                let denied = |report: &serde_json::Value| {
                    report["verdict"] == "denied" && report["object"] == **name
                };
                reports.iter().any(denied)
            };
            Ok(names.iter().all(is_told).then_some(()))
        })
    });
    Ok(scene.ending(|summary| {
        let row = hook(summary, "bprm_check_security");
        ensure!(row["denied"].as_u64() >= Some(3), "{row}");
        Ok(())
    }))
}

/// The record of a process that was forked a moment before says what it runs.
fn denied_after_fork(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let victim = guest.executable("busybox-victim")?;
    Ok(Scene::new(vec![format!("exec {} 600000 13", victim.display())], move |host| {
        run(&victim, &["true"])?;
        wait_for_errno(EACCES, || run(&victim, &["true"]))?;
        let path = victim.to_string_lossy();
        let text = format!("for i in 1 2 3 4 5 6 7 8 9 10; do {path} true; done");
        let mut command = Command::new("/bin/busybox");
        command.args(["sh", "-c", &text]).stderr(std::process::Stdio::null()).status()?;
        let forked = |record: &&serde_json::Value| {
            record["kind"] == "verdict" && record["comm"] == "busybox" && record["object"] == *path
        };
        let records = wait_for("ten records of the shell's children", || {
            let records: Vec<_> = host.reports()?.iter().filter(forked).cloned().collect();
            Ok((records.len() >= 10).then_some(records))
        })?;
        let known = |record: &serde_json::Value| record["exe"] == "/bin/busybox";
        ensure!(records.iter().all(known), "{records:#?}");
        Ok(())
    }))
}

fn hook<'a>(summary: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let rows = summary["hooks"].as_array();
    rows.and_then(|rows| rows.iter().find(|row| row["hook"] == name)).unwrap_or(summary)
}

fn deny_expires(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let victim = guest.executable("busybox-victim")?;
    Ok(Scene::new(vec![format!("exec {} 6000 1", victim.display())], move |_| {
        run(&victim, &["true"])?;
        wait_for_errno(EPERM, || run(&victim, &["true"]))?;
        wait_for_ok(|| run(&victim, &["true"]))
    }))
}

fn kill(guest: &mut Guest) -> anyhow::Result<()> {
    let victim = guest.executable("busybox-victim")?;
    let config = format!("kill {} 0 0", victim.display());
    // Started before the host: two programs that start together may preempt each other in the hook.
    let mut neighbour = Command::new("/bin/sleep").arg("600").spawn()?;
    let host = guest.sentry(&config, &["--grant-kill"])?;
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

fn miner_renamed(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let miner = guest.path("kworkerd");
    fs::copy("/krsi/stand-in-miner", &miner)?;
    // A fresh build in a folder where anybody may write, which talks to the same port.
    let build = guest.path("fresh-build");
    fs::copy("/krsi/stand-in-miner", &build)?;
    let scene = Scene::new(Vec::new(), move |host| {
        listen("127.0.0.1:3333")?;
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
        let alert = alert_of(host, &mining)?;
        ensure!(alert["technique"] == "T1496", "{alert}");
        for hook in ["bprm_check_security", "socket_connect"] {
            host.report(&[
                ("kind", "verdict"),
                ("verdict", "denied"),
                ("hook", hook),
                ("plugin", "miner"),
            ])?;
        }
        ensure!(innocent.last()? == "ok", "the innocent neighbour was denied");
        Ok(())
    });
    Ok(scene.ending(|summary| {
        ensure!(summary["delay_p99_ns"].as_u64() > Some(0), "{summary}");
        Ok(())
    }))
}

/// The alert of a miner that runs.
fn alert_of(host: &Host, mining: &Connecting) -> anyhow::Result<serde_json::Value> {
    wait_for("an alert of the miner", || {
        let alerts = host.reports()?.into_iter().filter(|report| report["kind"] == "alert");
        Ok(alerts.into_iter().find(|alert| alert["tgid"] == mining.pid()))
    })
}

fn miner_memfd(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    Ok(Scene::new(Vec::new(), move |host| {
        listen("127.0.0.1:4444")?;
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
        let alert = alert_of(host, &mining)?;
        ensure!(alert["technique"] == "T1496", "{alert}");
        ensure!(alert["evidence"].to_string().contains("in memory"), "{alert}");
        Ok(())
    }))
}
