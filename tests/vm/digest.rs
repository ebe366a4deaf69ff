//! Rules on digests of executables: what has the bytes is refused, by whatever name, where IMA hashes.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno, has_rule, kernel, run, wait_for};

pub(crate) const TESTS: &[Test] = &[
    ("digest_denies_by_any_name", Boot::Default, denies_by_any_name),
    ("digest_denies_what_a_script_runs", Boot::Default, denies_interpreter),
    ("digest_hashes_what_ends_soon", Boot::Default, hashes_what_ends_soon),
    ("digest_audits", Boot::Default, audits),
    ("digest_yields_to_an_allow", Boot::Default, yields),
    ("digest_without_bpf_is_refused", Boot::WithoutBpf, refused_without_bpf),
];

const EACCES: i32 = 13;
const HOOK: &str = "bprm_check_security";

/// IMA hashes files for BPF from 5.18 on.
fn hashes() -> bool {
    kernel() != "5.10"
}

/// SHA-256 of a file, as busybox says.
fn sha256(path: &Path) -> anyhow::Result<String> {
    let output = Command::new("/bin/busybox").arg("sha256sum").arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().next().map(str::to_owned).context("a digest")
}

/// An executable with bytes of its own, and its digest.
fn own(guest: &Guest, name: &str) -> anyhow::Result<(PathBuf, String)> {
    let path = guest.executable(name)?;
    File::options().append(true).open(&path)?.write_all(name.as_bytes())?;
    let digest = sha256(&path)?;
    Ok((path, digest))
}

/// Starts the sealer; none where the kernel hashes nothing, which it must say.
fn sealed(guest: &Guest, rules: &str) -> anyhow::Result<Option<Host>> {
    let host = guest.host("sealer", rules)?;
    if hashes() {
        return Ok(Some(host));
    }
    refused(host, "from 5.18 on")?;
    Ok(None)
}

/// Rules on digests are refused, and it is said why.
fn refused(host: Host, why: &str) -> anyhow::Result<()> {
    wait_for("a refusal", || Ok(host.stderr().contains("rules on digests").then_some(())))?;
    ensure!(host.stderr().contains(why), "{}", host.stderr());
    let summary = host.stop(Signal::INT)?;
    ensure!(summary["plugins"][0]["refused"] == 1, "{summary}");
    Ok(())
}

fn verdict(host: &Host, object: &Path, word: &str) -> anyhow::Result<Value> {
    let object = object.to_string_lossy().into_owned();
    let record = host.report(&[("kind", "verdict"), ("hook", HOOK), ("object", &object)])?;
    ensure!(has_rule(&record), "{record}");
    ensure!(record["verdict"] == word && record["plugin"] == "sealer", "{record}");
    Ok(record)
}

fn denies_by_any_name(guest: &mut Guest) -> anyhow::Result<()> {
    let (sealed_one, digest) = own(guest, "busybox-sealed")?;
    let (neighbour, _) = own(guest, "busybox-neighbour")?;
    let Some(host) = sealed(guest, &format!("digest {digest} 13"))? else {
        return run(&sealed_one, &["true"]).map_err(Into::into);
    };
    expect_errno(EACCES, run(&sealed_one, &["true"]))?;
    let record = verdict(&host, &sealed_one, "denied")?;
    ensure!(record["errno"] == "EACCES" && record["reason"] == "sealer: digest", "{record}");
    let copy = guest.path("busybox-copy");
    fs::copy(&sealed_one, &copy)?;
    expect_errno(EACCES, run(&copy, &["true"]))?;
    verdict(&host, &copy, "denied")?;
    run(&neighbour, &["true"])?;
    // Another byte is another digest: what that rule cannot do.
    File::options().append(true).open(&copy)?.write_all(b"!")?;
    run(&copy, &["true"])?;
    let summary = host.stop(Signal::INT)?;
    let row = hook_row(&summary)?;
    ensure!(row["denied"] == 2 && row["errors"] == 0, "{row}");
    let number = |name: &str| row[name].as_u64().context(name.to_owned());
    let told = number("delivered")? + number("filtered")? + number("lost")? + number("skipped")?;
    ensure!(number("seen")? == told, "{row}");
    run(&sealed_one, &["true"])?;
    Ok(())
}

fn denies_interpreter(guest: &mut Guest) -> anyhow::Result<()> {
    let (interpreter, digest) = own(guest, "busybox-sh")?;
    let script = guest.path("script");
    fs::write(&script, format!("#!{} true\n", interpreter.display()))?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    run(&script, &[])?;
    let Some(host) = sealed(guest, &format!("digest {digest} 13"))? else { return Ok(()) };
    expect_errno(EACCES, run(&script, &[]))?;
    verdict(&host, &interpreter, "denied")?;
    host.stop(Signal::INT).map(drop)
}

/// Bytes of a file that nobody wrote: hashing them would take hours, whatever signal comes.
const SPARSE_BYTES: u64 = 100 << 30;
/// Time that executing such a file may take.
const SOON: Duration = Duration::from_secs(20);

/// An executable that is too long to be hashed passes, and is counted; a rule can say that it is refused.
fn hashes_what_ends_soon(guest: &mut Guest) -> anyhow::Result<()> {
    let (sealed_one, digest) = own(guest, "busybox-sealed")?;
    let (sparse, _) = own(guest, "busybox-sparse")?;
    let (neighbour, _) = own(guest, "busybox-neighbour")?;
    File::options().append(true).open(&sparse)?.set_len(SPARSE_BYTES)?;
    let Some(host) = sealed(guest, &format!("digest {digest} 13"))? else {
        return run(&sparse, &["true"]).map_err(Into::into);
    };
    let start = Instant::now();
    run(&sparse, &["true"])?;
    ensure!(start.elapsed() < SOON, "the file was hashed: {:?}", start.elapsed());
    expect_errno(EACCES, run(&sealed_one, &["true"]))?;
    let row = hook_row(&host.stop(Signal::INT)?)?;
    ensure!(row["denied"] == 1 && row["errors"] == 1, "{row}");
    let strict = guest.host("sealer", &format!("strict {digest} 13"))?;
    expect_errno(EACCES, run(&sparse, &["true"]))?;
    let record = verdict(&strict, &sparse, "denied")?;
    ensure!(record["reason"] == "sealer: strict", "{record}");
    expect_errno(EACCES, run(&sealed_one, &["true"]))?;
    run(&neighbour, &["true"])?;
    let row = hook_row(&strict.stop(Signal::INT)?)?;
    ensure!(row["denied"] == 2 && row["errors"] == 1, "{row}");
    Ok(run(&sparse, &["true"])?)
}

fn hook_row(summary: &Value) -> anyhow::Result<Value> {
    let rows = summary["hooks"].as_array().context("hooks")?;
    rows.iter().find(|row| row["hook"] == HOOK).cloned().context("the hook")
}

fn audits(guest: &mut Guest) -> anyhow::Result<()> {
    let (audited, digest) = own(guest, "busybox-audited")?;
    let Some(host) = sealed(guest, &format!("audit {digest} 13"))? else { return Ok(()) };
    run(&audited, &["true"])?;
    let record = verdict(&host, &audited, "audited")?;
    ensure!(record["errno"] == "EACCES", "{record}");
    host.stop(Signal::INT).map(drop)
}

/// An `allow` on the process that runs it lifts the plugin's own rule on a digest.
fn yields(guest: &mut Guest) -> anyhow::Result<()> {
    let (sealed_one, digest) = own(guest, "busybox-sealed")?;
    let trusted = guest.executable("busybox-trusted")?;
    let Some(host) = sealed(guest, &format!("digest {digest} 13"))? else { return Ok(()) };
    let (go, done) = (guest.path("go"), guest.path("done"));
    let text = format!(
        "until [ -e {} ]; do usleep 50000; done; exec {} touch {}",
        go.display(),
        sealed_one.display(),
        done.display()
    );
    let mut child =
        Command::new(&trusted).args(["sh", "-c", &text]).stderr(Stdio::null()).spawn()?;
    wait_for("the rule that allows", || {
        let allowed =
            |report: &Value| report["kind"] == "rule" && report["reason"] == "sealer: trusted";
        Ok(host.reports()?.iter().any(allowed).then_some(()))
    })
    .with_context(|| format!("{:#?}", host.reports()))?;
    fs::write(&go, "")?;
    ensure!(child.wait()?.success() && done.exists(), "{:#?}", host.reports());
    expect_errno(EACCES, run(&sealed_one, &["true"]))?;
    host.stop(Signal::INT).map(drop)
}

fn refused_without_bpf(guest: &mut Guest) -> anyhow::Result<()> {
    let (sealed_one, digest) = own(guest, "busybox-sealed")?;
    let host = guest.host("sealer", &format!("digest {digest} 13"))?;
    run(&sealed_one, &["true"])?;
    refused(host, "only programs of the BPF LSM")
}
