//! Machines that cannot take LSM programs: each says what is missing and what to do.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::ensure;
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, wait_for_errno};

pub(crate) const TESTS: &[Test] = &[
    ("host_not_root", Boot::Default, not_root),
    ("host_no_btf", Boot::Default, no_btf),
    ("host_usage", Boot::Default, usage),
    ("host_no_bpf_lsm", Boot::WithoutBpf, no_bpf_lsm),
    ("host_no_bpf_lsm_unlisted", Boot::WithoutBpf, no_bpf_lsm_unlisted),
];

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

/// Without `bpf` among the LSMs the functions that call them are met, and refuse.
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
