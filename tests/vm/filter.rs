//! In-kernel filters of telemetry: what a filter does not want never reaches the ring, and is counted.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno, has_rule, listen, run, wait_for};
use crate::scene::{Scene, SceneTest, Stage};
use crate::subject::run_in;

pub(crate) const TESTS: &[Test] = &[("filter_of_what_the_host_lives_on", Boot::Default, followed)];

pub(crate) const SCENES: &[SceneTest] = &[
    ("filter_uid", Boot::Each, &SIEVE, uid),
    ("filter_cgroup", Boot::Each, &SIEVE, cgroup),
    ("filter_path_prefix", Boot::Each, &SIEVE, path_prefix),
    ("filter_open_flags", Boot::Each, &SIEVE, open_flags),
    ("filter_port", Boot::Each, &SIEVE, port),
    ("filter_first_seen", Boot::Each, &SIEVE, first_seen),
    ("filter_rate", Boot::Each, &SIEVE, rate),
];

/// The sieve, which gets the hooks that the lines name of those that it asks for. Each scene has one of its own.
const SIEVE: Stage = Stage { name: "stage-sieve", start: sieve };

/// Acts of each test that its filter does not want.
const UNWANTED: u64 = 20;

fn sieve(guest: &Guest, hooks: &[String]) -> anyhow::Result<Host> {
    let config = guest.path("krsi.toml");
    fs::write(&config, format!("[plugin.sieve]\nhooks = {hooks:?}\n"))?;
    guest.host_with(&[("sieve", "")], &["--config", &config.to_string_lossy()])
}

/// Alerts of the sieve on a hook, in order.
fn told(host: &Host, hook: &str) -> anyhow::Result<Vec<String>> {
    let text = |report: &Value| report["text"].as_str().unwrap_or_default().to_owned();
    let alerts = host.reports()?.into_iter().filter(|report| report["kind"] == "alert");
    Ok(alerts.map(|report| text(&report)).filter(|text| text.starts_with(hook)).collect())
}

/// A scene of one filter: what is done, whose last wanted act is told; then only so many calls were delivered,
/// and the others were filtered.
fn scene<'a>(
    (hook, last, wanted): (&'static str, &'static str, usize),
    act: impl FnOnce() -> anyhow::Result<()> + 'a,
) -> Scene<'a> {
    let scene = Scene::new(vec![hook.to_owned()], move |host| {
        act()?;
        let all = wait_for(&format!("{hook} {last}"), || {
            let all = told(host, hook)?;
            Ok(all.iter().any(|text| text.contains(last)).then_some(all))
        })
        .with_context(|| host.stderr())?;
        ensure!(all.len() == wanted, "{all:#?}");
        Ok(())
    });
    scene.ending(move |summary| {
        let row = row(summary, hook)?;
        ensure!(row["delivered"] == wanted, "{row}");
        ensure!(row["filtered"].as_u64() >= Some(UNWANTED), "{row}");
        let count = |name: &str| row[name].as_u64().unwrap_or(u64::MAX / 8);
        let ended = count("delivered") + count("filtered") + count("lost") + count("skipped");
        ensure!(count("seen") == ended, "seen is not the sum: {row}");
        Ok(())
    })
}

/// A hook's row of the summary.
fn row<'a>(summary: &'a Value, hook: &str) -> anyhow::Result<&'a Value> {
    let rows = summary["hooks"].as_array().context("hooks")?;
    rows.iter().find(|row| row["hook"] == hook).with_context(|| hook.to_owned())
}

fn uid(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    // Not later: another scene counts changes of modes.
    fs::set_permissions(guest.path(""), Permissions::from_mode(0o777))?;
    Ok(scene(("path_mkdir", "wanted", 1), || {
        for at in 0..UNWANTED {
            fs::create_dir(guest.path(&format!("unwanted-{at}")))?;
        }
        let mut mkdir = Command::new("/bin/busybox");
        let status = mkdir.arg("mkdir").arg(guest.path("wanted")).uid(4242).gid(4242).status()?;
        ensure!(status.success(), "mkdir: {status}");
        Ok(())
    }))
}

/// Makes pipes from within a cgroup.
fn make_pipes(cgroup: &Path, folder: &Path, count: u64) -> anyhow::Result<()> {
    let script = "i=0 && while [ $i -lt $2 ]; do \
                  /bin/busybox mknod \"$1-$i\" p || exit 1; i=$((i+1)); done";
    let count = count.to_string();
    let status = run_in(cgroup, script, &[folder.as_os_str(), OsStr::new(&count)])?;
    ensure!(status.success(), "mknod: {status}");
    Ok(())
}

fn cgroup(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let root = Path::new("/sys/fs/cgroup");
    let child = root.join("filter-cgroup");
    fs::create_dir_all(&child)?;
    let own = child.clone();
    let scene = scene(("path_mknod", "wanted", 1), move || {
        make_pipes(&own, &guest.path("unwanted"), UNWANTED)?;
        make_pipes(root, &guest.path("wanted"), 1)
    });
    // Not sooner: another scene counts removals.
    Ok(scene.ending(move |_| Ok(fs::remove_dir(&child)?)))
}

fn path_prefix(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    const HOOK: &str = "bprm_check_security";
    let copy = |folder: &str| -> anyhow::Result<_> {
        fs::create_dir_all(guest.path(folder))?;
        let path = guest.path(folder).join("busybox");
        fs::copy("/bin/busybox", &path)?;
        Ok(path)
    };
    // A prefix of a filter is a text: `kept/` is not how the other begins.
    let (unwanted, wanted) = (copy("kept-not")?, copy("kept")?);
    let act = move || {
        for _ in 0..UNWANTED {
            run(&unwanted, &["true"])?;
        }
        Ok(run(&wanted, &["true"])?)
    };
    if guest.resolves(HOOK) {
        return Ok(scene((HOOK, "/kept/busybox", 1), act));
    }
    // A path that is walked, and not resolved, is forwarded: whoever reads the record decides.
    Ok(Scene::new(vec![HOOK.to_owned()], move |host| {
        act()?;
        let all = wait_for("every execution", || {
            let all = told(host, HOOK)?;
            Ok(all.iter().any(|text| text.contains("/kept/busybox")).then_some(all))
        })?;
        ensure!(all.iter().any(|text| text.contains("/kept-not/busybox")), "{all:#?}");
        Ok(())
    }))
}

fn open_flags(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let file = guest.file("cut")?;
    let scene = Scene::new(vec!["file_open".to_owned()], move |host| {
        for _ in 0..UNWANTED {
            drop(File::open(&file)?);
        }
        drop(OpenOptions::new().write(true).truncate(true).open(&file)?);
        let texts = wait_for("the open", || {
            let all = told(host, "file_open")?;
            Ok(all.iter().any(|text| text.ends_with("/cut")).then_some(all))
        })?;
        ensure!(texts.iter().filter(|text| text.ends_with("/cut")).count() == 1, "{texts:#?}");
        Ok(())
    });
    Ok(scene.ending(|summary| {
        let row = row(summary, "file_open")?;
        ensure!(row["filtered"].as_u64() >= Some(UNWANTED), "{row}");
        Ok(())
    }))
}

fn port(_: &Guest) -> anyhow::Result<Scene<'_>> {
    listen("127.0.0.1:4721")?;
    listen("127.0.0.1:4723")?;
    Ok(scene(("socket_connect", "4721", 1), || {
        for _ in 0..UNWANTED {
            drop(TcpStream::connect("127.0.0.1:4723")?);
        }
        Ok(TcpStream::connect("127.0.0.1:4721").map(drop)?)
    }))
}

fn first_seen(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (file, last) = (guest.file("first")?, guest.file("second")?);
    Ok(scene(("path_chmod", "second", 2), move || {
        for _ in 0..=UNWANTED {
            fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        }
        Ok(fs::set_permissions(&last, Permissions::from_mode(0o600))?)
    }))
}

/// In one process, however slow: no two seconds pass without a record of the last one's.
fn rate(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let calls = 40 * UNWANTED;
    let folder = |at: u64| guest.path(&format!("folder-{at}"));
    for at in 0..calls {
        fs::create_dir(folder(at))?;
    }
    let most = Rc::new(Cell::new(0));
    let limit = Rc::clone(&most);
    let scene = Scene::new(vec!["path_rmdir".to_owned()], move |host| {
        let start = std::time::Instant::now();
        for at in 0..calls {
            fs::remove_dir(folder(at))?;
        }
        // The clock's seconds that these lie in are at most two more.
        limit.set(2 * (start.elapsed().as_secs() + 2));
        wait_for("a removal", || Ok((!told(host, "path_rmdir")?.is_empty()).then_some(())))
    });
    Ok(scene.ending(move |summary| {
        let (row, most) = (row(summary, "path_rmdir")?, most.get());
        let delivered = row["delivered"].as_u64().context("delivered")?;
        ensure!((1..=most).contains(&delivered), "{delivered} of {calls}, at most {most}: {row}");
        ensure!(row["filtered"].as_u64() >= Some(calls - most), "{row}");
        Ok(())
    }))
}

/// A plugin that wants to see nobody's processes but one user's keeps those of others from nobody else: the
/// host knows what they run.
fn followed(guest: &mut Guest) -> anyhow::Result<()> {
    (4741..=4742).try_for_each(|port| listen(&format!("127.0.0.1:{port}")))?;
    fs::set_permissions(guest.path(""), Permissions::from_mode(0o755))?;
    let runner = guest.path("runner");
    fs::copy("/krsi/stand-in-miner", &runner)?;
    let config = guest.path("krsi.toml");
    let hooks = "\"bprm_committed_creds\", \"sched_process_fork\", \"sched_process_exit\"";
    fs::write(&config, format!("[plugin.sieve]\nhooks = [{hooks}]\n"))?;
    let rule = "network 127.0.0.1/32:4741 13 socket_connect";
    let more = ["--config", &config.to_string_lossy()];
    let host = guest.host_with(&[("sieve", ""), ("ruler", rule)], &more)?;
    for uid in [0, 4242] {
        let mut connect = Command::new(&runner);
        let to = ["-o", "127.0.0.1:4741", "-o", "127.0.0.1:4742"];
        let output = connect.args(to).uid(uid).gid(uid).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains("4741: EACCES") && text.contains("4742: ok"), "{text}");
    }
    expect_errno(13, TcpStream::connect("127.0.0.1:4741"))?;
    // The record of each denial says what the caller runs, whoever it is.
    let exe = runner.to_string_lossy().into_owned();
    let denials = wait_for("both denials", || {
        let is_denial =
            |report: &Value| report["kind"] == "verdict" && report["uid"] != Value::Null;
        let reports = host.reports()?.into_iter().filter(is_denial).collect::<Vec<_>>();
        let by = |uid: u32| reports.iter().find(|report| report["uid"] == uid).cloned();
        Ok(by(0).zip(by(4242)))
    })?;
    for record in [&denials.0, &denials.1] {
        ensure!(record["exe"] == *exe, "{record}");
        ensure!(has_rule(record) && record["errno"] == "EACCES", "{record}");
    }
    // The plugin itself is sent what it asked for.
    let seen = wait_for("the exec", || {
        let seen = told(&host, "bprm_committed_creds")?;
        Ok((!seen.is_empty()).then_some(seen))
    })?;
    ensure!(seen == [format!("bprm_committed_creds {exe}")], "{seen:#?}");
    host.stop(Signal::INT).map(drop)
}
