//! The witness counts what all LSMs together answered, whoever refused, by whichever backend.

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test, evasion};
use crate::harness::{Guest, Host, expect_errno, wait_for};
use crate::reload::{census, put};
use crate::rule::count;

pub(crate) const TESTS: &[Test] = &[
    ("witness_sees_denials", Boot::Each, sees_denials),
    ("witness_sees_what_others_refuse", Boot::Each, sees_others),
    ("witness_sees_the_last_denials", Boot::Each, sees_last),
    ("witness_outlives_a_plugin", Boot::Default, outlives_plugin),
];

const EPERM: i32 = 1;
const EACCES: i32 = 13;

/// A host that watches this process's new folders.
fn start(guest: &Guest, action: &str, more: &[&str]) -> anyhow::Result<Host> {
    let own = std::process::id();
    let watch = format!("inode_mkdir: current.tgid if current.tgid == {own}{action}");
    let words = ["--watch", &watch].into_iter().chain(more.iter().copied());
    guest.start(&words.map(str::to_owned).collect::<Vec<_>>())
}

/// (calls, refused, denied) at the hook of new folders.
fn saw(summary: &Value) -> anyhow::Result<(u64, u64, u64)> {
    saw_at("inode_mkdir", summary)
}

/// (calls, refused, denied) at a hook.
fn saw_at(hook: &str, summary: &Value) -> anyhow::Result<(u64, u64, u64)> {
    let rows = summary["witness"].as_array().context("witness")?;
    let row = rows.iter().find(|row| row["hook"] == hook).with_context(|| hook.to_owned())?;
    let number = |name: &str| row[name].as_u64().context("a number");
    Ok((number("calls")?, number("refused")?, number("denied")?))
}

fn sees_denials(guest: &mut Guest) -> anyhow::Result<()> {
    let host = start(guest, " deny EACCES", &["--witness"])?;
    expect_errno(EACCES, fs::create_dir(guest.path("first")))?;
    expect_errno(EACCES, fs::create_dir(guest.path("second")))?;
    let (calls, refused, denied) = saw(&host.stop(Signal::INT)?)?;
    ensure!(calls >= 2 && refused == 2 && denied == 2, "{calls} {refused} {denied}");
    // What is only reported is not refused.
    let host = start(guest, " deny EACCES", &["--witness", "--mode", "audit"])?;
    fs::create_dir(guest.path("third"))?;
    let (calls, refused, denied) = saw(&host.stop(Signal::INT)?)?;
    ensure!(calls >= 1 && refused == 0 && denied == 0, "{calls} {refused} {denied}");
    // Nobody asked for it.
    let summary = start(guest, "", &[])?.stop(Signal::INT)?;
    ensure!(summary["witness"].as_array().is_some_and(Vec::is_empty), "{summary}");
    Ok(())
}

/// Another host refuses, attached before and attached after: this one's witness sees it each time.
fn sees_others(guest: &mut Guest) -> anyhow::Result<()> {
    let other = guest.beside("other")?;
    let refusing = start(&other, " deny EPERM", &[])?;
    let host = start(guest, "", &["--witness"])?;
    expect_errno(EPERM, fs::create_dir(guest.path("first")))?;
    refusing.stop(Signal::INT)?;
    fs::create_dir(guest.path("second"))?;
    let refusing = start(&other, " deny EPERM", &[])?;
    expect_errno(EPERM, fs::create_dir(guest.path("third")))?;
    refusing.stop(Signal::INT)?;
    let (calls, refused, denied) = saw(&host.stop(Signal::INT)?)?;
    ensure!(calls >= 3 && refused == 2 && denied == 0, "{calls} {refused} {denied}");
    Ok(())
}

/// Calls are refused while the host ends: each that it counts, the witness has seen to its end, which the
/// judge of every end asks for.
fn sees_last(guest: &mut Guest) -> anyhow::Result<()> {
    let host = start(guest, " deny EACCES", &["--witness"])?;
    let (over, folder) = (AtomicBool::new(false), guest.path("last"));
    let summary = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(fs::create_dir(&folder));
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
        }
        std::thread::sleep(Duration::from_millis(50));
        let summary = host.stop(Signal::INT);
        over.store(true, Ordering::Relaxed);
        summary
    })?;
    let (_, _, denied) = saw(&summary)?;
    ensure!(denied > 0 && count(&summary, "inode_mkdir", "denied")? == denied, "{summary}");
    Ok(fs::remove_dir(&folder)?)
}

/// The witness comes with the first program of a hook, which is a plugin's here. That one goes; another
/// stays, and is judged.
fn outlives_plugin(guest: &mut Guest) -> anyhow::Result<()> {
    let (plugins, secret) = (guest.path("plugins"), guest.file("secret")?);
    fs::create_dir_all(&plugins)?;
    put(&plugins.join("census.wasm"), &census("1.0.000", "TRAP-OFF")?)?;
    let watch =
        format!("file_open: file.f_flags if {} deny EACCES", evasion::is_file("file", &secret)?);
    let words = ["--witness", "--watch", &watch, "--plugin-dir", &plugins.display().to_string()];
    let host = guest.start(&words.map(str::to_owned))?;
    let programs = || -> anyhow::Result<usize> {
        Ok(host.hooks()?.iter().filter(|hook| **hook == "file_open").count())
    };
    ensure!(programs()? == 2, "{:?}", host.hooks());
    expect_errno(EACCES, File::open(&secret))?;
    fs::remove_file(plugins.join("census.wasm"))?;
    wait_for("the plugin's program to go", || Ok((programs()? == 1).then_some(())))?;
    expect_errno(EACCES, File::open(&secret))?;
    expect_errno(EACCES, File::open(&secret))?;
    let (_, refused, denied) = saw_at("file_open", &host.stop(Signal::INT)?)?;
    ensure!(refused == 3 && denied == 3, "{refused} {denied}");
    Ok(())
}
