//! Samples: what a process uses, whose files it sees, and its arguments, as its plugin asks.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, wait_for};

pub(crate) const TESTS: &[Test] =
    &[("samples_tell_a_busy_process_from_its_idle_twin", Boot::Default, samples)];

/// Where the twin is connected to.
const TO: &str = "127.0.0.1:5858";
/// Of a processor, in a hundred, at least of who is busy and at most of who is idle.
const BUSY: u64 = 20;
const IDLE: u64 = 10;

/// Children that end with the test; their input stays open.
#[derive(Default)]
struct Metered(Vec<Child>);

impl Metered {
    fn start(&mut self, command: &mut Command) -> anyhow::Result<u32> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let pid = child.id();
        self.0.push(child);
        Ok(pid)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Every text of the plugin about a process.
fn told(host: &Host, pid: u32) -> anyhow::Result<Vec<String>> {
    let is_own = |report: &&Value| report["kind"] == "alert" && report["tgid"] == pid;
    let text = |report: &Value| report["text"].as_str().unwrap_or_default().to_owned();
    Ok(host.reports()?.iter().filter(is_own).map(text).collect())
}

/// The first text about a process that holds some words.
fn text(host: &Host, pid: u32, words: &str) -> anyhow::Result<String> {
    wait_for(&format!("{words:?} of {pid}"), || {
        Ok(told(host, pid)?.into_iter().find(|text| text.contains(words)))
    })
    .with_context(|| format!("{:#?}\n{}", host.reports(), host.stderr()))
}

/// What of a processor each sample but the first says.
fn cpu(told: &[String]) -> Vec<u64> {
    let of = |text: &String| {
        let rest = text.strip_prefix("sample ")?;
        let (number, rest) = rest.split_once(" cpu ")?;
        (number != "1").then(|| rest.split(' ').next()?.parse().ok())?
    };
    told.iter().filter_map(of).collect()
}

/// That one process worked between its samples, and another one did not.
fn worked_and_slept(busy: &[String], idle: &[String]) -> anyhow::Result<()> {
    let (worked, slept) = (cpu(busy), cpu(idle));
    let is_busy = worked.len() == 3 && worked.iter().any(|cpu| *cpu >= BUSY);
    let is_idle = slept.len() == 3 && slept.iter().all(|cpu| *cpu <= IDLE);
    ensure!(is_busy && is_idle, "{worked:?} {slept:?}");
    Ok(())
}

fn samples(guest: &mut Guest) -> anyhow::Result<()> {
    let listener = TcpListener::bind(TO)?;
    // Each is kept for as long as the test runs.
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    let metered = guest.executable("busybox-metered")?;
    let mut all = Metered::default();
    let of = |path: &Path, words: &[&str]| {
        let mut command = Command::new(path);
        command.args(words);
        command
    };
    let busy = all.start(&mut of(&metered, &["sh", "-c", "while :; do :; done"]))?;
    let idle = all.start(&mut of(&metered, &["nc", "127.0.0.1", "5858"]))?;
    // One with a root of its own, which ends before its samples do.
    let root = guest.path("jail");
    fs::create_dir_all(&root)?;
    fs::copy(&metered, root.join("busybox-metered"))?;
    let mut chroot = Command::new("/bin/busybox");
    let jailed =
        all.start(chroot.arg("chroot").arg(&root).args(["/busybox-metered", "sleep", "1000"]))?;
    let neighbour = all.start(&mut of("/bin/busybox".as_ref(), &["sleep", "1000"]))?;
    wait_for("the one in its own root", || {
        let exe = fs::read_link(format!("/proc/{jailed}/exe"))?;
        Ok(exe.ends_with("busybox-metered").then_some(()))
    })?;

    let (config, recording) = (guest.file("meter.conf")?, guest.path("metered.rec"));
    fs::write(&config, "metered")?;
    let paths = [("--plugin-config", &config), ("--record", &recording)]
        .map(|(word, path)| [word.to_owned(), path.display().to_string()]);
    let plugin = ["--plugin".to_owned(), "/krsi/meter.wasm".to_owned()];
    let host = guest.start(&[&plugin[..], &paths.concat()].concat())?;

    text(&host, jailed, "sample 1 ")?;
    all.0.get_mut(2).context("three children")?.kill()?;
    text(&host, jailed, "Ended last true")?;
    for (pid, root) in [(busy, "root Machine mounts Machine"), (jailed, "root Own mounts Machine")]
    {
        ensure!(text(&host, pid, "root ")?.starts_with(root), "{:#?}", told(&host, pid));
    }
    let last = text(&host, idle, "last true")?;
    ensure!(last.contains("sample 4 ") && last.contains(" to 5858 last"), "{last}");
    ensure!(
        text(&host, busy, "last true")?.contains(" resident true "),
        "{:#?}",
        told(&host, busy)
    );
    worked_and_slept(&told(&host, busy)?, &told(&host, idle)?)?;
    for refused in ["refused Invalid: samples every 10 ms", "refused UnknownProcess"] {
        text(&host, 0, refused)?;
    }
    ensure!(told(&host, neighbour)?.is_empty(), "{:#?}", told(&host, neighbour));

    // More arguments than a record has room for.
    let long = "x".repeat(20_000);
    let wordy =
        all.start(&mut of(&metered, &["sh", "-c", "sleep 1000; true", "--", &long, "end"]))?;
    let arguments = text(&host, wordy, "arguments ")?;
    ensure!(
        arguments.starts_with("arguments 7 of 200") && arguments.ends_with("cut false"),
        "{arguments}"
    );
    host.stop(Signal::INT)?;
    plays_again(&recording, &last)
}

/// A recording plays the same samples again.
fn plays_again(recording: &Path, last: &str) -> anyhow::Result<()> {
    let mut command = Command::new("/krsi/krsi-host");
    command.arg("replay").arg(recording).args(["--plugin", "/krsi/meter.wasm"]);
    let output = command.args(["--cache-dir", "/var/cache/krsi-host"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tape = text.lines().find(|line| line.contains(" calls, ")).with_context(|| text.clone())?;
    ensure!(text.contains(last) && tape.ends_with(" calls as on the tape"), "{text}");
    Ok(())
}
