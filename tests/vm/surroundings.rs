//! What a machine, a service manager and a careless operator leave krsi-host without: outputs that nobody reads,
//! threads, capabilities, limits, a place for compiled code, and a clock that stands where it stood.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::{Boot, Test};
use crate::act::confined::{Without, confine};
use crate::harness::{Guest, Host, kernel, number, wait_for, wait_for_errno, wait_for_ok};
use crate::reload::{census, put};

pub(crate) const TESTS: &[Test] = &[
    ("runtime_outputs_nobody_reads", Boot::Default, outputs_nobody_reads),
    ("runtime_ends_with_its_thread", Boot::Default, ends_with_its_thread),
    ("host_as_a_hardened_unit_has_it", Boot::Default, hardened),
    ("runtime_mistakes_are_told", Boot::Default, mistakes_are_told),
    ("runtime_without_a_place_for_code", Boot::Default, without_a_place_for_code),
];

const EACCES: i32 = 13;
/// How long a run may take to end, whatever its outputs do: twice what it waits for them.
const END: Duration = Duration::from_secs(20);
/// How long it may take after a second signal: less than it would wait for one output.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A pipe that takes nothing any more, and that nobody reads.
fn stuffed() -> anyhow::Result<(PipeReader, PipeWriter)> {
    let (reader, mut writer) = std::io::pipe()?;
    let flags = fcntl_getfl(&writer)?;
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK)?;
    while writer.write(&[b'-'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags)?;
    Ok((reader, writer))
}

fn outputs_nobody_reads(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, other) = (guest.file("secret")?, guest.file("other")?);
    let config = guest.path("sentry.conf");
    fs::write(
        &config,
        format!("open {} 600000 13\nopen {} 10000 13", secret.display(), other.display()),
    )?;
    let ((mut out, stdout), (mut err, stderr)) = (stuffed()?, stuffed()?);
    let config = config.display().to_string();
    let arguments = ["--plugin", "/krsi/sentry.wasm", "--plugin-config", &config];
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let mut host = guest.start_as(&arguments, |command| {
        command.stdout(stdout).stderr(stderr);
    })?;
    for file in [&secret, &other] {
        drop(File::open(file));
        wait_for_errno(EACCES, || File::open(file))?;
    }
    // More denials than wait for an output; a ring of the kernel may lose some of them.
    let output = wait_for("reports to be lost", || {
        for _ in 0..2000 {
            ensure!(File::open(&secret).is_err(), "a denied open");
        }
        let output = host.whole_status()?["output"].clone();
        let told = output["lost"].as_u64() > Some(0) && output["stalled_s"].as_u64() >= Some(5);
        Ok(told.then_some(output))
    })
    .with_context(|| format!("{:?}", host.whole_status()))?;
    ensure!(output["waiting"].as_u64() > Some(8000), "{output}");
    let (done, text) = host.ask(&["status"])?;
    ensure!(done && text.contains("standard output has taken nothing for"), "{text}");
    // A new version, a rule's end, the next rule's decision, and the end.
    let reloaded = host.reload("sentry")?;
    ensure!(reloaded.contains("took over"), "{reloaded}");
    wait_for_ok(|| File::open(&other))?;
    ensure!(File::open(&secret).is_err(), "no longer denied");
    let began = Instant::now();
    host.signal(Signal::TERM)?;
    let status = wait_for("krsi-host to end", || host.ended())?;
    ensure!(status.success() && began.elapsed() < END, "{status} after {:?}", began.elapsed());
    // What was written is whole: the dashes, then a line or a part of it.
    let mut text = String::new();
    out.read_to_string(&mut text)?;
    ensure!(text.trim_start_matches('-').lines().count() <= 1, "{text}");
    err.read_to_string(&mut text)?;
    ends_at_a_second_signal(guest)
}

/// The wait at the end for outputs that nobody reads is over with a second signal.
fn ends_at_a_second_signal(guest: &Guest) -> anyhow::Result<()> {
    let ((_out, stdout), (_err, stderr)) = (stuffed()?, stuffed()?);
    let mut host =
        guest.start_as(&["--plugin", "/krsi/tracer.wasm"].map(str::to_owned), |command| {
            command.stdout(stdout).stderr(stderr);
        })?;
    host.signal(Signal::TERM)?;
    let threads = format!("/proc/{}/task", host.pid());
    wait_for("the wait for the outputs", || {
        let mut names =
            fs::read_dir(&threads)?.map(|thread| fs::read_to_string(thread?.path().join("comm")));
        Ok(names.any(|name| name.is_ok_and(|name| name.trim_end() == "finish")).then_some(()))
    })?;
    let began = Instant::now();
    // So soon after the first it may count as the same.
    let status = wait_for("krsi-host to end", || {
        host.signal(Signal::INT)?;
        host.ended()
    })?;
    let took = began.elapsed();
    ensure!(status.code() == Some(1) && took < AT_ONCE, "{status} after {took:?}");
    Ok(())
}

/// No run goes on without its reader: it ends in order, at once, with the thread's name.
fn ends_with_its_thread(guest: &mut Guest) -> anyhow::Result<()> {
    let secret = guest.file("secret")?;
    let config = format!("open {} 600000 13", secret.display());
    let mut host = guest.host("sentry", &config)?;
    drop(File::open(&secret));
    wait_for_errno(EACCES, || File::open(&secret))?;
    // poll(2) refuses more descriptors than a process may have.
    let pid = Pid::from_raw(i32::try_from(host.pid())?);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(1), maximum: Some(1024) })?;
    // Nobody stops it.
    let status = wait_for("krsi-host to end", || host.ended())?;
    ensure!(status.code() == Some(1), "{status}");
    let said = host.stderr();
    ensure!(
        said.contains("the thread reader ended: the run was ended: waiting for the rings"),
        "{said}"
    );
    ensure!(host.report(&[("kind", "summary")])?["hooks"].is_array(), "no summary");
    // Nothing is left attached.
    File::open(&secret).map(drop).context("still denied")?;
    for thread in ["reader", "steward", "plugin-sentry"] {
        panics(guest, thread, &config, &secret)?;
    }
    Ok(())
}

/// A thread that panics ends the run too, and what it held is let go of.
fn panics(guest: &Guest, thread: &str, config: &str, secret: &Path) -> anyhow::Result<()> {
    let (asks, rules) = (guest.path("panic"), guest.path("sentry.conf"));
    fs::write(&asks, "")?;
    fs::write(&rules, config)?;
    let rules = rules.display().to_string();
    let words = ["--plugin", "/krsi/sentry.wasm", "--plugin-config", &rules].map(str::to_owned);
    let mut host = guest.start_as(&words, |command| {
        command.env("KRSI_TEST_PANIC", &asks);
    })?;
    drop(File::open(secret));
    wait_for_errno(EACCES, || File::open(secret))?;
    put(&asks, thread.as_bytes())?;
    // A plugin's thread waits for something to do.
    let status = wait_for("krsi-host to end", || {
        drop(File::open(secret));
        host.ended()
    })?;
    ensure!(status.code() == Some(1), "{thread}: {status}");
    let said = host.stderr();
    let expected = format!("the thread {thread} panicked: the run was ended");
    ensure!(said.contains(&expected), "{thread}: {said}");
    // The steward alone has what a summary is made of.
    if thread != "steward" {
        ensure!(host.report(&[("kind", "summary")])?["hooks"].is_array(), "no summary");
    }
    ensure!(!guest.path("ready").exists(), "{thread}: the ready file is left");
    File::open(secret).map(drop).with_context(|| format!("{thread}: still denied"))
}

fn hardened(guest: &mut Guest) -> anyhow::Result<()> {
    let bits = |bits: &[u32]| bits.iter().fold(0_u64, |set, bit| set | 1 << bit);
    let refuses =
        |without: Without, doctor_says: (i32, &str), words: &[&str]| -> anyhow::Result<()> {
            let mut command = Command::new("/krsi/krsi-host");
            command.args(["--plugin", "/krsi/tracer.wasm"]);
            confine(&mut command, without);
            let refused = guest.refused(&mut command)?;
            ensure!(refused.code == Some(3), "{refused:?}");
            ensure!(words.iter().all(|word| refused.stderr.contains(word)), "{}", refused.stderr);
            let mut doctor = Command::new("/krsi/krsi-host");
            confine(doctor.arg("doctor"), without);
            let output = doctor.output()?;
            let said = String::from_utf8_lossy(&output.stdout);
            let (code, word) = doctor_says;
            ensure!(output.status.code() == Some(code) && said.contains(word), "{said}");
            Ok(())
        };
    let kill = Without { all_but: Some(bits(&[5])), ..Without::default() };
    let unable = (3, "BLOCKS");
    refuses(kill, unable, &["CAP_BPF", "CAP_PERFMON", "AmbientCapabilities="])?;
    let written = Without { written_code: true, ..Without::default() };
    let words = ["memory cannot be made executable", "MemoryDenyWriteExecute=no"];
    refuses(written, (1, "no plugin runs; watches of the command line do"), &words)?;
    if kernel() == "6.12" {
        // As doctor says.
        let watch = ["--watch", "file_open if current.tgid == 0"].map(str::to_owned);
        let host = guest.start_as(&watch, |command| confine(command, written))?;
        host.stop(Signal::TERM)?;
    }
    // Kill, ptrace, admin, resource, perfmon and bpf: plugins are compiled all the same, and each thing that is
    // missing is said at the start; nor is there a network, or a socket that could prove something.
    let kept = Some(bits(&[5, 19, 21, 24, 38, 39]));
    let few = Without { all_but: kept, network: true, ..Without::default() };
    let folder = guest.path("plugins");
    fs::create_dir(&folder)?;
    // What runs at the start needs no compiler: what is missing is told all the same, not at the first upgrade.
    fs::copy("/krsi/census.wasm", folder.join("census.wasm"))?;
    let cache = guest.copied_code()?.display().to_string();
    let arguments = ["--plugin-dir", "plugins", "--cache-dir", &cache].map(str::to_owned);
    let host = guest.start_as(&arguments, |command| confine(command, few))?;
    host.note(&["CAP_SETUID is missing", "compiled by a child that stays root"])?;
    host.note(&["census 1.0.000 runs", "from the cache"])?;
    put(&folder.join("census.wasm"), &census("1.0.001", "TRAP-OFF")?)?;
    host.note(&["census 1.0.001 runs", "in place of 1.0.000"])?;
    let mut doctor = Command::new("/krsi/krsi-host");
    confine(doctor.arg("doctor"), few);
    let said = String::from_utf8_lossy(&doctor.output()?.stdout).into_owned();
    ensure!(said.contains("CAP_SETUID is missing") && !said.contains("BLOCKS"), "{said}");
    ensure!(host.stop(Signal::TERM)?["backend"] == "lsm", "another backend");
    // Few descriptors, which nobody may raise.
    let admin = Some(bits(&[21, 38, 39]));
    let some = Without { all_but: admin, descriptors: Some(24), ..Without::default() };
    let mut command = Command::new("/krsi/krsi-host");
    command.args(["--plugin", "/krsi/miner.wasm"]);
    confine(&mut command, some);
    let refused = guest.refused(&mut command)?;
    ensure!(refused.stderr.contains("LimitNOFILE=65536"), "{refused:?}");
    if kernel() == "5.10" {
        // The last one that counts BPF memory as locked.
        let locked = Without { all_but: admin, locked_bytes: Some(65_536), ..Without::default() };
        refuses(locked, unable, &["RLIMIT_MEMLOCK is 65536 bytes", "LimitMEMLOCK=infinity"])?;
    }
    Ok(())
}

/// What the operator did not mean is told: a shadow of nothing, a plugin that sees nothing, a module that was cut.
fn mistakes_are_told(guest: &mut Guest) -> anyhow::Result<()> {
    let folder = guest.path("plugins");
    fs::create_dir(&folder)?;
    put(&folder.join("gauge.wasm"), &fs::read("/krsi/gauge.wasm")?)?;
    let words =
        "--plugin-dir plugins --without file_open --shadow /krsi/ruler.wasm --watch inode_mkdir";
    let host = guest.start(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())?;
    host.note(&["--shadow /krsi/ruler.wasm", "no plugin \"ruler\" runs that it could run beside"])?;
    host.note(&["gauge-00 runs and sees nothing", "krsi-host doctor"])?;
    // Cut where a library that reads it panics: a damaged file, and nothing to report.
    let whole = fs::read("/krsi/tracer.wasm")?;
    put(&folder.join("cut.wasm"), &whole[..whole.len() - 40])?;
    let told = host.note(&["cut.wasm"])?;
    ensure!(!told.to_string().contains("please report"), "{told}");
    let (done, text) = host.ask(&["status"])?;
    ensure!(done && text.contains("cut.wasm") && text.contains("could run beside"), "{text}");
    // The plugin that the shadow waits for comes.
    put(&folder.join("ruler.wasm"), &fs::read("/krsi/ruler.wasm")?)?;
    host.note(&["ruler: shadow 0.1.0 runs without effect"])?;
    // Another folder is mounted over it, and taken away again: what then lies there runs, and nothing is unloaded.
    let over = guest.path("over");
    fs::create_dir(&over)?;
    let section = b"\0\x02\x01x";
    put(&over.join("gauge.wasm"), &[&fs::read("/krsi/gauge.wasm")?[..], section].concat())?;
    let swapped = |times: u64| {
        wait_for("the folder's version", || {
            Ok((host.status("gauge-00")?["swaps"] == times).then_some(()))
        })
    };
    let [from, to] = [&over, &folder].map(|path| path.display().to_string());
    ensure!(busybox(&["mount", "-o", "bind", &from, &to])?.success(), "mount");
    swapped(1)?;
    ensure!(busybox(&["umount", &to])?.success(), "umount");
    swapped(2)?;
    host.stop(Signal::TERM).map(drop)
}

/// Mounts a file system of its own kind of trouble, and takes it away again.
pub(crate) fn mounted<T>(
    at: &Path,
    options: &str,
    act: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    DirBuilder::new().mode(0o700).create(at)?;
    let path = at.display().to_string();
    ensure!(busybox(&["mount", "-t", "tmpfs", "-o", options, "none", &path])?.success(), "mount");
    let result = act();
    ensure!(busybox(&["umount", &path])?.success(), "umount");
    result
}

fn without_a_place_for_code(guest: &mut Guest) -> anyhow::Result<()> {
    let (kept, secret) = (guest.copied_code()?, guest.file("secret")?);
    let config = guest.path("sentry.conf");
    fs::write(&config, format!("open {} 8000 13", secret.display()))?;
    let config = config.display().to_string();
    let start = |plugins: &[&str], cache: &Path| {
        let mut words = vec!["--cache-dir".to_owned(), cache.display().to_string()];
        words.extend(plugins.iter().map(|word| (*word).to_owned()));
        guest.start(&words)
    };
    let sentry = ["--plugin", "/krsi/sentry.wasm", "--plugin-config", &config];
    let census = ["--plugin", "/krsi/census.wasm"];
    // Nothing may be mapped from there: what was kept is copied, and nobody is suspected.
    let noexec = guest.path("noexec");
    mounted(&noexec, "noexec,mode=700", || {
        for entry in fs::read_dir(&kept)? {
            let entry = entry?;
            fs::copy(entry.path(), noexec.join(entry.file_name()))?;
        }
        let host = start(&[&sentry[..], &census].concat(), &noexec)?;
        host.note(&["sentry 0.1.0 runs", "from the cache"])?;
        host.note(&["census 1.0.000 runs", "from the cache"])?;
        let said = host.stderr();
        let copied = said.matches("compiled code is copied, as it cannot be mapped").count();
        ensure!(copied == 1 && !said.contains("compiled again"), "{said}");
        clock_jumps(&host, &secret)?;
        host.stop(Signal::TERM).map(drop)
    })?;
    // Nowhere to keep anything, and room for a key alone: compiled, each time, and told.
    let nowhere = Path::new("/proc/krsi-host");
    let host = start(&["--plugin", "/krsi/tracer.wasm"], nowhere)?;
    host.note(&["/proc/krsi-host: cannot be used for compiled code", "compiled at every start"])?;
    host.note(&["tracer", "runs", "compiled"])?;
    // Told twice at once, as `timeout` does, it ends in order.
    host.signal(Signal::TERM)?;
    host.stop(Signal::TERM)?;
    read_only_cache(guest)?;
    doctor_sees_a_full_disk()?;
    let full = guest.path("full");
    mounted(&full, "size=8k,mode=700", || {
        // And nobody reads what is reported.
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let cache = full.display().to_string();
        let plugins = ["--plugin", "/krsi/tracer.wasm", "--plugin", "/krsi/census.wasm"];
        let words = plugins.into_iter().chain(["--cache-dir", &cache]).map(str::to_owned);
        let words: Vec<String> = words.collect();
        let mut host = guest.start_as(&words, |command| {
            command.stdout(writer);
        })?;
        let told = "standard output cannot be written to (Broken pipe";
        wait_for("the closed output to be told", || {
            Ok(host.stderr().contains(told).then_some(()))
        })?;
        let said = host.stderr();
        ensure!(said.matches("compiled code is not kept").count() == 1, "{said}");
        ensure!(fs::read(full.join("key"))?.len() == 64, "half a key");
        ensure!(fs::read_dir(&full)?.count() == 1, "half an entry was left");
        let (done, text) = host.ask(&["status"])?;
        ensure!(done && text.contains("reports that standard output did not take"), "{text}");
        host.signal(Signal::TERM)?;
        let status = wait_for("krsi-host to end", || host.ended())?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
}

fn busybox(arguments: &[&str]) -> std::io::Result<ExitStatus> {
    Command::new("/bin/busybox").args(arguments).status()
}

/// Where no byte is left for compiled plugins, `krsi-host doctor` says so.
fn doctor_sees_a_full_disk() -> anyhow::Result<()> {
    let cache = Path::new("/var/cache/krsi-host");
    let path = cache.display().to_string();
    let mounted = ["mount", "-t", "tmpfs", "-o", "size=8k,mode=700", "none", &path];
    ensure!(busybox(&mounted)?.success(), "mount");
    let said = fs::write(cache.join("all"), [0; 8192]).and_then(|()| {
        let output = Command::new("/krsi/krsi-host").arg("doctor").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    });
    ensure!(busybox(&["umount", &path])?.success(), "umount");
    let said = said?;
    ensure!(said.contains("lies on a file system that is full"), "{said}");
    Ok(())
}

/// On a file system that is mounted read-only nothing is kept, and plugins run.
fn read_only_cache(guest: &Guest) -> anyhow::Result<()> {
    let read_only = guest.path("read-only");
    mounted(&read_only, "mode=700", || {
        fs::write(read_only.join("key"), [7; 64])?;
        fs::set_permissions(read_only.join("key"), Permissions::from_mode(0o600))?;
        let path = read_only.display().to_string();
        let words = ["--plugin", "/krsi/tracer.wasm", "--cache-dir", &path].map(str::to_owned);
        let remounted = Command::new("/bin/busybox")
            .args(["mount", "-o", "remount,ro", "none", &path])
            .status()?;
        ensure!(remounted.success(), "remount");
        let host = guest.start(&words)?;
        host.note(&["tracer", "runs", "compiled"])?;
        let said = host.stderr();
        ensure!(said.contains("compiled code is not kept"), "{said}");
        host.stop(Signal::TERM).map(drop)
    })
}

/// The wall clock is set back and forth: reports tell the time it then is, and rules end when they would have.
fn clock_jumps(host: &Host, secret: &Path) -> anyhow::Result<()> {
    const DAY_S: i64 = 86_400;
    let jump = |seconds: i64| -> anyhow::Result<()> {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
        Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec: tv_sec + seconds, tv_nsec })?)
    };
    drop(File::open(secret));
    wait_for_errno(EACCES, || File::open(secret))?;
    let made = Instant::now();
    jump(-DAY_S)?;
    let before = SystemTime::UNIX_EPOCH.elapsed()?;
    ensure!(File::open(secret).is_err(), "the rule ended with the clock set back");
    // Those of before the jump are told as of the next day, and one may still be on its way.
    let (from, until) = (before - Duration::from_secs(60), before + Duration::from_secs(600));
    wait_for("a denial of that day", || {
        let reports = host.reports()?;
        let mut denied = reports.iter().filter(|report| report["verdict"] == "denied");
        let is_of_that_day = |report: &serde_json::Value| {
            let time = number(report, "unix_ns").map(Duration::from_nanos);
            time.is_ok_and(|time| from < time && time < until)
        };
        Ok(denied.any(is_of_that_day).then_some(()))
    })?;
    jump(2 * DAY_S)?;
    ensure!(
        made.elapsed() > Duration::from_secs(6) || File::open(secret).is_err(),
        "it ended early"
    );
    wait_for_ok(|| File::open(secret))?;
    ensure!(made.elapsed() > Duration::from_secs(6), "it ended after {:?}", made.elapsed());
    host.report(&[("kind", "rule_end"), ("plugin", "sentry")])?;
    jump(-DAY_S)
}
