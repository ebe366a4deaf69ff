//! What runs when a plugin starts: each process is told of once, with what `/proc` says of it.

use std::fs;
use std::net::{TcpListener, TcpStream};
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

/// Sleepers, a process with long arguments, a connection in another network namespace, and somebody who forks and
/// executes all the while: each that runs is told once, whoever takes over is told only if it asks, and a recording
/// plays again what was told.
fn told_once(guest: &mut Guest) -> anyhow::Result<()> {
    let (sleeper, forker) =
        (guest.executable("busybox-sleeper")?, guest.executable("busybox-fork")?);
    let go_on = guest.file("go-on")?;
    let mut children = Children(Vec::new());
    for _ in 0..SLEEPERS {
        children.start(Command::new(&sleeper).args(["sleep", "1000"]))?;
    }
    let long = "x".repeat(20_000);
    let wordy = children.start(Command::new(&sleeper).args([
        "sh",
        "-c",
        "sleep 1000; true",
        "--",
        &long,
        "end",
    ]))?;
    // Nobody but the two in that namespace can see the connection.
    let apart = "ip link set lo up; (sleep 1000 | nc -l -p 5757 >/dev/null) & sleep 2; exec nc 127.0.0.1 5757";
    let script = format!("exec {} nc 127.0.0.1 5757", sleeper.display());
    let apart = apart.replace("exec nc 127.0.0.1 5757", &script);
    let mut command = Command::new("/bin/busybox");
    let caller = children.start(command.args(["unshare", "-n", "sh", "-c", &apart]))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let _own = TcpStream::connect(listener.local_addr()?)?;
    // It executes under the same number again and again, and its children come and go.
    let flood = r#"while [ -e "$1" ]; do /bin/busybox true & /bin/busybox true; wait; done"#;
    for _ in 0..2 {
        let mut command = Command::new(&forker);
        command.args(["sh", "-c", flood, "sh"]).arg(&go_on);
        children.start(&mut command)?;
    }
    // The connection is there before the host is.
    wait_for("the connection in the other namespace", || {
        let tcp = fs::read_to_string(format!("/proc/{caller}/net/tcp"))?;
        let exe = fs::read_link(format!("/proc/{caller}/exe"))?;
        // 5757 as hexadecimal, established.
        Ok((exe == sleeper && tcp.contains(":167D 01")).then_some(()))
    })?;
    let plugin = guest.path("muster.wasm");
    fs::copy("/krsi/muster.wasm", &plugin)?;
    let config = guest.path("muster.conf");
    fs::write(&config, sleeper.display().to_string())?;
    let recording = guest.path("told.rec");
    let arguments = ["--plugin", &plugin.display().to_string(), "--plugin-config"];
    let arguments = arguments.into_iter().map(str::to_owned);
    let arguments = arguments.chain([config.display().to_string(), "--record".into()]);
    let arguments: Vec<String> = arguments.chain([recording.display().to_string()]).collect();
    let mut host = guest.start(&arguments)?;
    let end = text(&host, "end: ")?;
    let number = |word: &str| -> anyhow::Result<u64> {
        let mut words = end.split([' ', ',']).skip_while(|one| *one != word).skip(1);
        words.next().and_then(|number| number.parse().ok()).with_context(|| end.clone())
    };
    ensure!(number("told")? == number("said")? && number("told")? > SLEEPERS as u64, "{end}");
    ensure!(number("twice")? == 0 && number("outside")? == 0, "{end}");
    // All alerts come, as few as they are; each sleeper is one process.
    let told = texts(&host)?;
    let mut sleepers: Vec<u64> = told
        .iter()
        .filter(|(_, text)| text.contains("arguments 3 of"))
        .map(|(pid, _)| *pid)
        .collect();
    sleepers.sort_unstable();
    sleepers.dedup();
    ensure!(sleepers.len() >= SLEEPERS, "{} of {SLEEPERS}: {told:#?}", sleepers.len());

    let own = std::process::id();
    let sleeper_text = about(&host, children.0[0].id())?;
    let words = [
        format!("{} flags 0 arguments 3 of", sleeper.display()),
        format!("parent {own} {own}, uid 0, cgroup \"/"),
    ];
    for words in words {
        ensure!(sleeper_text.contains(&words), "no {words:?} in {sleeper_text}");
    }
    let wordy = about(&host, wordy)?;
    ensure!(wordy.contains("arguments 7 of 20"), "{wordy}");
    let apart = about(&host, caller)?;
    ensure!(apart.ends_with("to 127.0.0.1:5757"), "{apart}");

    // That a process is gone is told too, though no event described it.
    let first = children.0[0].id();
    children.0[0].kill().and_then(|()| children.0[0].wait())?;
    text(&host, &format!("gone {first}"))?;
    // A version that takes over is told only if it asks.
    let mut next = fs::read(&plugin)?;
    next.extend_from_slice(b"\0\x05\x04next");
    put(&plugin, &next)?;
    host.reload("muster")?;
    host.note(&["muster 1.0.0 runs", "in place of 1.0.0"])?;
    put(&plugin, &fs::read("/krsi/muster_again.wasm")?)?;
    let answer = host.reload("muster")?;
    let again = text(&host, "again: ").with_context(|| answer)?;
    ensure!(again != "again: said 0", "{again}");
    let ends = texts(&host)?.into_iter().filter(|(_, text)| text.starts_with("end: ")).count();
    ensure!(ends == 1, "{ends} ends: {:#?}", texts(&host)?);
    ensure!(host.is_running()?, "the host ended");
    fs::remove_file(&go_on)?;
    host.stop(Signal::INT)?;

    let mut command = Command::new("/krsi/krsi-host");
    command.arg("replay").arg(&recording).args(["--plugin", "/krsi/muster.wasm"]);
    let output = command.args(["--cache-dir", "/var/cache/krsi-host"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // It comes of the tape's own calls; the tapes of the two that took over are of other files.
    let mut tapes = text.lines().filter(|line| line.contains(" calls, "));
    let first = tapes.next().context("no tape").with_context(|| text.clone())?;
    let is_same = first.ends_with(" calls as on the tape") && !first.contains(", 0 actions");
    ensure!(text.contains(&end) && is_same, "{text}");
    Ok(())
}
