//! The host side: one boot per kernel and boot variant, one reported test per guest test.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;

use super::{Boot, Test};
use crate::harness::{MARK, Said};

/// Guests that run at a time: one a core.
const AT_A_TIME: usize = 2;
/// A guest that takes longer hangs.
const GUEST_SECONDS: u64 = 3600;

#[derive(Deserialize)]
struct Table {
    kernel: Vec<Kernel>,
}

#[derive(Deserialize)]
struct Kernel {
    name: String,
}

/// The tests of one boot and, once it is over, what they came to.
struct Group {
    kernel: String,
    boot: Boot,
    tests: Vec<&'static str>,
    results: Mutex<Option<HashMap<String, Result<(), String>>>>,
    done: Condvar,
}

/// Runs all tests that the command line asks for.
pub(crate) fn run(tests: &[Test]) -> ExitCode {
    let arguments = Arguments::from_args();
    let groups = match groups(tests, &arguments) {
        Ok(groups) => groups,
        Err(error) => {
            eprintln!("vm tests: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for group in &groups {
        for test in &group.tests {
            let (group, test) = (Arc::clone(group), *test);
            let name = format!("{}::{test}", group.kernel);
            trials.push(Trial::test(name, move || group.wait(test)));
        }
    }
    if trials.is_empty() {
        eprintln!("vm tests: no test has {:?} in its name", arguments.filter);
        return ExitCode::FAILURE;
    }
    if !arguments.list {
        start(groups);
    }
    // Waiting costs no core: let all tests wait at a time, so that finished ones are reported.
    let arguments = Arguments { test_threads: Some(trials.len().max(1)), ..arguments };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn groups(tests: &[Test], arguments: &Arguments) -> anyhow::Result<Vec<Arc<Group>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels.toml");
    let table: Table = toml::from_str(&std::fs::read_to_string(&path)?)?;
    let mut groups = Vec::new();
    for kernel in &table.kernel {
        for boot in [Boot::Default, Boot::WithoutBpf] {
            let wanted = tests.iter().filter(|(name, of, _)| {
                let full = format!("{}::{name}", kernel.name);
                let filter = arguments.filter.as_deref().unwrap_or_default();
                *of == boot && full.contains(filter)
            });
            let tests: Vec<&'static str> = wanted.map(|(name, ..)| *name).collect();
            if !tests.is_empty() {
                groups.push(Arc::new(Group {
                    kernel: kernel.name.clone(),
                    boot,
                    tests,
                    results: Mutex::new(None),
                    done: Condvar::new(),
                }));
            }
        }
    }
    Ok(groups)
}

/// Boots the groups in the background.
fn start(groups: Vec<Arc<Group>>) {
    let queue = Arc::new(Mutex::new(groups));
    for _ in 0..AT_A_TIME {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || {
            loop {
                let next = queue.lock().ok().and_then(|mut queue| {
                    if queue.is_empty() { None } else { Some(queue.remove(0)) }
                });
                let Some(group) = next else { return };
                group.boot();
            }
        });
    }
}

impl Group {
    fn boot(&self) {
        let results = match self.output() {
            Ok(output) => self.results(&output),
            Err(error) => {
                let failed = |test: &&str| (test.to_string(), Err(format!("{error:#}")));
                self.tests.iter().map(failed).collect()
            }
        };
        if let Ok(mut slot) = self.results.lock() {
            *slot = Some(results);
        }
        self.done.notify_all();
    }

    fn output(&self) -> anyhow::Result<String> {
        let set = |name| {
            std::env::var(name)
                .with_context(|| format!("{name} is not set: run `cargo xtask test`"))
        };
        let mut vm = Command::new(set("KRSI_XTASK")?);
        vm.args(["vm", "--kernel", &self.kernel, "--append", self.boot.append()]);
        vm.args(["--timeout", &GUEST_SECONDS.to_string()]);
        for file in set("KRSI_VM_FILES")?.lines() {
            vm.args(["--file", file]);
        }
        let tests = stripped()?;
        vm.arg("--file").arg(format!("{}=/krsi/vm-tests", tests.display()));
        let kernel = format!("KRSI_KERNEL={}", self.kernel);
        vm.args(["--", "env", "KRSI_GUEST=1", &kernel, "/krsi/vm-tests"]).args(&self.tests);
        let output = vm.output().context("starting xtask")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        Ok(format!("{text}\n{errors}"))
    }

    fn results(&self, output: &str) -> HashMap<String, Result<(), String>> {
        let mut results = HashMap::new();
        for line in output.lines().filter_map(|line| line.strip_prefix(MARK)) {
            if let Ok(said) = serde_json::from_str::<Said>(line) {
                results.insert(said.test, said.failure.map_or(Ok(()), Err));
            }
        }
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        for test in &self.tests {
            let missing =
                || Err(format!("the guest said nothing of it; its output ends with\n{tail}"));
            results.entry((*test).to_owned()).or_insert_with(missing);
        }
        results
    }

    fn wait(&self, test: &str) -> Result<(), Failed> {
        let mut results = self.results.lock().map_err(|error| error.to_string())?;
        while results.is_none() {
            let wait = self.done.wait_timeout(results, Duration::from_secs(1));
            results = wait.map_err(|error| error.to_string())?.0;
        }
        let result = results.as_ref().and_then(|results| results.get(test)).cloned();
        result.unwrap_or_else(|| Err("not run".into())).map_err(Failed::from)
    }
}

/// This binary without debug information, made once.
fn stripped() -> anyhow::Result<PathBuf> {
    static MADE: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut made = MADE.lock().map_err(|error| anyhow::anyhow!("{error}"))?;
    if let Some(path) = &*made {
        return Ok(path.clone());
    }
    let own = std::env::current_exe()?;
    let path = own.with_extension("stripped");
    let status =
        Command::new("strip").arg("--strip-debug").arg("-o").arg(&path).arg(&own).status()?;
    ensure!(status.success(), "strip failed");
    *made = Some(path.clone());
    Ok(path)
}
