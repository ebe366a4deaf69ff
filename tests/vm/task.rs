//! The task family and the accounts: every event is delivered or counted where it went.

use std::fs::File;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, run};

pub(crate) const TESTS: &[Test] = &[
    ("accounts_agree", Boot::Each, accounts_agree),
    ("accounts_agree_when_the_ring_overflows", Boot::Each, accounts_agree_on_overflow),
];

/// seen = delivered + filtered + lost + skipped, for every hook of a summary.
fn check(summary: &Value) -> anyhow::Result<()> {
    let hooks = summary["hooks"].as_array().context("hooks")?;
    ensure!(hooks.len() == 6, "{hooks:?}");
    for row in hooks {
        let count = |name: &str| row[name].as_u64().unwrap_or(u64::MAX / 8);
        let ended = count("delivered") + count("filtered") + count("lost") + count("skipped");
        ensure!(count("seen") == ended, "seen is not the sum: {row}");
    }
    Ok(())
}

fn accounts_agree(guest: &mut Guest) -> anyhow::Result<()> {
    let file = guest.file("file")?;
    // With all the hooks that it asks for.
    let rule = format!("open {} 60000 13", file.display());
    let host = guest.host_with(&[("sentry", &rule)], &[])?;
    for _ in 0..20 {
        drop(File::open(&file));
        run("/bin/true".as_ref(), &[])?;
    }
    let summary = host.stop(Signal::INT)?;
    check(&summary)?;
    let rows = summary["hooks"].as_array().context("hooks")?;
    for row in rows.iter().filter(|row| row["hook"] != "socket_connect") {
        ensure!(row["delivered"].as_u64() >= Some(20), "{row}");
        ensure!(row["lost"] == 0, "{row}");
    }
    Ok(())
}

fn accounts_agree_on_overflow(guest: &mut Guest) -> anyhow::Result<()> {
    let file = guest.file("file")?;
    let host = guest.host_with(&[("sentry", "")], &["--ring-bytes", "32768"])?;
    let openers: Vec<_> = (0..4)
        .map(|_| {
            let file = file.clone();
            std::thread::spawn(move || (0..3000).for_each(|_| drop(File::open(&file))))
        })
        .collect();
    for opener in openers {
        ensure!(opener.join().is_ok(), "an opener panicked");
    }
    let summary = host.stop(Signal::INT)?;
    check(&summary)?;
    let rows = summary["hooks"].as_array().context("hooks")?;
    let open = rows.iter().find(|row| row["hook"] == "file_open").context("file_open")?;
    ensure!(open["lost"].as_u64() > Some(0), "a ring of eight pages held 12000 records: {open}");
    Ok(())
}
