//! Plugins that are wrong or go wrong: each has its message, and nobody else is harmed.

use std::process::Command;

use anyhow::ensure;
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, run};

pub(crate) const TESTS: &[Test] = &[
    ("plugin_missing", Boot::Default, missing),
    ("plugin_not_wasm", Boot::Default, not_wasm),
    ("plugin_wrong_world", Boot::Default, wrong_world),
    ("plugin_wrong_version", Boot::Default, wrong_version),
    ("plugin_incomplete", Boot::Default, incomplete),
    ("plugin_wrong_config", Boot::Default, wrong_config),
    ("plugin_traps", Boot::Default, traps),
    ("plugin_loops", Boot::Default, loops),
    ("plugin_hogs", Boot::Default, hogs),
];

/// Starts krsi-host with a plugin that it must refuse, in words that name the fix.
fn refuses(guest: &Guest, plugin: &str, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("/krsi/krsi-host");
    let refused = guest.refused(command.arg("--plugin").arg(plugin))?;
    ensure!(refused.code == Some(4), "{refused:?}");
    for word in words {
        ensure!(refused.stderr.contains(word), "no {word:?} in {}", refused.stderr);
    }
    Ok(())
}

fn missing(guest: &mut Guest) -> anyhow::Result<()> {
    refuses(guest, "/krsi/no-such.wasm", &["/krsi/no-such.wasm"])
}

fn not_wasm(guest: &mut Guest) -> anyhow::Result<()> {
    let text = guest.file("text.wasm")?;
    refuses(guest, &text.to_string_lossy(), &["text.wasm", "not Wasm"])
}

fn wrong_world(guest: &mut Guest) -> anyhow::Result<()> {
    refuses(guest, "/krsi/wrong_world.wasm", &["wrong_world.wasm", "export!"])
}

fn wrong_version(guest: &mut Guest) -> anyhow::Result<()> {
    refuses(guest, "/krsi/wrong_version.wasm", &["wrong_version.wasm", "9.9.0", "0.1"])
}

fn incomplete(guest: &mut Guest) -> anyhow::Result<()> {
    refuses(guest, "/krsi/incomplete.wasm", &["incomplete.wasm", "describe"])
}

fn wrong_config(guest: &mut Guest) -> anyhow::Result<()> {
    let config = guest.path("miner.toml");
    std::fs::write(&config, "colour = 1")?;
    let mut command = Command::new("/krsi/krsi-host");
    command.args(["--plugin", "/krsi/miner.wasm", "--plugin-config"]).arg(&config);
    let refused = guest.refused(&mut command)?;
    ensure!(refused.code == Some(4), "{refused:?}");
    ensure!(refused.stderr.contains("colour"), "{}", refused.stderr);
    Ok(())
}

/// Runs a plugin beside a healthy one, makes it fail, and checks that the healthy one goes on.
fn fails(
    guest: &Guest,
    plugin: &str,
    trigger: &str,
    limit: &[&str],
    words: &[&str],
) -> anyhow::Result<()> {
    let mut host = guest.host_with(&[(plugin, ""), ("tracer", "")], limit)?;
    let trigger = link(guest, trigger)?;
    run(&trigger, &[])?;
    let failure = host.report(&[("kind", "failure"), ("plugin", plugin)])?;
    for word in words {
        let reason = failure["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains(word), "no {word:?} in {reason}");
    }
    ensure!(host.is_running()?, "the host ended with the plugin");
    run(&link(guest, "trace-me")?, &[])?;
    host.report(&[("kind", "alert"), ("plugin", "tracer"), ("technique", "T1622")])?;
    host.stop(Signal::INT).map(drop)
}

/// A copy of a program that ends at once, under another name.
fn link(guest: &Guest, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let path = guest.path(name);
    std::fs::copy("/krsi/stand-in-miner", &path)?;
    Ok(path)
}

fn traps(guest: &mut Guest) -> anyhow::Result<()> {
    fails(guest, "trapper", "trap-me", &[], &["told to trap by", "unreachable"])
}

fn loops(guest: &mut Guest) -> anyhow::Result<()> {
    fails(guest, "looper", "loop-me", &["--deadline-ms", "3000"], &["3000 ms"])
}

fn hogs(guest: &mut Guest) -> anyhow::Result<()> {
    let limit = ["--memory-mib", "4", "--deadline-ms", "20000"];
    fails(guest, "hog", "hog-me", &limit, &["of memory, the limit is 4 MiB"])
}
