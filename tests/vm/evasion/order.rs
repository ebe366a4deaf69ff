//! A host that is stopped, and programs of somebody else's on the same hook.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{EACCES, EPERM, denial, denials, is_file, watches};
use crate::harness::{Guest, Host, expect_errno, has_rule, wait_for, wait_for_errno};
use crate::scene::Scene;

/// Opens that a stopped host is not told of.
const ACTS: usize = 5;

/// What is in force is in the kernel; its records wait.
pub(super) fn stopped_host(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    Ok(Scene::new(vec![format!("open {} 600000 13", secret.display())], move |host| {
        drop(File::open(&secret)?);
        wait_for_errno(EACCES, || File::open(&secret))?;
        let object = secret.to_string_lossy();
        denial(host, "file_open", &object, "sentry")?;
        host.signal(Signal::STOP)?;
        let acts = stopped(guest, host);
        host.signal(Signal::CONT)?;
        acts?;
        let records = wait_for("the records that waited", || {
            let records = denials(host, &object)?;
            Ok((records.len() == ACTS + 2).then_some(records))
        })?;
        for record in records {
            ensure!(record["plugin"] == "sentry" && record["errno"] == "EACCES", "{record}");
        }
        fs::read_to_string(&neighbour)?;
        Ok(())
    }))
}

fn stopped(guest: &Guest, host: &Host) -> anyhow::Result<()> {
    let (secret, neighbour) = (guest.path("secret"), guest.path("neighbour"));
    for _ in 0..ACTS {
        expect_errno(EACCES, File::open(&secret))?;
    }
    // A process that the host has not heard of.
    let cat = |file| Command::new("/bin/cat").arg(file).stderr(Stdio::null()).output();
    ensure!(!cat(&secret)?.status.success(), "a new process could read");
    ensure!(cat(&neighbour)?.status.success(), "the neighbour was denied");
    let told = denials(host, &secret.to_string_lossy())?;
    ensure!(told.len() == 1, "told by a stopped host: {told:#?}");
    Ok(())
}

/// Ours denies whatever a foreign program says; the one that was attached last is asked first, and
/// whoever comes after a denial is not asked.
pub(super) fn foreign_lsm(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, other) = (guest.file("secret")?, guest.file("other")?);
    let neighbour = guest.file("neighbour")?;
    let (is_secret, is_other) = (is_file("file", &secret)?, is_file("file", &other)?);
    let audits = format!("file_open: file.f_inode as secret if {is_secret} audit EPERM");
    let denies = format!("file_open: file.f_inode as other if {is_other} deny EPERM");
    let ours = format!("file_open: file.f_inode if {is_secret} || {is_other} deny EACCES");
    let before = guest.beside("before")?;
    let foreign = before.start(&watches(&[&audits, &denies]))?;
    let host = guest.start(&watches(&[&ours]))?;
    expect_errno(EACCES, File::open(&secret))?;
    expect_errno(EACCES, File::open(&other))?;
    fs::read_to_string(&neighbour)?;
    told(&host, &ours, "denied", 2)?;
    ensure!(decided(&foreign.stop(Signal::INT)?)? == (0, 0), "asked after a denial");
    // The same attached after ours.
    let after = guest.beside("after")?;
    let foreign = after.start(&watches(&[&audits, &denies]))?;
    expect_errno(EACCES, File::open(&secret))?;
    expect_errno(EPERM, File::open(&other))?;
    fs::read_to_string(&neighbour)?;
    told(&foreign, &audits, "audited", 1)?;
    told(&foreign, &denies, "denied", 1)?;
    ensure!(decided(&foreign.stop(Signal::INT)?)? == (1, 1), "more than two verdicts");
    expect_errno(EACCES, File::open(&other))?;
    told(&host, &ours, "denied", 4)?;
    ensure!(decided(&host.stop(Signal::INT)?)? == (4, 0), "another verdict");
    fs::read_to_string(&secret)?;
    Ok(())
}

/// Opens denied and audited by the watches of a host.
fn decided(summary: &Value) -> anyhow::Result<(u64, u64)> {
    let rows = summary["hooks"].as_array().context("hooks")?;
    let rows = || rows.iter().filter(|row| row["hook"] == "file_open");
    let sum = |name: &str| rows().filter_map(|row| row[name].as_u64()).sum();
    ensure!(rows().count() > 0, "{summary}");
    Ok((sum("denied"), sum("audited")))
}

/// Waits for so many verdicts of a watch.
fn told(host: &Host, watch: &str, verdict: &str, count: usize) -> anyhow::Result<()> {
    let reason = format!("watch {watch}");
    let records = wait_for(&format!("{count} records of {watch}"), || {
        let mut reports = host.reports()?;
        reports.retain(|report| report["kind"] == "verdict" && report["reason"] == *reason);
        Ok((reports.len() >= count).then_some(reports))
    })?;
    ensure!(records.len() == count, "{records:#?}");
    for record in records {
        ensure!(record["verdict"] == verdict && record["plugin"] == "administrator", "{record}");
        ensure!(has_rule(&record), "{record}");
    }
    Ok(())
}
