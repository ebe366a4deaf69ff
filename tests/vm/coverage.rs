//! Every hook that a kernel lets BPF attach to, attached by krsi-host with each backend, against the lists.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::Guest;

pub(crate) const TESTS: &[Test] = &[
    ("every_hook_is_attached", Boot::Default, |guest| attaches_every_hook(guest, "lsm")),
    ("fmod_ret_every_hook_is_attached", Boot::WithoutBpf, |guest| {
        attaches_every_hook(guest, "fmod_ret")
    }),
];

/// Hooks of one host: watches have 128 slots.
const AT_A_TIME: usize = 100;

/// Every kernel with a list. Of a newer kernel than that of the list, only what the list has is asked.
const LISTS: [&str; 4] = [
    include_str!("../coverage/5.10.toml"),
    include_str!("../coverage/6.1.toml"),
    include_str!("../coverage/6.12.toml"),
    include_str!("../coverage/7.x.toml"),
];

/// What a kernel lets BPF attach to; names are separated by blanks.
#[derive(Deserialize)]
pub(crate) struct Coverage {
    kernel: String,
    pub(crate) lsm: String,
    pub(crate) sleepable: String,
    pub(crate) fmod_ret: String,
    pub(crate) own: String,
    pub(crate) disabled: String,
    #[serde(default)]
    pub(crate) differs: Differs,
}

/// Where krsi-host says otherwise than the lists: the hook, and why.
#[derive(Default, Deserialize)]
pub(crate) struct Differs {
    #[serde(default)]
    pub(crate) fmod_ret: BTreeMap<String, String>,
    /// Hooks that take a minimal program and no watch: words of the refusal.
    #[serde(default)]
    watch: BTreeMap<String, String>,
}

pub(crate) type Names = BTreeSet<String>;

pub(crate) fn names(list: &str) -> Names {
    list.split_whitespace().map(str::to_owned).collect()
}

impl Coverage {
    /// The list of a kernel, and whether it is of exactly that kernel.
    pub(crate) fn of(release: &str) -> anyhow::Result<(Self, bool)> {
        let mut nearest = None;
        for text in LISTS {
            let list: Coverage = toml::from_str(text)?;
            if release.starts_with(&format!("{}.", list.kernel)) {
                return Ok((list, true));
            }
            let major = list.kernel.split('.').next().unwrap_or_default();
            if release.starts_with(&format!("{major}.")) {
                nearest = Some(list);
            }
        }
        Ok((nearest.with_context(|| format!("no list of {release} in tests/coverage"))?, false))
    }

    /// Hooks that krsi-host is to attach to as modifying programs.
    pub(crate) fn modifiable(&self) -> anyhow::Result<Names> {
        let mut fmod_ret = names(&self.fmod_ret);
        for name in self.differs.fmod_ret.keys() {
            // What differs from a list stands in it the other way round.
            ensure!(fmod_ret.remove(name) || fmod_ret.insert(name.clone()), "{name}");
        }
        Ok(fmod_ret)
    }
}

/// That what was found is what is listed; of an inexact list, as far as `all` has it.
pub(crate) fn compare(
    what: &str,
    found: &Names,
    listed: &Names,
    newer: Option<&Names>,
) -> anyhow::Result<()> {
    let is_there = |name: &&String| newer.is_none_or(|all| all.contains(*name));
    let expected: Names = listed.iter().filter(is_there).cloned().collect();
    let missing: Vec<&String> = expected.difference(found).collect();
    let more: Vec<&String> = found.difference(&expected).filter(|_| newer.is_none()).collect();
    ensure!(missing.is_empty() && more.is_empty(), "{what}: not {missing:?}, but {more:?}");
    Ok(())
}

fn attaches_every_hook(guest: &mut Guest, backend: &str) -> anyhow::Result<()> {
    let output = Command::new("/krsi/krsi-host").args(["hooks", "--output", "json"]).output()?;
    let listing: Value = serde_json::from_slice(&output.stdout)?;
    let (list, exact) = Coverage::of(listing["kernel"].as_str().context("kernel")?)?;
    let rows = listing["hooks"].as_array().context("hooks")?;
    let hooks = |is_wanted: &dyn Fn(&Value) -> bool| -> Names {
        let rows = rows.iter().filter(|row| is_wanted(row));
        rows.filter_map(|row| row["hook"].as_str()).map(str::to_owned).collect()
    };
    let accepted = hooks(&|row| row[backend] == "accepted");
    let (refused, taken): (Vec<&String>, Vec<&String>) =
        accepted.iter().partition(|hook| list.differs.watch.contains_key(*hook));
    let mut attached = Names::new();
    for group in taken.chunks(AT_A_TIME) {
        attached.extend(attach(guest, backend, group)?);
    }
    if !refused.is_empty() {
        refuses(guest, backend, &refused, &list)?;
        attached.extend(refused.into_iter().cloned());
    }
    let listed = if backend == "lsm" { names(&list.lsm) } else { list.modifiable()? };
    let all = hooks(&|_| true);
    compare(backend, &attached, &listed, (!exact).then_some(&all))
}

/// A watch that no call matches.
fn arguments(backend: &str, hooks: &[&String]) -> Vec<String> {
    let mut arguments = vec!["--backend".to_owned(), backend.to_owned()];
    for hook in hooks {
        arguments.extend(["--watch".into(), format!("{hook} if current.tgid == 1073741824")]);
    }
    arguments
}

/// Attaches a group; those of it that krsi-host says are attached.
fn attach(guest: &Guest, backend: &str, group: &[&String]) -> anyhow::Result<Names> {
    let host = guest.start(&arguments(backend, group))?;
    let (succeeded, text) = host.ask(&["status", "--json"])?;
    ensure!(succeeded, "{text}");
    let status: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let hooks = status["hooks"].as_array().context("hooks")?;
    let count = |hook: &str| hooks.iter().filter(|name| *name == hook).count();
    // One program is the host's own.
    let own = |hook: &str| usize::from(hook == "bprm_committed_creds");
    let attached = group.iter().filter(|hook| count(hook) == 1 + own(hook));
    let attached = attached.map(|hook| (*hook).clone()).collect();
    let summary = host.stop(Signal::INT)?;
    ensure!(summary["backend"] == backend, "{summary}");
    Ok(attached)
}

/// Hooks that take no watch are refused for the listed reason.
fn refuses(guest: &Guest, backend: &str, hooks: &[&String], list: &Coverage) -> anyhow::Result<()> {
    let mut command = Command::new("/krsi/krsi-host");
    command.args(arguments(backend, hooks)).arg("--no-control");
    let refused = guest.refused(&mut command)?;
    ensure!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    for hook in hooks {
        let words = list.differs.watch.get(*hook).context("a reason")?;
        let told = |line: &str| line.contains(hook.as_str()) && line.contains(words.as_str());
        ensure!(refused.stderr.lines().any(told), "no {hook}, {words} in {}", refused.stderr);
    }
    Ok(())
}
