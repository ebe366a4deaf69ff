//! A kernel without `path_*` hooks (`CONFIG_SECURITY_PATH`), as `--without` makes the host see it: the
//! `inode_*` hooks see the same calls, and rules hold there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::observe::{Is, Told, expected};
use super::{ACTS, Act};
use crate::harness::{Guest, Host, expect_errno, has_rule, wait_for};
use crate::rule::ruled;

const EPERM: i32 = 1;
const EACCES: i32 = 13;
/// What an `inode_*` hook is not told: the mount.
const UNTOLD: [&str; 3] = ["folder", "path", "new_folder"];

fn acts() -> impl Iterator<Item = &'static Act> {
    ACTS.iter().filter(|act| act.hook.starts_with("path_"))
}

fn without<'a>(more: &[&'a str]) -> Vec<&'a str> {
    more.iter().copied().chain(acts().flat_map(|act| ["--without", act.hook])).collect()
}

/// Each call comes as the hook that was asked for, with the fields that are told, and as no other.
pub(super) fn see_each(guest: &mut Guest) -> anyhow::Result<()> {
    let host = guest.host_with(&[("keeper", "")], &without(&[]))?;
    for (number, act) in acts().enumerate() {
        act.undisturbed(&act.perform_as(guest, &format!("act-{number:02}"))?)?;
    }
    let mut lacking = String::new();
    let waited = wait_for("every record", || {
        lacking = missing(&host)?.join("\n");
        Ok(lacking.is_empty().then_some(()))
    });
    waited.with_context(|| lacking)?;
    host.stop(Signal::INT).map(drop)
}

fn missing(host: &Host) -> anyhow::Result<Vec<String>> {
    let reports = host.reports()?;
    let texts = reports.iter().filter_map(|report| report["text"].as_str());
    let told: Vec<Told<'_>> = texts.filter_map(Told::parse).collect();
    let mut faults = Vec::new();
    for (number, act) in acts().enumerate() {
        let name = format!("act-{number:02}");
        let fields = expected(act, act.hook)?.iter().filter(|(field, _)| !UNTOLD.contains(field));
        // `inode_setattr` is told the whole mode, `path_chmod` the bits that change.
        let fields: Vec<(&str, Is)> = fields
            .map(|(field, is)| match (act.hook, *field) {
                ("path_chmod", "mode") => (*field, Is::Value("33152")),
                _ => (*field, *is),
            })
            .collect();
        let own = |told: &&Told<'_>| told.hook == act.hook && told.name == name;
        let records: Vec<&Told<'_>> = told.iter().filter(own).collect();
        let fits = |told: &&&Told<'_>| {
            fields.iter().all(|(field, is)| told.has(field, *is, &name))
                && UNTOLD.iter().all(|field| !told.has(field, Is::There, &name))
        };
        if records.iter().find(fits).is_none() {
            faults.push(format!("{} {fields:?}: {records:?}", act.hook));
        }
        // Changes of a mode, of an owner and of a length come to one hook: each is told as what it is.
        let changes = ["path_chmod", "path_chown", "path_truncate"];
        let other = |told: &&Told<'_>| {
            changes.contains(&told.hook) && told.hook != act.hook && told.name == name
        };
        if changes.contains(&act.hook) {
            faults.extend(told.iter().find(other).map(|told| format!("{}: {told:?}", act.hook)));
        }
    }
    Ok(faults)
}

/// Rules by file, by hook and by path hold where another hook stands in, and on nobody else's calls.
pub(super) fn deny_each(guest: &mut Guest) -> anyhow::Result<()> {
    let (victim, neighbour) = (guest.file("victim")?, guest.file("neighbour")?);
    let meta = fs::metadata(&victim)?;
    let dev = libc::major(meta.dev()) << 20 | libc::minor(meta.dev());
    let rules = format!("file {} {dev} path_unlink {EPERM}\nhook path_chmod {EACCES}", meta.ino());
    let config = guest.path("krsi.toml");
    fs::write(&config, "[plugin.keeper]\nbroad = true\n")?;
    let config = config.display().to_string();
    let host = guest.host_with(&[("keeper", &rules)], &without(&["--config", &config]))?;
    // A call that names the file tells the plugin which it is.
    fs::OpenOptions::new().write(true).open(&victim)?.set_len(1)?;
    let is_there = |rule: &serde_json::Value| {
        rule["kind"] == "rule" && rule["reason"] == "keeper: path_unlink"
    };
    wait_for("the rule", || Ok(host.reports()?.iter().any(is_there).then_some(())))?;
    expect_errno(EPERM, fs::remove_file(&victim))?;
    let record = host.report(&[("kind", "verdict"), ("hook", "path_unlink")])?;
    ensure!(record["errno"] == "EPERM" && record["plugin"] == "keeper", "{record}");
    ensure!(has_rule(&record), "{record}");
    let mode = |path| fs::set_permissions(path, mode_600());
    expect_errno(EACCES, mode(&neighbour))?;
    let record = host.report(&[("kind", "verdict"), ("hook", "path_chmod")])?;
    ensure!(record["errno"] == "EACCES" && record["plugin"] == "keeper", "{record}");
    // The other changes that come to the same hook.
    std::os::unix::fs::chown(&neighbour, Some(1), Some(1))?;
    fs::OpenOptions::new().write(true).open(&neighbour)?.set_len(1)?;
    fs::remove_file(&neighbour)?;
    host.stop(Signal::INT)?;
    mode(&victim)?;
    fs::remove_file(&victim)?;
    path_untold(guest)?;
    left_alone(guest)
}

fn mode_600() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o600)
}

/// A rule on a path goes by its word on paths that cannot be told.
fn path_untold(guest: &Guest) -> anyhow::Result<()> {
    let victim = guest.file("victim")?;
    let folder = victim.parent().context("a folder")?;
    let rule = |verb: &str| format!("{verb} {} {EACCES} path_unlink", folder.display());
    let host = ruled(guest, &rule("strict"), "", &without(&[]))?;
    expect_errno(EACCES, fs::remove_file(&victim))?;
    host.report(&[("kind", "verdict"), ("hook", "path_unlink"), ("plugin", "ruler")])?;
    host.stop(Signal::INT)?;
    let host = ruled(guest, &rule("deny"), "", &without(&[]))?;
    fs::remove_file(&victim)?;
    host.stop(Signal::INT).map(drop)
}

/// What nothing stands in for is left out by name, and a wrong name is refused.
fn left_alone(guest: &Guest) -> anyhow::Result<()> {
    let refused = |arguments: &[&str], words: &str| -> anyhow::Result<()> {
        let mut command = Command::new("/krsi/krsi-host");
        let refused = guest.refused(command.args(arguments))?;
        ensure!(refused.code == Some(2) && refused.stderr.contains(words), "{refused:?}");
        Ok(())
    };
    let watch = ["--watch", "task_kill: sig", "--without"];
    refused(&[&watch[..], &["task_kill"]].concat(), "left out by --without")?;
    refused(&[&watch[..], &["task_kil"]].concat(), "--without task_kil: there is no such hook")?;
    refused(&[&watch[..], &["sched_process_fork"]].concat(), "krsi-host follows processes by it")
}
