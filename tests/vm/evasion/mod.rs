//! Acts of evasion: ways around a rule, and what holds of each; docs/evasions.md is their table.

mod flood;
mod image;
mod memory;
mod name;
mod network;
mod order;
mod preempt;
mod process;
mod race;
mod ring;
mod watch;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::ensure;
use serde_json::Value;

use super::act::call;
use super::{Boot, Test};
use crate::harness::{Host, has_rule};
use crate::rule::RULED;
use crate::scene::{SENTRY, SceneTest};

pub(crate) const TESTS: &[Test] = &[
    ("evasion_argv_race", Boot::Each, race::of_arguments),
    ("evasion_image_without_a_name", Boot::Each, image::without_a_name),
    ("evasion_image_by_its_loader", Boot::Each, image::by_its_loader),
    ("evasion_code_in_memory", Boot::Each, memory::gains_code),
    ("evasion_open_and_fork_flood", Boot::Each, flood::of_opens_and_forks),
    ("evasion_flooded_watch", Boot::Each, watch::flooded),
    ("evasion_deep_path", Boot::Each, watch::of_a_deep_path),
    ("evasion_pid_reuse", Boot::Each, process::pid_reuse),
    ("evasion_foreign_lsm", Boot::Each, order::foreign_lsm),
    ("evasion_preemption", Boot::Default, preempt::of_lsm),
    ("fmod_ret_evasion_preemption", Boot::WithoutBpf, preempt::of_fmod_ret),
];

pub(crate) const SCENES: &[SceneTest] = &[
    ("evasion_exec_path_race", Boot::Each, &SENTRY, race::of_executables),
    ("evasion_detours", Boot::Each, &RULED, name::detours),
    ("evasion_new_names_of_a_denied_file", Boot::Each, &SENTRY, name::of_a_file),
    ("evasion_new_names_leave_a_denied_path", Boot::Each, &RULED, name::of_a_path),
    ("evasion_io_uring", Boot::Each, &SENTRY, ring::opens_and_connects),
    ("evasion_image_by_another_way", Boot::Each, &SENTRY, image::by_another_way),
    ("evasion_connects", Boot::Each, &RULED, network::connects),
    ("evasion_datagrams", Boot::Each, &RULED, network::datagrams),
    ("evasion_first_act", Boot::Each, &SENTRY, process::first_act),
    ("evasion_stopped_host", Boot::Each, &SENTRY, order::stopped_host),
];

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const ECONNREFUSED: i32 = 111;

/// The record of a denial: its rule and whose it is are there.
fn denial(host: &Host, hook: &str, object: &str, plugin: &str) -> anyhow::Result<Value> {
    let fields = [("kind", "verdict"), ("hook", hook), ("object", object)];
    let record = host.report(&fields)?;
    ensure!(record["verdict"] == "denied" && record["plugin"] == plugin, "{record}");
    ensure!(has_rule(&record), "{record}");
    Ok(record)
}

/// The denials of an object so far.
fn denials(host: &Host, object: &str) -> anyhow::Result<Vec<Value>> {
    let mut reports = host.reports()?;
    reports.retain(|report| report["verdict"] == "denied" && report["object"] == object);
    Ok(reports)
}

/// A file as a watch names it: `FILE` is the pointer to its `struct file`.
pub(crate) fn is_file(file: &str, path: &Path) -> anyhow::Result<String> {
    let meta = std::fs::metadata(path)?;
    let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
    let inode = format!("{file}.f_inode");
    // The kernel keeps a device as 12 bits and 20.
    Ok(format!("ino({inode}) == {} && dev({inode}) == {}", meta.ino(), major << 20 | minor))
}

/// Arguments of watches.
fn watches(texts: &[&str]) -> Vec<String> {
    texts.iter().flat_map(|text| ["--watch".to_owned(), (*text).to_owned()]).collect()
}

/// Arguments of an execve: strings, then the end of their list.
fn pointers<const N: usize>(strings: [usize; N]) -> Vec<usize> {
    strings.into_iter().chain([0]).collect()
}

/// A program in place of the calling process; returns only what went wrong.
fn execve(path: usize, argv: &[usize]) -> std::io::Result<()> {
    let environment = [0_usize];
    call::call(libc::SYS_execve, [path, call::at(argv), call::at(&environment)]).map(drop)
}
