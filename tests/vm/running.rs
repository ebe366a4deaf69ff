//! What runs when a plugin starts: each process is told of once, with what `/proc` says of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, wait_for};
use crate::reload::put;

pub(crate) const TESTS: &[Test] = &[("running_is_told_once_by_a_flood", Boot::Default, told_once)];

/// Processes that sleep all the while.
const SLEEPERS: usize = 40;

/// Children that end with the test; their input stays open.
struct Children(Vec<Child>);

impl Children {
    fn start(&mut self, command: &mut Command) -> anyhow::Result<u32> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let pid = child.id();
        self.0.push(child);
        Ok(pid)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Every text of the plugin so far, with the process that it is about.
fn texts(host: &Host) -> anyhow::Result<Vec<(u64, String)>> {
    let own = |report: &Value| report["kind"] == "alert" && report["plugin"] == "muster";
    let reports = host.reports()?.into_iter().filter(own);
    let text = |report: Value| {
        let text = report["text"].as_str().unwrap_or_default().to_owned();
        (report["tgid"].as_u64().unwrap_or_default(), text)
    };
    Ok(reports.map(text).collect())
}

/// The first text that starts so.
fn text(host: &Host, start: &str) -> anyhow::Result<String> {
    wait_for(start, || Ok(texts(host)?.into_iter().find(|(_, text)| text.starts_with(start))))
        .map(|(_, text)| text)
        .with_context(|| format!("{:#?}\n{}", host.reports(), host.stderr()))
}

/// The text about a process.
fn about(host: &Host, pid: u32) -> anyhow::Result<String> {
    wait_for(&format!("a text about {pid}"), || {
        let of = |(tgid, text): &(u64, String)| *tgid == u64::from(pid) && text.starts_with('/');
        Ok(texts(host)?.into_iter().find(of))
    })
    .map(|(_, text)| text)
    .with_context(|| format!("{:#?}\n{}", host.reports(), host.stderr()))
}

/// A process that runs before the host.
struct Crowd {
    children: Children,
    /// Executable of all but those who fork.
    sleeper: PathBuf,
    /// Has long arguments.
    wordy: u32,
    /// Has a connection in a network namespace of its own.
    caller: u32,
    /// While it is there, two fork and execute all the while.
    go_on: PathBuf,
}

impl Crowd {
    fn start(guest: &Guest) -> anyhow::Result<Self> {
        let (sleeper, forker) =
            (guest.executable("busybox-sleeper")?, guest.executable("busybox-fork")?);
        let go_on = guest.file("go-on")?;
        let mut children = Children(Vec::new());
        for _ in 0..SLEEPERS {
            children.start(Command::new(&sleeper).args(["sleep", "1000"]))?;
        }
        let long = "x".repeat(20_000);
        let words = ["sh", "-c", "sleep 1000; true", "--", &long, "end"];
        let wordy = children.start(Command::new(&sleeper).args(words))?;
        // Nobody but the two in that namespace can see the connection.
        let apart = format!(
            "ip link set lo up; (sleep 1000 | nc -l -p 5757 >/dev/null) & sleep 2; exec {} nc 127.0.0.1 5757",
            sleeper.display()
        );
        let mut command = Command::new("/bin/busybox");
        let caller = children.start(command.args(["unshare", "-n", "sh", "-c", &apart]))?;
        // It executes under the same number again and again, and its children come and go.
        let flood = r#"while [ -e "$1" ]; do /bin/busybox true & /bin/busybox true; wait; done"#;
        for _ in 0..2 {
            let mut command = Command::new(&forker);
            command.args(["sh", "-c", flood, "sh"]).arg(&go_on);
            children.start(&mut command)?;
        }
        wait_for("the connection in the other namespace", || {
            let tcp = fs::read_to_string(format!("/proc/{caller}/net/tcp"))?;
            let exe = fs::read_link(format!("/proc/{caller}/exe"))?;
            // 5757 as hexadecimal, established.
            Ok((exe == sleeper && tcp.contains(":167D 01")).then_some(()))
        })?;
        Ok(Self { children, sleeper, wordy, caller, go_on })
    }

    /// That each was told of once, with what it is.
    fn is_told(&self, host: &Host, end: &str) -> anyhow::Result<()> {
        let number = |word: &str| -> anyhow::Result<u64> {
            let mut words = end.split([' ', ',']).skip_while(|one| *one != word).skip(1);
            words.next().and_then(|number| number.parse().ok()).with_context(|| end.to_owned())
        };
        ensure!(number("told")? == number("said")? && number("told")? > SLEEPERS as u64, "{end}");
        ensure!(number("twice")? == 0 && number("outside")? == 0, "{end}");
        let told = texts(host)?;
        let sleepers = told.iter().filter(|(_, text)| text.contains("arguments 3 of"));
        let sleepers: BTreeSet<u64> = sleepers.map(|(pid, _)| *pid).collect();
        ensure!(sleepers.len() >= SLEEPERS, "{} of {SLEEPERS}: {told:#?}", sleepers.len());
        let own = std::process::id();
        let sleeper = about(host, self.children.0[0].id())?;
        for words in [
            format!("{} flags 0 arguments 3 of", self.sleeper.display()),
            format!("parent {own} {own}, uid 0, cgroup \"/"),
        ] {
            ensure!(sleeper.contains(&words), "no {words:?} in {sleeper}");
        }
        let wordy = about(host, self.wordy)?;
        ensure!(wordy.contains("arguments 7 of 20"), "{wordy}");
        let apart = about(host, self.caller)?;
        ensure!(apart.ends_with("to 127.0.0.1:5757"), "{apart}");
        Ok(())
    }
}

/// Sleepers, a process with long arguments, a connection in another network namespace, and somebody who forks and
/// executes all the while: each that runs is told once, whoever takes over is told only if it asks, and a recording
/// plays again what was told.
fn told_once(guest: &mut Guest) -> anyhow::Result<()> {
    let mut crowd = Crowd::start(guest)?;
    let (plugin, config) = (guest.path("muster.wasm"), guest.path("muster.conf"));
    fs::copy("/krsi/muster.wasm", &plugin)?;
    fs::write(&config, crowd.sleeper.display().to_string())?;
    let recording = guest.path("told.rec");
    let paths = [("--plugin", &plugin), ("--plugin-config", &config), ("--record", &recording)];
    let arguments = paths.map(|(word, path)| [word.to_owned(), path.display().to_string()]);
    let mut host = guest.start(&arguments.concat())?;
    let end = text(&host, "end: ")?;
    crowd.is_told(&host, &end)?;
    // That a process is gone is told too, though no event described it.
    let first = &mut crowd.children.0[0];
    first.kill().and_then(|()| first.wait())?;
    text(&host, &format!("gone {}", first.id()))?;
    takes_over(&host, &plugin)?;
    ensure!(host.is_running()?, "the host ended");
    fs::remove_file(&crowd.go_on)?;
    host.stop(Signal::INT)?;

    let mut command = Command::new("/krsi/krsi-host");
    command.arg("replay").arg(&recording).args(["--plugin", "/krsi/muster.wasm"]);
    let output = command.args(["--cache-dir", "/var/cache/krsi-host"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // It comes of the tape's own calls; the tapes of the two that took over are of other files.
    let mut tapes = text.lines().filter(|line| line.contains(" calls, "));
    let first = tapes.next().with_context(|| text.clone())?;
    let is_same = first.ends_with(" calls as on the tape") && !first.contains(", 0 actions");
    ensure!(text.contains(&end) && is_same, "{text}");
    Ok(())
}

/// A version that takes over is told only if it asks.
fn takes_over(host: &Host, plugin: &Path) -> anyhow::Result<()> {
    let mut next = fs::read(plugin)?;
    next.extend_from_slice(b"\0\x05\x04next");
    put(plugin, &next)?;
    host.reload("muster")?;
    host.note(&["muster 1.0.0 runs", "in place of 1.0.0"])?;
    put(plugin, &fs::read("/krsi/muster_again.wasm")?)?;
    let answer = host.reload("muster")?;
    let again = text(host, "again: ").with_context(|| answer)?;
    ensure!(again != "again: said 0", "{again}");
    let ends = texts(host)?.into_iter().filter(|(_, text)| text.starts_with("end: ")).count();
    ensure!(ends == 1, "{ends} ends: {:#?}", texts(host)?);
    Ok(())
}
