//! The witness counts what all LSMs together answered, whoever refused, by whichever backend.

use std::fs;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno};

pub(crate) const TESTS: &[Test] = &[
    ("witness_sees_denials", Boot::Each, sees_denials),
    ("witness_sees_what_others_refuse", Boot::Each, sees_others),
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

/// (calls, refused, denied) at the hook.
fn saw(summary: &Value) -> anyhow::Result<(u64, u64, u64)> {
    let rows = summary["witness"].as_array().context("witness")?;
    let row = rows.iter().find(|row| row["hook"] == "inode_mkdir").context("inode_mkdir")?;
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
