//! Functions of the kernel that only some kernels have: used where they are, missed without harm.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::fs::{XattrFlags, removexattr, setxattr};
use rustix::process::Signal;

use super::act::call::{self, Waiting};
use super::{Boot, Test};
use crate::harness::{Guest, expect_errno, has_rule, kernel, run, wait_for_ok};
use crate::rule::ruled;

pub(crate) const TESTS: &[Test] = &[
    ("kfunc_resolves_what_the_helper_may_not", Boot::Default, resolves),
    ("kfunc_lets_a_path_be_tested", Boot::Default, path_test),
    ("kfunc_tells_what_the_caller_runs", Boot::Default, own_executable),
    ("kfunc_reads_an_attribute", Boot::Default, attribute),
    ("kfunc_reads_a_verity_digest", Boot::Default, verity),
    ("fmod_ret_kfunc_is_refused", Boot::WithoutBpf, without_bpf),
];

const EACCES: i32 = 13;
const HOOK: &str = "file_permission";

/// Whether the kernel has the functions.
fn has_functions() -> bool {
    !matches!(&*kernel(), "5.10" | "6.1")
}

/// `bpf_d_path` is not allowed in `file_permission`: rules on paths hold there by the function alone.
/// Without it they pass what they cannot resolve, and each such call is counted.
fn resolves(guest: &mut Guest) -> anyhow::Result<()> {
    let open = |folder: &str| -> anyhow::Result<File> {
        fs::create_dir_all(guest.path(folder))?;
        Ok(File::create(guest.path(folder).join("file"))?)
    };
    let (mut inside, mut outside) = (open("vault")?, open("other")?);
    let rule = format!("deny {} 13 {HOOK}", guest.path("vault").display());
    let host = ruled(guest, &rule, "", &[])?;
    wait_for_ok(|| outside.write_all(b"neighbour"))?;
    if has_functions() {
        expect_errno(EACCES, inside.write(b"intruder"))?;
        let object = format!("path={}", guest.path("vault/file").display());
        let record = host.report(&[("kind", "verdict"), ("hook", HOOK), ("object", &object)])?;
        ensure!(has_rule(&record) && record["errno"] == "EACCES", "{record}");
    } else {
        inside.write_all(b"intruder")?;
    }
    let summary = host.stop(Signal::INT)?;
    let rows = summary["hooks"].as_array().context("hooks")?;
    let row = rows.iter().find(|row| row["hook"] == HOOK).context("the hook")?;
    let errors = row["errors"].as_u64().context("errors")?;
    ensure!(if has_functions() { errors == 0 } else { errors > 0 }, "{row}");
    inside.write_all(b"afterwards")?;
    Ok(())
}

fn arguments(watches: &[&str]) -> Vec<String> {
    let of = |watch: &&str| ["--watch".to_owned(), (*watch).to_owned()];
    watches.iter().flat_map(of).chain(["--witness".to_owned()]).collect()
}

/// That the host refuses a watch and names the function that it needs.
fn refused(guest: &Guest, watch: &str, function: &str) -> anyhow::Result<()> {
    let mut command = Command::new("/krsi/krsi-host");
    let refused = guest.refused(command.args(["--watch", watch]))?;
    let words = format!("needs {function}, which kernels from 6.");
    ensure!(refused.code == Some(2) && refused.stderr.contains(&words), "{refused:?}");
    Ok(())
}

/// A watch that tests a path is refused where the kernel resolves none: a walked path is put together
/// afterwards.
fn path_test(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, neighbour) = (guest.path("secret"), guest.path("neighbour"));
    let watch = format!(
        "{HOOK}: file, mask if file == \"{}\" && any(mask, 2) deny EACCES",
        secret.display()
    );
    if !has_functions() {
        let mut command = Command::new("/krsi/krsi-host");
        let refused = guest.refused(command.args(["--watch", &watch]))?;
        let words = "resolves no path at this hook";
        ensure!(refused.code == Some(2) && refused.stderr.contains(words), "{refused:?}");
        return Ok(());
    }
    let (mut inside, mut outside) = (File::create(&secret)?, File::create(&neighbour)?);
    let host = guest.start(&arguments(&[&watch]))?;
    expect_errno(EACCES, inside.write(b"intruder"))?;
    outside.write_all(b"neighbour")?;
    let record = host.report(&[("kind", "verdict"), ("hook", HOOK)])?;
    ensure!(record["object"] == format!("{} 2", secret.display()), "{record}");
    ensure!(has_rule(&record) && record["errno"] == "EACCES", "{record}");
    host.stop(Signal::INT).map(drop)
}

/// `task_kill` has no helper for paths: by the function, a watch tests what the caller runs.
fn own_executable(guest: &mut Guest) -> anyhow::Result<()> {
    let (killer, neighbour) =
        (guest.executable("busybox-killer")?, guest.executable("busybox-neighbour")?);
    let test = format!("current.mm.exe_file == \"{}\"", killer.display());
    let denies =
        format!("task_kill: current.mm.exe_file as runs, sig if sig == 28 && {test} deny EACCES");
    let sees = "task_kill: current.mm.exe_file as runs if sig == 18";
    if !has_functions() {
        refused(guest, &denies, "bpf_get_task_exe_file")?;
    }
    let watches = if has_functions() { vec![sees, denies.as_str()] } else { vec![sees] };
    let host = guest.start(&arguments(&watches))?;
    let victim = Waiting::start()?;
    let victim_id = victim.pid().to_string();
    let kill = |by: &Path, signal: &str| -> anyhow::Result<bool> {
        let mut command = Command::new(by);
        let command = command.args(["kill", signal, &victim_id]);
        Ok(command.stderr(std::process::Stdio::null()).status()?.success())
    };
    ensure!(kill(&neighbour, "-WINCH")?, "the neighbour was denied");
    ensure!(kill(&killer, "-CONT")?, "another signal was denied");
    // Without the function the path is walked for the record.
    let record = host.report(&[("kind", "watch"), ("hook", "task_kill")])?;
    let path = killer.to_string_lossy();
    ensure!(record["fields"][0][1] == path.as_ref(), "{record}");
    if has_functions() {
        ensure!(!kill(&killer, "-WINCH")?, "the killer was not denied");
        let record = host.report(&[("kind", "verdict"), ("hook", "task_kill")])?;
        ensure!(record["verdict"] == "denied" && record["errno"] == "EACCES", "{record}");
        ensure!(record["reason"] == format!("watch {denies}"), "{record}");
    }
    host.stop(Signal::INT).map(drop)
}

/// A file's mark is read by a program that sleeps.
fn attribute(guest: &mut Guest) -> anyhow::Result<()> {
    const MARK: &str = "user.krsi.mark";
    let denies = format!(
        "file_open: file, file.xattr[\"{MARK}\"] as mark if mark == \"secret\" deny EACCES"
    );
    if !has_functions() {
        return refused(guest, &denies, "bpf_get_file_xattr");
    }
    let (marked, neighbour) = (guest.file("marked")?, guest.file("neighbour")?);
    let mark = |path: &Path, value: &[u8]| setxattr(path, MARK, value, XattrFlags::empty());
    mark(&marked, b"secret")?;
    let sees = format!("file_open: file.xattr['{MARK}'] as mark if mark.startsWith(\"pub\")");
    let host = guest.start(&arguments(&[&denies, &sees]))?;
    expect_errno(EACCES, File::open(&marked))?;
    File::open(&neighbour)?;
    let record = host.report(&[("kind", "verdict"), ("hook", "file_open")])?;
    ensure!(record["errno"] == "EACCES" && has_rule(&record), "{record}");
    ensure!(record["object"] == format!("{} secret", marked.display()), "{record}");
    // Longer, shorter, and gone.
    for other in [&b"secrets"[..], b"secre", b"public"] {
        mark(&marked, other)?;
        File::open(&marked)?;
    }
    let record = host.report(&[("kind", "watch"), ("verdict", "")])?;
    ensure!(record["fields"][0][1] == "public", "{record}");
    mark(&marked, b"secret")?;
    expect_errno(EACCES, File::open(&marked))?;
    removexattr(&marked, MARK)?;
    File::open(&marked)?;
    host.stop(Signal::INT).map(drop)
}

/// `struct fsverity_enable_arg` of `include/uapi/linux/fsverity.h`: version, hash algorithm, block size.
const ENABLE: [u32; 32] = {
    let mut argument = [0; 32];
    (argument[0], argument[1], argument[2]) = (1, 1, 4096);
    argument
};
/// `FS_IOC_ENABLE_VERITY`: `_IOW('f', 133, struct fsverity_enable_arg)`.
const FS_IOC_ENABLE_VERITY: usize = 0x4080_6685;
/// `FS_IOC_MEASURE_VERITY`: `_IOWR('f', 134, struct fsverity_digest)`.
const FS_IOC_MEASURE_VERITY: usize = 0xc004_6686;

/// Seals a file; its digest as hex.
fn seal(path: &Path) -> anyhow::Result<String> {
    let file = File::open(path)?;
    let ioctl = |request: usize, at: usize| {
        call::call(libc::SYS_ioctl, [file.as_raw_fd() as usize, request, at])
    };
    ioctl(FS_IOC_ENABLE_VERITY, call::at(&ENABLE)).context("FS_IOC_ENABLE_VERITY")?;
    // The header has room for the digest behind it: its size is the second half-word.
    let mut digest = [0_u8; 36];
    digest[2] = 32;
    ioctl(FS_IOC_MEASURE_VERITY, (&raw mut digest) as usize).context("FS_IOC_MEASURE_VERITY")?;
    Ok(digest[4..].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is sealed is denied by its digest, by whatever name; the same bytes without a seal are not.
fn verity(guest: &mut Guest) -> anyhow::Result<()> {
    let watch = |digest: &str| {
        format!(
            "bprm_check_security: bprm.file, bprm.file.fsverity as digest if digest == \"{digest}\" deny EACCES"
        )
    };
    if !has_functions() {
        return refused(guest, &watch(&"ab".repeat(32)), "bpf_get_fsverity_digest");
    }
    let folder = guest.path("disk");
    fs::create_dir(&folder)?;
    let busybox = |arguments: &[&str]| Command::new("/bin/busybox").args(arguments).status();
    let shown = folder.to_string_lossy();
    ensure!(busybox(&["mount", "-t", "ext4", "/dev/nvme0n1", &shown])?.success(), "mount");
    let result = sealed(guest, &folder, &watch);
    ensure!(busybox(&["umount", &shown])?.success(), "umount");
    result
}

fn sealed(guest: &Guest, folder: &Path, watch: &dyn Fn(&str) -> String) -> anyhow::Result<()> {
    let [victim, copy, neighbour] =
        ["busybox-victim", "busybox-copy", "busybox-neighbour"].map(|name| folder.join(name));
    for path in [&victim, &copy, &neighbour] {
        fs::copy("/bin/busybox", path)?;
    }
    fs::OpenOptions::new().append(true).open(&neighbour)?.write_all(b"another")?;
    let digest = seal(&victim)?;
    ensure!(digest != seal(&neighbour)?, "one digest of two files");
    let host = guest.start(&arguments(&[&watch(&digest)]))?;
    expect_errno(EACCES, run(&victim, &["true"]))?;
    let object = format!("{} {digest}", victim.display());
    let record = host.report(&[("kind", "verdict"), ("hook", "bprm_check_security")])?;
    ensure!(record["object"] == object && record["errno"] == "EACCES", "{record}");
    ensure!(has_rule(&record), "{record}");
    let renamed = folder.join("busybox-renamed");
    fs::rename(&victim, &renamed)?;
    expect_errno(EACCES, run(&renamed, &["true"]))?;
    run(&neighbour, &["true"])?;
    run(&copy, &["true"])?;
    host.stop(Signal::INT).map(drop)
}

/// The kernel gives the functions to LSM programs only: refused by name, and the walk stays.
fn without_bpf(guest: &mut Guest) -> anyhow::Result<()> {
    refused(
        guest,
        "task_kill if current.mm.exe_file == \"/bin/busybox\"",
        "bpf_get_task_exe_file",
    )?;
    refused(guest, "file_open: file.xattr[\"user.mark\"]", "bpf_get_file_xattr")?;
    refused(guest, "file_open: file.fsverity", "bpf_get_fsverity_digest")?;
    let killer = guest.executable("busybox-killer")?;
    let host = guest.start(&arguments(&["task_kill: current.mm.exe_file as runs if sig == 18"]))?;
    let victim = Waiting::start()?;
    let status =
        Command::new(&killer).args(["kill", "-CONT", &victim.pid().to_string()]).status()?;
    ensure!(status.success(), "{status}");
    let record = host.report(&[("kind", "watch"), ("hook", "task_kill")])?;
    ensure!(record["fields"][0][1] == killer.to_string_lossy().as_ref(), "{record}");
    host.stop(Signal::INT).map(drop)
}
