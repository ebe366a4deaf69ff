//! The host side: one boot per kernel and boot variant, one reported test per guest test.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;

use anyhow::Context;
use krsi_tests::budget::{self, Budgets};
use krsi_tests::list;
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;

use super::{Boot, Case, FMOD_RET};
use crate::group::{Group, blesses_budgets};
use crate::harness::soaks;

/// Every way a kernel is booted.
const BOOTS: [Boot; 2] = [Boot::Default, Boot::WithoutBpf];

/// Tests that ask [`crate::harness::repeats`].
const SOAK: [&str; 6] = [
    "reload_many_versions",
    "reload_by_a_model",
    "evasion_argv_race",
    "evasion_exec_path_race",
    "evasion_open_and_fork_flood",
    "evasion_preemption",
];

#[derive(Deserialize)]
struct Table {
    kernel: Vec<Kernel>,
}

#[derive(Deserialize)]
struct Kernel {
    name: String,
    #[serde(default)]
    without: Vec<String>,
}

impl Kernel {
    /// Whether a test is one of this kernel's.
    fn has(&self, test: &str) -> bool {
        !self.without.iter().any(|name| test.starts_with(name.as_str()))
    }

    /// The tests of one of its boots.
    fn tests(&self, cases: &[Case], boot: Boot) -> Vec<&'static str> {
        let own = cases.iter().filter(|case| case.boot == boot && self.has(case.name));
        own.map(|case| case.name).collect()
    }
}

/// Runs all tests that the command line asks for; without `cargo xtask test`, only what needs no VM.
pub(crate) fn run(cases: &[Case]) -> ExitCode {
    let arguments = Arguments::from_args();
    let (table, groups) = match table().and_then(|table| {
        let groups = if vms() { groups(&table, cases, &arguments)? } else { Vec::new() };
        Ok((table, groups))
    }) {
        Ok(both) => both,
        Err(error) => {
            eprintln!("vm tests: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let listed = listed(&table, cases);
    let mut trials = vec![Trial::test("list::every_vm_test_is_listed", move || compare(&listed))];
    for group in &groups {
        for (name, test) in group.trials() {
            let group = Arc::clone(group);
            trials.push(Trial::test(name, move || group.wait(test)));
        }
    }
    let filter = arguments.filter.as_deref().unwrap_or_default();
    if vms() && !trials.iter().any(|trial| trial.name().contains(filter)) {
        eprintln!("vm tests: no test has {filter:?} in its name");
        return ExitCode::FAILURE;
    }
    if !arguments.list {
        start(&groups);
    }
    // Waiting costs no core: let all tests wait at a time, so that finished ones are reported.
    let arguments = Arguments { test_threads: Some(trials.len().max(1)), ..arguments };
    let conclusion = libtest_mimic::run(&arguments, trials);
    if blesses_budgets()
        && !conclusion.has_failed()
        && let Err(error) = bless(&groups)
    {
        eprintln!("vm tests: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// Whether there is what VMs are made of: `cargo xtask test` says where.
fn vms() -> bool {
    std::env::var_os("KRSI_VM_FILES").is_some()
}

/// Whether a test repeats something more often in a soak; those alone run there.
fn repeats_much(test: &str) -> bool {
    SOAK.contains(&test.strip_prefix(FMOD_RET).unwrap_or(test))
}

/// A file of this crate.
fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn table() -> anyhow::Result<Table> {
    Ok(toml::from_str(&std::fs::read_to_string(own("kernels.toml"))?)?)
}

fn budgets() -> anyhow::Result<Budgets> {
    let text = std::fs::read_to_string(own(budget::FILE)).context(budget::FILE)?;
    Budgets::parse(&text)
}

/// Boots and their tests that are asked for, the longest first: the last to end leave cores idle.
fn groups(table: &Table, cases: &[Case], arguments: &Arguments) -> anyhow::Result<Vec<Arc<Group>>> {
    let budgets = budgets()?;
    let only = std::env::var("KRSI_ONLY_KERNEL").ok();
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let mut groups = Vec::new();
    for kernel in &table.kernel {
        if only.as_ref().is_some_and(|only| *only != kernel.name) {
            continue;
        }
        for boot in BOOTS {
            let all = kernel.tests(cases, boot);
            let mut wanted = all.clone();
            wanted.retain(|name| format!("{}::{name}", kernel.name).contains(filter));
            wanted.retain(|name| !soaks() || repeats_much(name));
            if !wanted.is_empty() {
                let whole = wanted.len() == all.len() && arguments.skip.is_empty();
                let budgets = whole.then(|| budgets.clone());
                groups.push(Arc::new(Group::new(&kernel.name, boot, wanted, budgets)));
            }
        }
    }
    // One without a budget may be the longest of all.
    groups.sort_by_key(|group: &Arc<Group>| {
        let (kernel, boot) = group.words();
        std::cmp::Reverse(budgets.of(kernel, &boot).unwrap_or(u64::MAX))
    });
    Ok(groups)
}

/// The list of all tests as they are.
fn listed(table: &Table, cases: &[Case]) -> String {
    let boots = table.kernel.iter().flat_map(|kernel| BOOTS.map(|boot| (kernel, boot)));
    let words = BOOTS.map(|boot| format!("{boot:?}"));
    let rows = boots.flat_map(|(kernel, boot)| {
        let word = BOOTS.iter().position(|one| *one == boot).and_then(|at| words.get(at));
        let word = word.map(String::as_str).unwrap_or_default();
        kernel.tests(cases, boot).into_iter().map(move |test| (&*kernel.name, word, test))
    });
    list::text(rows)
}

/// That the checked-in list has every test, and no other.
fn compare(found: &str) -> Result<(), Failed> {
    let path = own(list::FILE);
    if std::env::var_os("KRSI_BLESS").is_some() {
        return std::fs::write(&path, found).map_err(Failed::from);
    }
    let listed = std::fs::read_to_string(&path).map_err(Failed::from)?;
    let differences = list::differences(&listed, found);
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

/// How many guests run at a time: each takes one core at most, and idles while it waits for grace periods.
fn at_a_time() -> usize {
    let cores = available_parallelism().map_or(1, usize::from);
    cores + cores.div_ceil(2)
}

/// Boots the groups in the background.
fn start(groups: &[Arc<Group>]) {
    let queue = Arc::new(Mutex::new(groups.iter().rev().cloned().collect::<Vec<_>>()));
    for _ in 0..at_a_time().min(groups.len()) {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || {
            loop {
                let next = queue.lock().ok().and_then(|mut queue| queue.pop());
                let Some(group) = next else { return };
                group.boot();
            }
        });
    }
}

/// Writes what was measured as the new budgets.
fn bless(groups: &[Arc<Group>]) -> anyhow::Result<()> {
    let mut budgets = budgets()?;
    for group in groups {
        let (kernel, boot) = group.words();
        if let Some(measured) = group.measured() {
            budgets.set(kernel, &boot, measured.runs());
        }
    }
    std::fs::write(own(budget::FILE), budgets.text()).context(budget::FILE)
}
