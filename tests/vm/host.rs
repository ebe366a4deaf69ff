//! Machines that cannot take LSM programs: each says what is missing and what to do.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;

use super::{Boot, Test, evasion};
use crate::harness::{Guest, expect_errno, wait_for_errno};
use crate::rule::ruled;

pub(crate) const TESTS: &[Test] = &[
    ("host_not_root", Boot::Default, not_root),
    ("host_no_btf", Boot::Default, no_btf),
    ("host_usage", Boot::Default, usage),
    ("host_in_a_pid_namespace", Boot::Default, pid_namespace),
    ("host_without_cgroups", Boot::Default, without_cgroups),
    ("host_keeps_its_backend", Boot::Default, keeps_its_backend),
    ("host_no_bpf_lsm", Boot::WithoutBpf, no_bpf_lsm),
    ("host_no_bpf_lsm_unlisted", Boot::WithoutBpf, no_bpf_lsm_unlisted),
];

const EACCES: i32 = 13;
const HOST: [&str; 2] = ["--plugin", "/krsi/miner.wasm"];

fn refuses(guest: &Guest, command: &mut Command, code: i32, words: &[&str]) -> anyhow::Result<()> {
    let refused = guest.refused(command)?;
    ensure!(refused.code == Some(code), "{refused:?}");
    for word in words {
        ensure!(refused.stderr.contains(word), "no {word:?} in {}", refused.stderr);
    }
    Ok(())
}

fn not_root(guest: &mut Guest) -> anyhow::Result<()> {
    let mut command = Command::new("/krsi/krsi-host");
    refuses(guest, command.args(HOST).uid(65534), 3, &["not root", "sudo"])
}

fn no_btf(guest: &mut Guest) -> anyhow::Result<()> {
    let mount = |arguments: &[&str]| Command::new("/bin/busybox").args(arguments).status();
    ensure!(mount(&["mount", "-t", "tmpfs", "none", "/sys/kernel/btf"])?.success(), "mount");
    let mut command = Command::new("/krsi/krsi-host");
    let result = refuses(guest, command.args(HOST), 3, &["BTF", "CONFIG_DEBUG_INFO_BTF"]);
    ensure!(mount(&["umount", "/sys/kernel/btf"])?.success(), "umount");
    result
}

fn usage(guest: &mut Guest) -> anyhow::Result<()> {
    let mut command = Command::new("/krsi/krsi-host");
    refuses(guest, &mut command, 2, &["--plugin"])?;
    let mut command = Command::new("/krsi/krsi-host");
    refuses(guest, command.args(HOST).args(["--ring-bytes", "5"]), 2, &["5", "power of two"])?;
    let mut command = Command::new("/krsi/krsi-host");
    let words = ["16384", "from 32768", "the longest record"];
    refuses(guest, command.args(HOST).args(["--ring-bytes", "16384"]), 2, &words)
}

/// A host in a PID namespace would take the numbers of strangers for its own.
fn pid_namespace(guest: &mut Guest) -> anyhow::Result<()> {
    let start = format!(
        "/bin/busybox mount -t proc proc /proc && exec /krsi/krsi-host {} {}",
        HOST[0], HOST[1]
    );
    let mut command = Command::new("/bin/busybox");
    command.args(["unshare", "-m", "-p", "-f", "sh", "-c", &start]);
    refuses(guest, &mut command, 3, &["PID namespace", "strangers", "--pid=host"])?;
    // A /proc of another namespace is no better.
    let start = "/bin/busybox umount -l /proc; exec /krsi/krsi-host --watch file_open";
    let mut command = Command::new("/bin/busybox");
    command.args(["unshare", "-m", "sh", "-c", start]);
    refuses(guest, &mut command, 3, &["/proc does not show krsi-host"])?;
    let output = Command::new("/bin/busybox")
        .args(["unshare", "-m", "-p", "-f", "sh", "-c"])
        .arg("/bin/busybox mount -t proc proc /proc && exec /krsi/krsi-host doctor")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(3) && said.contains("PID namespace"), "{said}");
    Ok(())
}

/// Where no cgroup2 hierarchy tells processes apart, all have the same id: whatever asks by cgroup is refused.
fn without_cgroups(guest: &mut Guest) -> anyhow::Result<()> {
    let busybox = |arguments: &[&str]| Command::new("/bin/busybox").args(arguments).status();
    ensure!(busybox(&["umount", "/sys/fs/cgroup"])?.success(), "umount");
    let result = refuses_cgroups(guest);
    let mount = ["mount", "-t", "cgroup2", "cgroup", "/sys/fs/cgroup"];
    ensure!(busybox(&mount)?.success(), "mount");
    result
}

fn refuses_cgroups(guest: &Guest) -> anyhow::Result<()> {
    let file = guest.file("file")?;
    let config = "[rules]\nexempt-cgroups = [\"/some\"]\n";
    let host = ruled(guest, "cgroup 1 13 file_open", config, &[])?;
    let refusal = host.report(&[("kind", "refusal"), ("plugin", "ruler")])?;
    let reason = refusal["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("no cgroup2 hierarchy is mounted"), "{refusal}");
    host.note(&["exempt-cgroups", "no cgroup2 hierarchy"])?;
    drop(File::open(&file)?);
    let output = Command::new("/krsi/krsi-host").arg("doctor").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains("no cgroup2 hierarchy") && said.contains("scopes"), "{said}");
    host.stop(Signal::INT)?;
    let path = guest.path("scope.toml");
    fs::write(&path, "[plugin.miner]\nscope = \"cgroup:/some\"\n")?;
    let mut command = Command::new("/krsi/krsi-host");
    let words = ["miner", "a scope by cgroup", "no cgroup2 hierarchy", "unified_cgroup_hierarchy"];
    refuses(guest, command.args(HOST).arg("--config").arg(&path), 3, &words)
}

/// A hook that is wanted newly while nothing may execute and loopback is down: what cannot be proven is told,
/// and what was in force stays so, by the same backend.
fn keeps_its_backend(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    let plugins = guest.path("plugins");
    fs::create_dir_all(&plugins)?;
    // Not on the root, from which nothing will be executed.
    let busybox = guest.executable("busybox-elsewhere")?;
    let busybox = |arguments: &[&str]| -> anyhow::Result<()> {
        let status = Command::new(&busybox).args(arguments).status()?;
        ensure!(status.success(), "{arguments:?}");
        Ok(())
    };
    busybox(&["ip", "link", "set", "lo", "down"])?;
    let is_secret = evasion::is_file("file", &secret)?;
    let watch = format!("file_open: file.f_flags if {is_secret} deny EACCES");
    let folder = plugins.display().to_string();
    // Compiled code elsewhere too: a child that compiles could not be executed.
    let cache = guest.copied_code()?.display().to_string();
    let arguments = ["--watch", &watch, "--plugin-dir", &folder, "--cache-dir", &cache];
    let host = guest.start(&arguments.map(str::to_owned))?;
    ensure!(host.unproven()?.is_empty(), "{:?}", host.unproven()?);
    expect_errno(EACCES, File::open(&secret))?;
    let plugin = plugins.join("ruler.wasm");
    busybox(&["mount", "-o", "remount,noexec", "/"])?;
    let mut unproven = Vec::new();
    let passed = while_open_is_tried(&secret, || {
        fs::copy("/krsi/ruler.wasm", &plugin)?;
        let told = host.note(&["attached, not proven", "bprm_check_security", "could not run"]);
        // Before a further look at the plugin's file can prove it.
        unproven = host.unproven()?;
        busybox(&["mount", "-o", "remount,exec", "/"])?;
        told.map(drop)
    });
    busybox(&["mount", "-o", "remount,exec", "/"])?;
    busybox(&["ip", "link", "set", "lo", "up"])?;
    let passed = passed?;
    ensure!(passed == 0, "{passed} opens passed");
    ensure!(!unproven.is_empty(), "status does not tell");
    // The hooks of the socket family needed no loopback.
    let sockets = unproven.iter().any(|text| text.starts_with("socket_"));
    ensure!(!sockets, "{unproven:?}");
    host.reload("ruler")?;
    ensure!(host.unproven()?.is_empty(), "{:?}", host.unproven()?);
    expect_errno(EACCES, File::open(&secret))?;
    drop(File::open(&neighbour)?);
    let summary = host.stop(Signal::INT)?;
    ensure!(summary["backend"] == "lsm", "{summary}");
    Ok(())
}

/// Opens a denied file all the time while something is done; how often that succeeded.
fn while_open_is_tried(
    file: &Path,
    act: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let intruder = scope.spawn(|| {
            let mut passed = 0;
            while !over.load(Ordering::Relaxed) {
                passed += usize::from(File::open(file).is_ok());
                std::thread::sleep(Duration::from_millis(10));
            }
            passed
        });
        let done = act();
        over.store(true, Ordering::Relaxed);
        let passed = intruder.join().map_err(|_| anyhow::anyhow!("the intruder panicked"))?;
        done.map(|()| passed)
    })
}

/// Without `bpf` among the LSMs programs are attached to the functions that call them, and refuse.
fn no_bpf_lsm(guest: &mut Guest) -> anyhow::Result<()> {
    enforces_by_fmod_ret(guest)?;
    let mut command = Command::new("/krsi/krsi-host");
    let words = ["lockdown,capability,yama", "lsm=", "bpf"];
    refuses(guest, command.args(HOST).args(["--backend", "lsm"]), 3, &words)
}

/// Without securityfs the list cannot be read: the canary finds out.
fn no_bpf_lsm_unlisted(guest: &mut Guest) -> anyhow::Result<()> {
    let status = Command::new("/bin/busybox").args(["umount", "/sys/kernel/security"]).status()?;
    ensure!(status.success(), "umount");
    let result = enforces_by_fmod_ret(guest).and_then(|()| {
        let mut command = Command::new("/krsi/krsi-host");
        let words = ["never called", "lsm="];
        refuses(guest, command.args(HOST).args(["--backend", "lsm"]), 3, &words)
    });
    let mount = ["mount", "-t", "securityfs", "security", "/sys/kernel/security"];
    Command::new("/bin/busybox").args(mount).status()?;
    result
}

fn enforces_by_fmod_ret(guest: &Guest) -> anyhow::Result<()> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    let host = guest.host("sentry", &format!("open {} 60000 13", secret.display()))?;
    drop(File::open(&secret)?);
    wait_for_errno(13, || File::open(&secret))?;
    drop(File::open(&neighbour)?);
    let summary = host.stop(Signal::INT)?;
    ensure!(summary["backend"] == "fmod_ret", "{summary}");
    Ok(())
}
