//! What the kernel loses is told: a plugin's own counts, hook by hook, are the summary's.

use std::fs::File;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno, run, wait_for, wait_for_errno};

pub(crate) const TESTS: &[Test] = &[
    ("loss_is_told_by_hook", Boot::Each, by_hook),
    ("loss_is_told_of_both_rings", Boot::Each, while_nobody_reads),
];

const EACCES: i32 = 13;

/// Records that the plugin says were lost of a hook at a place, all together.
fn told(reports: &[Value], hook: &str, place: &str) -> u64 {
    let start = format!("lost {hook} {place} ");
    let texts = reports.iter().filter(|report| report["plugin"] == "census");
    let texts = texts.filter_map(|report| report["text"].as_str());
    let counts = texts.filter_map(|text| text.strip_prefix(&start)?.parse().ok());
    counts.max().unwrap_or(0)
}

/// Ends the host; that what the plugin says of each hook is what the summary says. The sums of both hooks:
/// lost of telemetry, lost of verdicts.
fn compare(guest: &Guest, host: Host) -> anyhow::Result<[u64; 2]> {
    let out = guest.path("host.out");
    let summary = host.stop(Signal::INT)?;
    let text = std::fs::read_to_string(out)?;
    let reports: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut sums = [0; 2];
    for hook in ["file_open", "bprm_committed_creds"] {
        let rows = summary["hooks"].as_array().context("hooks")?;
        let row = rows.iter().find(|row| row["hook"] == hook).context(hook)?;
        let count = |name: &str| row[name].as_u64().context("a count");
        for (place, name) in
            [("Ring", "lost_telemetry"), ("Verdicts", "lost_verdicts"), ("Recursion", "missed")]
        {
            let told = told(&reports, hook, place);
            ensure!(told == count(name)?, "{hook} {place}: the plugin counted {told}, {row}");
        }
        let lost = [count("lost_telemetry")?, count("lost_verdicts")?];
        let by_cpu = row["lost_by_cpu"].as_array().context("lost_by_cpu")?;
        let by_cpu: u64 = by_cpu.iter().filter_map(|cpu| cpu[1].as_u64()).sum();
        ensure!(by_cpu == lost.iter().sum::<u64>(), "{row}");
        ensure!(count("lost")? == by_cpu + count("undecoded")?, "{row}");
        sums.iter_mut().zip(lost).for_each(|(sum, lost)| *sum += lost);
    }
    Ok(sums)
}

fn by_hook(guest: &mut Guest) -> anyhow::Result<()> {
    let file = guest.file("file")?;
    let host = guest.host_with(&[("census", "")], &["--ring-bytes", "32768"])?;
    let openers: Vec<_> = (0..4)
        .map(|_| {
            let file = file.clone();
            std::thread::spawn(move || (0..3000).for_each(|_| drop(File::open(&file))))
        })
        .collect();
    for _ in 0..20 {
        run("/bin/true".as_ref(), &[])?;
    }
    for opener in openers {
        ensure!(opener.join().is_ok(), "an opener panicked");
    }
    // It is told while the host runs, not only at its end.
    wait_for("a loss to be told", || {
        Ok((told(&host.reports()?, "file_open", "Ring") > 0).then_some(()))
    })?;
    let [telemetry, _] = compare(guest, host)?;
    ensure!(telemetry > 0, "eight pages of ring held 12000 records");
    Ok(())
}

/// More denials and opens than the rings hold, while nobody reads: every denial stands.
fn while_nobody_reads(guest: &mut Guest) -> anyhow::Result<()> {
    let (denied, free) = (guest.file("deny-me")?, guest.file("free")?);
    let host = guest.host_with(&[("census", "")], &["--ring-bytes", "32768"])?;
    drop(File::open(&denied));
    wait_for_errno(EACCES, || File::open(&denied))?;
    host.signal(Signal::STOP)?;
    // The ring of verdicts has a mebibyte, a record some hundred bytes.
    let acts = (0..6000).try_for_each(|_| {
        drop(File::open(&free)?);
        expect_errno(EACCES, File::open(&denied))
    });
    host.signal(Signal::CONT)?;
    acts?;
    wait_for("a loss to be told", || {
        Ok((told(&host.reports()?, "file_open", "Verdicts") > 0).then_some(()))
    })?;
    let [telemetry, verdicts] = compare(guest, host)?;
    ensure!(telemetry > 0 && verdicts > 0, "{telemetry} {verdicts}");
    Ok(())
}
