//! The file family: opens denied by inode, in audit mode, and for a time.

use std::fs::{self, File};

use anyhow::ensure;
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, expect_errno, wait_for, wait_for_errno, wait_for_ok};

pub(crate) const TESTS: &[Test] = &[
    ("file_open_denied_by_inode", Boot::Each, denied_by_inode),
    ("file_open_audited", Boot::Each, audited),
    ("file_open_deny_expires", Boot::Each, deny_expires),
    ("file_open_long_path", Boot::Each, long_path),
];

const EACCES: i32 = 13;
const EPERM: i32 = 1;

fn denied_by_inode(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    let host = guest.host("sentry", &format!("open {} 60000 13", secret.display()))?;
    drop(File::open(&secret)?);
    wait_for_errno(EACCES, || File::open(&secret))?;
    let path = secret.to_string_lossy();
    let record = host.report(&[("kind", "verdict"), ("hook", "file_open"), ("object", &path)])?;
    ensure!(record["verdict"] == "denied" && record["errno"] == "EACCES", "{record}");
    ensure!(record["rule_id"].as_u64() > Some(0) && record["plugin"] == "sentry", "{record}");
    ensure!(record["tgid"] == std::process::id(), "{record}");
    ensure!(record["until_unix_ns"].as_i64() > record["unix_ns"].as_i64(), "{record}");
    let link = guest.path("link");
    fs::hard_link(&secret, &link)?;
    expect_errno(EACCES, File::open(&link))?;
    ensure!(fs::read_to_string(&neighbour)? == "neighbour", "the neighbour's content");
    // A denial ends with its host.
    host.stop(Signal::INT)?;
    drop(File::open(&secret)?);
    Ok(())
}

fn audited(guest: &mut Guest) -> anyhow::Result<()> {
    let watched = guest.file("watched")?;
    let host = guest.host("sentry", &format!("audit {} 60000 13", watched.display()))?;
    let path = watched.to_string_lossy().into_owned();
    // Every open succeeds, before the rule and under it.
    let record = wait_for("an audited open", || {
        drop(File::open(&watched)?);
        let audited = |report: &serde_json::Value| {
            report["verdict"] == "audited" && report["object"] == *path
        };
        Ok(host.reports()?.into_iter().find(audited))
    })?;
    ensure!(record["errno"] == "EACCES" && record["plugin"] == "sentry", "{record}");
    drop(File::open(&watched)?);
    host.stop(Signal::INT).map(drop)
}

fn deny_expires(guest: &mut Guest) -> anyhow::Result<()> {
    let secret = guest.file("secret")?;
    let host = guest.host("sentry", &format!("open {} 6000 1", secret.display()))?;
    drop(File::open(&secret)?);
    wait_for_errno(EPERM, || File::open(&secret))?;
    wait_for_ok(|| File::open(&secret))?;
    host.stop(Signal::INT).map(drop)
}

fn long_path(guest: &mut Guest) -> anyhow::Result<()> {
    let mut folder = guest.path("deep");
    for _ in 0..12 {
        folder = folder.join("a".repeat(100));
    }
    fs::create_dir_all(&folder)?;
    let secret = folder.join("secret");
    fs::write(&secret, "deep")?;
    let host = guest.host("sentry", &format!("open {} 60000 13", secret.display()))?;
    drop(File::open(&secret)?);
    wait_for_errno(EACCES, || File::open(&secret))?;
    host.report(&[
        ("kind", "verdict"),
        ("hook", "file_open"),
        ("object", &secret.to_string_lossy()),
    ])?;
    host.stop(Signal::INT).map(drop)
}
