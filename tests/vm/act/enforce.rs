//! Every act denied by a rule of its own, by krsi-host, with either backend; nobody else is.

use std::io;
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{ACTS, Act, Denial, deny};
use crate::harness::{Guest, Host, has_rule, wait_for};

/// The name of the thread that no rule is for.
const NEIGHBOUR: &str = "neighbour";

/// Void hooks are told of what has happened: a rule on one is refused.
fn is_told(act: &Act) -> bool {
    matches!(act.hook, "bprm_committing_creds" | "task_free")
}

/// An act, the thread that is to be denied it, and the rule.
struct Rule {
    act: &'static Act,
    hook: &'static str,
    name: String,
    text: String,
}

impl Rule {
    /// Whether a verdict is this rule's.
    fn decided(&self, verdict: &Value) -> bool {
        verdict["reason"] == format!("watch {}", self.text)
    }
}

/// A rule for each act that this kernel has a hook for, on a thread's name of its own: acts reach each
/// other's hooks.
fn rules() -> anyhow::Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (number, act) in ACTS.iter().enumerate() {
        let Some(hook) = act.reached()? else { continue };
        let name = format!("act-{number:02}");
        let errno = deny::ERRNO;
        let text = format!("{hook} if current.comm == \"{name}\" deny {errno}");
        rules.push(Rule { act, hook, name, text });
    }
    Ok(rules)
}

fn arguments(texts: &[&str]) -> Vec<String> {
    texts.iter().flat_map(|text| ["--watch".to_owned(), (*text).to_owned()]).collect()
}

pub(super) fn deny_each(guest: &mut Guest) -> anyhow::Result<()> {
    let rules = rules()?;
    let (told, rules): (Vec<Rule>, Vec<Rule>) =
        rules.into_iter().partition(|rule| is_told(rule.act));
    refuses_what_cannot_deny(guest, &told)?;
    let texts: Vec<&str> = rules.iter().map(|rule| rule.text.as_str()).collect();
    let host = guest.start(&arguments(&texts))?;
    let mut faults = Vec::new();
    for rule in &rules {
        let neighbour = rule.act.perform_as(guest, NEIGHBOUR)?;
        faults.extend(rule.act.undisturbed(&neighbour).err().map(|error| format!("{error:#}")));
        let denied = rule.act.perform_as(guest, &rule.name)?;
        rule.act.clear(guest);
        let errno = denied.as_ref().err().map(io::Error::raw_os_error);
        if errno != seen(rule.act).map(Some) {
            faults.push(format!("{}, denied at {}: {denied:?}", rule.act.hook, rule.hook));
        }
    }
    faults.extend(records(&host, &rules).err().map(|error| format!("{error:#}")));
    let summary = host.stop(Signal::INT)?;
    for rule in &rules {
        let after = rule.act.perform_as(guest, &rule.name)?;
        faults.extend(rule.act.undisturbed(&after).err().map(|error| format!("after: {error:#}")));
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    backend_is_that_of_the_boot(&summary)
}

/// The errno that a denied caller sees.
fn seen(act: &Act) -> Option<i32> {
    match act.denial {
        Denial::Errno => Some(deny::ERRNO),
        Denial::As(errno) => Some(errno),
        Denial::Unseen => act.outcome,
    }
}

/// Every rule's verdicts name it, and no neighbour was denied.
fn records(host: &Host, rules: &[Rule]) -> anyhow::Result<()> {
    let mut verdicts = Vec::new();
    let mut silent = Vec::new();
    let waited = wait_for("every verdict", || {
        verdicts = host.reports()?;
        verdicts.retain(|report| report["kind"] == "verdict");
        silent =
            rules.iter().filter(|rule| !verdicts.iter().any(|one| rule.decided(one))).collect();
        Ok(silent.is_empty().then_some(()))
    });
    let texts = silent.iter().map(|rule| rule.text.as_str()).collect::<Vec<_>>();
    waited.with_context(|| format!("{texts:?}, {:?}", host.stderr()))?;
    for verdict in &verdicts {
        let rule = rules.iter().find(|rule| rule.decided(verdict));
        let rule = rule.with_context(|| format!("of no rule: {verdict}"))?;
        ensure!(verdict["verdict"] == "denied" && verdict["hook"] == rule.hook, "{verdict}");
        ensure!(verdict["comm"] == *rule.name && verdict["errno"] == "errno 48", "{verdict}");
        ensure!(verdict["plugin"] == "administrator", "{verdict}");
        ensure!(has_rule(verdict), "{verdict}");
    }
    Ok(())
}

/// A rule on a hook that is only told, or that this kernel lacks, is refused in words.
fn refuses_what_cannot_deny(guest: &Guest, told: &[Rule]) -> anyhow::Result<()> {
    let mut expected: Vec<(String, &str)> =
        told.iter().map(|rule| (rule.text.clone(), "it returns nothing")).collect();
    for act in ACTS {
        if super::has_hook(act.hook)? {
            continue;
        }
        // Before 6.0 a function with a struct among its arguments takes no program.
        let listed = super::row(super::listing()?, act.hook).is_ok();
        let words =
            if listed { "STRUCT is unsupported" } else { "this kernel has no such LSM hook" };
        expected.push((format!("{} deny EPERM", act.hook), words));
    }
    let texts: Vec<&str> = expected.iter().map(|(text, _)| text.as_str()).collect();
    let mut command = Command::new("/krsi/krsi-host");
    let refused = guest.refused(command.args(arguments(&texts)).arg("--no-control"))?;
    ensure!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    for (text, words) in &expected {
        let hook = text.split(' ').next().context("a hook")?;
        let told = |line: &str| line.contains(hook) && line.contains(words);
        ensure!(refused.stderr.lines().any(told), "{text}: no {words:?} in {}", refused.stderr);
    }
    Ok(())
}

/// The backend is chosen by what the kernel was booted with.
pub(super) fn backend_is_that_of_the_boot(summary: &Value) -> anyhow::Result<()> {
    let expected = if super::boot::lists_bpf()? { "lsm" } else { "fmod_ret" };
    ensure!(summary["backend"] == expected, "{summary}");
    Ok(())
}
