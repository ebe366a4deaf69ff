//! New versions of a plugin take over while events flow: nothing is lost, no rule is in doubt.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno, listen, repeats, run, wait_for, wait_for_errno};

pub(crate) const TESTS: &[Test] = &[
    ("reload_many_versions", Boot::Default, many),
    ("reload_when_the_file_changes", Boot::Default, watched),
    ("reload_on_hangup", Boot::Default, hangup),
    ("reload_folder", Boot::Default, folder),
    ("reload_falls_back", Boot::Default, falls_back),
    ("reload_refused_keeps_the_old", Boot::Default, refused),
    ("reload_shadow_compares", Boot::Default, shadow),
];

const EACCES: i32 = 13;
/// Versions that take over in the long test, usually and in a soak.
const VERSIONS: [usize; 2] = [60, 10_000];

/// A census of another version and temper.
pub(crate) fn census(version: &str, temper: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = fs::read("/krsi/census.wasm")?;
    for (from, to) in [("1.0.000", version), ("TRAP-OFF", temper)] {
        ensure!(from.len() == to.len(), "{to} does not fit");
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
        let at = at.with_context(|| format!("no {from} in the census"))?;
        bytes.splice(at..at + from.len(), to.bytes());
    }
    Ok(bytes)
}

/// Puts a file in place of another at once.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    Ok(fs::rename(&new, path)?)
}

/// Starts a host with a census that lies in the test's folder.
pub(crate) fn host(guest: &Guest, more: &[&str]) -> anyhow::Result<(Host, PathBuf)> {
    let plugin = guest.path("census.wasm");
    put(&plugin, &census("1.0.000", "TRAP-OFF")?)?;
    let mut arguments = vec!["--plugin".to_owned(), plugin.display().to_string()];
    arguments.extend(more.iter().map(|word| (*word).to_owned()));
    Ok((guest.start(&arguments)?, plugin))
}

/// A program that ends at once, under a name that means something to a fixture.
pub(crate) fn trigger(guest: &Guest, name: &str) -> anyhow::Result<()> {
    let path = guest.path(name);
    if !path.exists() {
        fs::copy("/krsi/stand-in-miner", &path)?;
    }
    Ok(run(&path, &[])?)
}

/// What the census says it counted: words by name.
pub(crate) fn count(guest: &Guest, host: &Host) -> anyhow::Result<Count> {
    let told = |host: &Host| -> anyhow::Result<Vec<Value>> {
        let alerts = host.reports()?.into_iter();
        Ok(alerts.filter(|report| report["technique"] == "T1083").collect())
    };
    let before = told(host)?.len();
    trigger(guest, "report-me")?;
    let alert = wait_for("the census", || Ok(told(host)?.into_iter().nth(before)))
        .with_context(|| format!("{:#?}\n{}", host.reports(), host.stderr()))?;
    Ok(Count(alert["text"].as_str().unwrap_or_default().to_owned()))
}

/// A report of the census.
#[derive(Debug)]
pub(crate) struct Count(String);

impl Count {
    pub(crate) fn word(&self, name: &str) -> &str {
        let mut words = self.0.split(' ');
        words.find(|word| *word == name);
        words.next().unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> anyhow::Result<u64> {
        self.word(name).parse().with_context(|| format!("{name} in {}", self.0))
    }
}

/// What a process holds that a leak would make grow.
#[derive(Debug)]
struct Holdings {
    /// Memory of its own, KiB; the rings are the kernel's.
    anonymous_kib: u64,
    mappings: usize,
    descriptors: usize,
    threads: usize,
}

impl Holdings {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let proc = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let text = fs::read_to_string(proc("smaps_rollup"))?;
        let line = text.lines().find(|line| line.starts_with("Anonymous:")).context("Anonymous")?;
        Ok(Self {
            anonymous_kib: line.split_whitespace().nth(1).context("a number")?.parse()?,
            mappings: fs::read_to_string(proc("maps"))?.lines().count(),
            descriptors: fs::read_dir(proc("fd"))?.count(),
            threads: fs::read_dir(proc("task"))?.count(),
        })
    }
}

/// Those who make events while versions take over. They stand still while the gate is held.
struct Traffic {
    gate: Arc<RwLock<()>>,
    stop: Stop,
    opener: JoinHandle<u64>,
    /// Attempts of the intruder, and those that were let through.
    intruder: JoinHandle<(u64, u64)>,
}

/// Stops them, also when a test fails halfway.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Traffic {
    /// Opens of new files in `folder`, and an intruder at `denied` and at the port 4711.
    fn start(folder: PathBuf, denied: PathBuf) -> Self {
        let (gate, stop) = (Arc::<RwLock<()>>::default(), Arc::<AtomicBool>::default());
        let through = |gate: &RwLock<()>| drop(gate.read());
        let (open, over) = (Arc::clone(&gate), Arc::clone(&stop));
        let opener = std::thread::spawn(move || {
            let mut opened = 0;
            while !over.load(Ordering::Relaxed) {
                through(&open);
                opened += 1;
                // A breath now and then: the guest emulates two processors on one.
                if opened % 32 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let path = folder.join(format!("seq-{opened}"));
                drop(File::create(&path));
                let _gone = fs::remove_file(&path);
            }
            opened
        });
        let (open, over) = (Arc::clone(&gate), Arc::clone(&stop));
        let intruder = std::thread::spawn(move || {
            let (mut tried, mut let_through) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                through(&open);
                let opened = File::open(&denied).is_ok();
                let connected = TcpStream::connect("127.0.0.1:4711").is_ok();
                let_through += u64::from(opened) + u64::from(connected);
                tried += 2;
                std::thread::sleep(Duration::from_millis(1));
            }
            (tried, let_through)
        });
        Self { gate, stop: Stop(stop), opener, intruder }
    }

    /// What the host holds once nothing happens and all that has happened is handled.
    fn at_rest(&self, host: &Host) -> anyhow::Result<Holdings> {
        let _held = self.gate.write();
        let mut before = Value::Null;
        wait_for("the plugin to have handled everything", || {
            let status = host.status("census")?;
            let still = status["waiting"] == 0 && status["records"] == before;
            before = status["records"].clone();
            Ok(still.then_some(()))
        })?;
        Holdings::of(host.pid())
    }

    /// Ends it; how many files were opened. Nobody may have come through.
    fn end(self) -> anyhow::Result<u64> {
        drop(self.stop);
        let opened = self.opener.join().map_err(|_| anyhow::anyhow!("the opener"))?;
        let (tried, let_through) =
            self.intruder.join().map_err(|_| anyhow::anyhow!("the intruder"))?;
        ensure!(tried > 0 && let_through == 0, "{let_through} of {tried} attempts let through");
        Ok(opened)
    }
}

fn many(guest: &mut Guest) -> anyhow::Result<()> {
    listen("127.0.0.1:4711")?;
    fs::write(guest.path("census.toml"), "127.0.0.1:4711")?;
    let (host, plugin) = host(guest, &["--queue-records", "1000000", "--ring-bytes", "67108864"])?;
    let both = [census("1.0.001", "TRAP-OFF")?, census("1.0.000", "TRAP-OFF")?];
    let denied = guest.file("deny-me")?;
    drop(File::open(&denied));
    wait_for_errno(EACCES, || File::open(&denied))?;

    let traffic = Traffic::start(guest.path(""), denied);
    let (mut held, versions) = (Vec::new(), repeats(VERSIONS[0], VERSIONS[1]));
    for turn in 1..=versions {
        put(&plugin, &both[(turn - 1) % 2])?;
        let answer = host.reload("census")?;
        ensure!(answer.contains("took over from"), "turn {turn}: {answer}\n{}", host.stderr());
        if turn % (versions / 2) == 0 {
            held.push(traffic.at_rest(&host)?);
        }
    }
    let opened = traffic.end()?;
    grew_not(&held, versions)?;

    let status = host.status("census")?;
    ensure!(status["swaps"].as_u64() >= Some(versions as u64), "{status}");
    ensure!(status["rules"] == 2 && status["faults"] == 0, "{status}");
    let count = count(guest, &host)?;
    let summary = host.stop(Signal::INT)?;
    let row = summary["plugins"].as_array().and_then(|rows| rows.first()).context("a plugin")?;
    exactly_once(&count, opened, row)
}

/// Half of the versions left nothing behind. Each instance maps its own memory, so that a leak of
/// one a version would show many times over.
fn grew_not(held: &[Holdings], versions: usize) -> anyhow::Result<()> {
    let [early, late] = held else { bail!("{held:?}") };
    ensure!(late.anonymous_kib < early.anonymous_kib + 4 * 1024, "{early:?}, then {late:?}");
    ensure!(late.mappings < early.mappings + versions / 4, "{early:?}, then {late:?}");
    ensure!(late.descriptors < early.descriptors + 8, "{early:?}, then {late:?}");
    ensure!(late.threads < early.threads + 8, "{early:?}, then {late:?}");
    Ok(())
}

/// The numbers of the opened files, their sum and the sum of their squares: each was seen once.
fn exactly_once(count: &Count, opened: u64, row: &Value) -> anyhow::Result<()> {
    let lost = row["lost_queue"].as_u64().unwrap_or(1) + row["lost_plugin"].as_u64().unwrap_or(1);
    ensure!(lost == 0, "{row}");
    let n = u128::from(opened);
    ensure!(u128::from(count.number("opens")?) == n, "{count:?}, {opened} opened");
    ensure!(u128::from(count.number("sum")?) == n * (n + 1) / 2, "{count:?}, {opened} opened");
    let squares = n * (n + 1) * (2 * n + 1) / 6;
    ensure!(u128::from(count.number("squares")?) == squares % (1 << 64), "{count:?}, {opened}");
    let by_version = count.word("versions").split(',').map(|part| {
        part.rsplit('=').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    });
    ensure!(by_version.sum::<u64>() == opened, "{count:?}");
    // What the state counted is what the host says it delivered; the stop may add a few.
    ensure!(count.number("all")? <= row["records"].as_u64().unwrap_or(0), "{count:?} {row}");
    Ok(())
}

fn watched(guest: &mut Guest) -> anyhow::Result<()> {
    let (host, plugin) = host(guest, &[])?;
    // Renamed into place.
    put(&plugin, &census("1.0.001", "TRAP-OFF")?)?;
    host.note(&["census 1.0.001 runs", "in place of 1.0.000"])?;
    // Written in place, in halves: what is half there does not take over.
    let bytes = census("1.0.002", "TRAP-OFF")?;
    let mut file = File::create(&plugin)?;
    file.write_all(&bytes[..bytes.len() / 2])?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(host.status("census")?["version"] == "1.0.001", "{}", host.status("census")?);
    file.write_all(&bytes[bytes.len() / 2..])?;
    drop(file);
    host.note(&["census 1.0.002 runs"])?;
    // A burst of writes is one change.
    for version in ["1.0.003", "1.0.004", "1.0.005"] {
        fs::write(&plugin, census(version, "TRAP-OFF")?)?;
    }
    let note = host.note(&["census 1.0.005 runs"])?;
    let failed = host.reports()?.into_iter().filter(|report| report["kind"] == "failure").count();
    ensure!(failed == 0, "{:#?}", host.reports());
    let status = host.status("census")?;
    ensure!(status["version"] == "1.0.005" && status["state"] == "running", "{status}");
    let sha256 = status["sha256"].as_str().unwrap_or_default();
    ensure!(sha256.len() == 64 && sha256 == digest(&plugin)?, "{status}");
    ensure!(note["text"].to_string().contains(&format!("sha256 {}", &sha256[..16])), "{note}");
    host.stop(Signal::INT).map(drop)
}

/// A file's SHA-256 as others compute it.
fn digest(file: &Path) -> anyhow::Result<String> {
    let output = Command::new("/bin/busybox").arg("sha256sum").arg(file).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

fn hangup(guest: &mut Guest) -> anyhow::Result<()> {
    let (host, _plugin) = host(guest, &[])?;
    host.signal(Signal::HUP)?;
    host.note(&["census 1.0.000 runs", "in place of 1.0.000", "from the cache"])?;
    host.stop(Signal::INT).map(drop)
}

fn folder(guest: &mut Guest) -> anyhow::Result<()> {
    let folder = guest.path("plugins");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("broken.wasm"), "no Wasm")?;
    let arguments = ["--plugin-dir".to_owned(), folder.display().to_string()];
    let host = guest.start(&arguments)?;
    host.note(&["broken.wasm", "not Wasm"])?;
    // Added.
    put(&folder.join("census.wasm"), &census("1.0.000", "TRAP-OFF")?)?;
    host.note(&["census 1.0.000 runs"])?;
    let denied = guest.file("deny-me")?;
    drop(File::open(&denied));
    wait_for_errno(EACCES, || File::open(&denied))?;
    // Replaced: its rule stands.
    put(&folder.join("census.wasm"), &census("1.0.001", "TRAP-OFF")?)?;
    host.note(&["census 1.0.001 runs"])?;
    expect_errno(EACCES, File::open(&denied))?;
    another_name(&host, &folder, &denied)?;
    let last = version_in_the_name(&host, &folder, &denied)?;
    // Removed: its rule goes.
    fs::remove_file(last)?;
    host.note(&["census unloaded", "1 rules withdrawn"])?;
    File::open(&denied)?;
    ensure!(host.status("census")?.is_null(), "still there");
    comes_again(&host, &folder)?;
    host.stop(Signal::INT).map(drop)
}

/// What comes by the name of a plugin that was unloaded is no first load: it may ask for what was accepted, and for
/// more when the operator says so.
fn comes_again(host: &Host, folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("census.wasm");
    put(&file, &fs::read("/krsi/census_wide.wasm")?)?;
    host.note(&["census.wasm: census asks for more than before", "it does not run"])?;
    ensure!(host.status("census")?.is_null(), "it runs unasked");
    put(&file, &census("1.0.004", "TRAP-OFF")?)?;
    host.note(&["census 1.0.004 runs"])?;
    fs::remove_file(&file)?;
    wait_for("the second end", || Ok(host.status("census")?.is_null().then_some(())))?;
    put(&file, &fs::read("/krsi/census_wide.wasm")?)?;
    wait_for("the refusal", || {
        let (_, text) = host.ask(&["status"])?;
        Ok(text.contains("census asks for more than before").then_some(()))
    })?;
    let (done, text) = host.ask(&["reload", "census", "--accept"])?;
    ensure!(done && text.contains("census: loaded"), "{text}");
    Ok(())
}

/// The file of another plugin becomes a plugin of the census's name: it is refused, and nothing of either is
/// touched.
fn another_name(host: &Host, folder: &Path, denied: &Path) -> anyhow::Result<()> {
    let other = folder.join("b.wasm");
    put(&other, &fs::read("/krsi/ruler.wasm")?)?;
    host.note(&["ruler 0.1.0 runs"])?;
    put(&other, &census("1.0.002", "TRAP-OFF")?)?;
    host.note(&["b.wasm: runs as \"ruler\", and its new version calls itself \"census\""])?;
    expect_errno(EACCES, File::open(denied))?;
    let status = host.status("census")?;
    ensure!(status["version"] == "1.0.001" && status["rules"] == 1, "{status}");
    ensure!(host.status("ruler")?["state"] == "running", "{}", host.status("ruler")?);
    Ok(())
}

/// A version with a number in its file's name follows once the file before it is gone, and moves from name to
/// name, with state and rules. Returns its last file.
fn version_in_the_name(host: &Host, folder: &Path, denied: &Path) -> anyhow::Result<PathBuf> {
    let [first, mut at, mut to] =
        ["census.wasm", "census-2.wasm", "census-3.wasm"].map(|name| folder.join(name));
    put(&at, &census("1.0.003", "TRAP-OFF")?)?;
    host.note(&["census-2.wasm: its name \"census\" is taken by", "census.wasm"])?;
    ensure!(host.status("census")?["version"] == "1.0.001", "{}", host.status("census")?);
    fs::remove_file(first)?;
    host.note(&["census 1.0.003 runs", "in place of 1.0.001"])?;
    for _ in 0..10 {
        fs::rename(&at, &to)?;
        let expected = to.display().to_string();
        wait_for("the plugin to be that of the new file", || {
            expect_errno(EACCES, File::open(denied))?;
            Ok((host.status("census")?["file"] == *expected).then_some(()))
        })?;
        std::mem::swap(&mut at, &mut to);
    }
    let status = host.status("census")?;
    ensure!(status["rules"] == 1 && status["swaps"] == 2, "{status}");
    Ok(at)
}

fn falls_back(guest: &mut Guest) -> anyhow::Result<()> {
    let (host, plugin) = host(guest, &[])?;
    drop(File::create(guest.path("seq-1")));
    wait_for("the first open", || Ok((count(guest, &host)?.number("opens")? == 1).then_some(())))?;
    put(&plugin, &census("1.0.001", "TRAP-NOW")?)?;
    host.note(&["census 1.0.001 runs"])?;
    drop(File::create(guest.path("seq-2")));
    let failure = host.report(&[("kind", "failure"), ("plugin", "census")])?;
    ensure!(failure["rules"] == "the version before runs on", "{failure}");
    // The open that felled the new version is seen by the old one, once.
    let count = count(guest, &host)?;
    ensure!(count.word("by") == "1.0.000", "{count:?}");
    ensure!((count.number("opens")?, count.number("sum")?) == (2, 3), "{count:?}");
    let status = host.status("census")?;
    ensure!(status["version"] == "1.0.000" && status["state"] == "running", "{status}");
    ensure!(status["lost_plugin"] == 0 && status["faults"] == 1, "{status}");
    comes_back_with_everything(guest, &host, &plugin)?;
    host.stop(Signal::INT).map(drop)
}

/// A version that asks for less takes over, and fails: the one before has its hooks, its watch and its rules again.
fn comes_back_with_everything(guest: &Guest, host: &Host, plugin: &Path) -> anyhow::Result<()> {
    put(plugin, &census("1.0.002", "WATCHING")?)?;
    let (done, text) = host.ask(&["reload", "census", "--accept"])?;
    ensure!(done, "{text}");
    let denied = guest.file("deny-me")?;
    drop(File::open(&denied));
    wait_for_errno(EACCES, || File::open(&denied))?;
    let may = host.status("census")?["may"].clone();
    let opens = count(guest, host)?.number("opens")?;

    put(plugin, &census("1.0.003", "TRAP-LES")?)?;
    host.note(&["census 1.0.003 runs"])?;
    ensure!(host.status("census")?["may"] != may, "{}", host.status("census")?);
    // While the old version can come back, its rule holds.
    expect_errno(EACCES, File::open(&denied))?;
    trigger(guest, "fell-me")?;
    let reason = "told to trap at the first exec";
    wait_for("the version before to run", || {
        let failed = host.reports()?.into_iter().any(|report| {
            report["kind"] == "failure" && report["reason"].to_string().contains(reason)
        });
        let status = host.status("census")?;
        let is_whole = status["version"] == "1.0.002" && status["may"] == may;
        let hooks = host.hooks()?;
        let has = |hook: &str| hooks.iter().any(|other| *other == *hook);
        Ok((failed && is_whole && has("file_open") && has("inode_getattr")).then_some(()))
    })
    .with_context(|| format!("{:#?} {:?}", host.reports(), host.hooks()))?;
    expect_errno(EACCES, File::open(&denied))?;
    drop(File::create(guest.path("seq-3")));
    let after = wait_for("the open", || {
        let after = count(guest, host)?;
        Ok((after.number("opens")? == opens + 1).then_some(after))
    })?;
    ensure!(after.word("by") == "1.0.002", "{after:?}");
    Ok(())
}

/// What is told of a watch that denies and is not granted.
const UNGRANTED: &str = "watch 1 `file_open if current.comm == \"nobody\" deny EPERM`: \
                         a denial without end is not granted: `permanent = true` grants it";

fn refused(guest: &mut Guest) -> anyhow::Result<()> {
    let (host, plugin) = host(guest, &[])?;
    drop(File::create(guest.path("seq-1")));
    put(&plugin, b"\0asm no more")?;
    host.note(&["census.wasm", "not Wasm"])?;
    put(&plugin, &census("1.0.001", "TRAP-OLD")?)?;
    host.note(&["census.wasm", "a state of 1.0.000 is not understood"])?;
    // A wider manifest is not granted silently.
    put(&plugin, &fs::read("/krsi/census_wide.wasm")?)?;
    host.note(&["asks for more", "see socket_connect", "rules on lineage keys", "--accept"])?;
    host.note(&[
        "asks for more",
        "watch `inode_getattr: path`",
        "refuse calls by the watch `file_open",
    ])?;
    let count = count(guest, &host)?;
    ensure!(count.word("by") == "1.0.000" && count.number("opens")? == 1, "{count:?}");
    ensure!(host.status("census")?["swaps"] == 0, "{}", host.status("census")?);
    let (done, text) = host.ask(&["reload", "census"])?;
    ensure!(!done && text.contains("see socket_connect"), "{text}");
    let (done, text) = host.ask(&["reload", "census", "--accept"])?;
    ensure!(done && text.contains("took over from 1.0.000"), "{text}");
    let status = host.status("census")?;
    let may = status["may"].to_string();
    ensure!(status["version"] == "3.0.0" && may.contains("see socket_connect"), "{status}");
    // A denial without end is another word of the operator's: the plugin runs without it.
    ensure!(may.contains("watch `inode_getattr: path`") && !may.contains("nobody"), "{status}");
    host.report(&[("kind", "refusal"), ("plugin", "census"), ("reason", UNGRANTED)])?;
    let (done, text) = host.ask(&["reload", "nobody"])?;
    ensure!(!done && text.contains("no plugin \"nobody\" runs"), "{text}");
    host.stop(Signal::INT).map(drop)
}

fn shadow(guest: &mut Guest) -> anyhow::Result<()> {
    let beside = guest.path("beside.wasm");
    put(&beside, &census("2.0.000", "TRAP-OFF")?)?;
    let (host, _plugin) = host(guest, &["--shadow", &beside.display().to_string()])?;
    host.note(&["census: shadow 2.0.000 runs without effect"])?;
    let denied = guest.file("deny-me")?;
    drop(File::open(&denied));
    wait_for_errno(EACCES, || File::open(&denied))?;
    // The report names the version, and so differs; only the live one has an effect.
    let count = count(guest, &host)?;
    ensure!(count.word("by") == "1.0.000", "{count:?}");
    host.note(&[
        "shadow 2.0.000 differs: only the version that runs wants to alert",
        "by 1.0.000",
    ])?;
    host.note(&["shadow 2.0.000 differs: only the shadow wants to alert", "by 2.0.000"])?;
    let status = host.status("census")?;
    let shadow = &status["shadow"];
    ensure!(shadow["version"] == "2.0.000" && shadow["different"] == 1, "{status}");
    ensure!(shadow["same"].as_u64() > Some(0) && status["rules"] == 1, "{status}");
    // One that fails is gone, and that is all.
    put(&beside, &census("2.0.001", "TRAP-NOW")?)?;
    host.note(&["census: shadow 2.0.001 failed and is gone"])?;
    let status = host.status("census")?;
    ensure!(status["state"] == "running" && status["faults"] == 0, "{status}");
    host.stop(Signal::INT).map(drop)
}
