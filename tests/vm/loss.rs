//! What the kernel loses is told: a plugin's own counts, hook by hook, are the summary's.

use std::fs::File;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, run, wait_for};

pub(crate) const TESTS: &[Test] = &[("loss_is_told_by_hook", Boot::Default, by_hook)];

/// Records that the plugin says were lost of a hook at a place, all together.
fn told(reports: &[Value], hook: &str, place: &str) -> u64 {
    let start = format!("lost {hook} {place} ");
    let texts = reports.iter().filter(|report| report["plugin"] == "census");
    let texts = texts.filter_map(|report| report["text"].as_str());
    let counts = texts.filter_map(|text| text.strip_prefix(&start)?.parse().ok());
    counts.max().unwrap_or(0)
}

fn by_hook(guest: &mut Guest) -> anyhow::Result<()> {
    let file = guest.file("file")?;
    let host = guest.host_with(&[("census", "")], &["--ring-bytes", "16384"])?;
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
    let out = guest.path("host.out");
    let summary = host.stop(Signal::INT)?;
    let text = std::fs::read_to_string(out)?;
    let reports: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut lost = 0;
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
        let by_cpu = row["lost_by_cpu"].as_array().context("lost_by_cpu")?;
        let by_cpu: u64 = by_cpu.iter().filter_map(|cpu| cpu[1].as_u64()).sum();
        ensure!(by_cpu == count("lost_telemetry")? + count("lost_verdicts")?, "{row}");
        ensure!(count("lost")? == by_cpu + count("undecoded")?, "{row}");
        lost += by_cpu;
    }
    ensure!(lost > 0, "four pages of ring held 12000 records");
    Ok(())
}
