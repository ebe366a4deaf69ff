//! The host side: one boot per kernel and boot variant, one reported test per guest test.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;

use super::{Boot, Test};
use crate::harness::{MARK, Said};

/// Guests that run at a time: each takes one core at most, and idles while it waits for grace periods.
const AT_A_TIME: usize = 3;
/// The tests that took longest, shown of each boot.
const SLOWEST: usize = 5;
/// A guest that takes longer hangs.
const GUEST_SECONDS: u64 = 3600;
/// Lines of a guest's output that are shown when it ends early.
const TAIL_LINES: usize = 40;

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
}

/// What tests came to, by name.
type Results = HashMap<String, Result<(), String>>;

/// The tests of one boot and what they came to, as far as the guest has told.
struct Group {
    kernel: String,
    boot: Boot,
    tests: Vec<&'static str>,
    results: Mutex<Results>,
    told: Condvar,
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
                *of == boot && kernel.has(name) && full.contains(filter)
            });
            let tests: Vec<&'static str> = wanted.map(|(name, ..)| *name).collect();
            if !tests.is_empty() {
                groups.push(Arc::new(Group {
                    kernel: kernel.name.clone(),
                    boot,
                    tests,
                    results: Mutex::default(),
                    told: Condvar::new(),
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
    /// Runs the guest; a test that it says nothing of has failed.
    fn boot(&self) {
        let start = Instant::now();
        let mut said = Vec::new();
        let end = match self.output(&mut said) {
            Ok(tail) => format!("the guest said nothing of it; its output ends with\n{tail}"),
            Err(error) => format!("{error:#}"),
        };
        let (kernel, boot, took) = (&self.kernel, self.boot, start.elapsed().as_secs());
        let slowest = slowest(&said);
        eprintln!("vm tests: {kernel} {boot:?}: {} tests, {took} s; {slowest}", self.tests.len());
        self.tell(|results| {
            results.extend(said.pop().map(Said::result));
            for test in &self.tests {
                results.entry((*test).to_owned()).or_insert_with(|| Err(end.clone()));
            }
        });
    }

    fn tell(&self, change: impl FnOnce(&mut Results)) {
        change(&mut self.results.lock().unwrap_or_else(PoisonError::into_inner));
        self.told.notify_all();
    }

    /// Runs the guest and hears what it tells; the end of its output. The last result is not told yet:
    /// with it all tests are over, and nothing more is shown.
    fn output(&self, heard: &mut Vec<Said>) -> anyhow::Result<String> {
        let set = |name| {
            std::env::var(name)
                .with_context(|| format!("{name} is not set: run `cargo xtask test`"))
        };
        let mut vm = Command::new(set("KRSI_XTASK")?);
        vm.args(["vm", "--kernel", &self.kernel, "--append", self.boot.append()]);
        vm.args(["--disk", "--timeout", &GUEST_SECONDS.to_string()]);
        for file in set("KRSI_VM_FILES")?.lines() {
            vm.args(["--file", file]);
        }
        let tests = stripped()?;
        vm.arg("--file").arg(format!("{}=/krsi/vm-tests", tests.display()));
        let kernel = format!("KRSI_KERNEL={}", self.kernel);
        vm.args(["--", "env", "KRSI_GUEST=1", &kernel, "/krsi/vm-tests"]).args(&self.tests);
        let vm = vm.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = vm.spawn().context("starting xtask")?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _read = errors.map(|mut errors| errors.read_to_string(&mut text));
            text
        });
        let mut lines = VecDeque::new();
        for line in BufReader::new(output.context("its output")?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            let said = line.strip_prefix(MARK).map(serde_json::from_str::<Said>);
            if let Some(Ok(said)) = said {
                let before = heard.last().cloned().map(Said::result);
                self.tell(|results| results.extend(before));
                heard.push(said);
            }
            lines.push_back(line);
            lines.drain(..lines.len().saturating_sub(TAIL_LINES));
        }
        child.wait()?;
        lines.extend(errors.join().ok());
        Ok(lines.make_contiguous().join("\n"))
    }

    fn wait(&self, test: &str) -> Result<(), Failed> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = |results: &mut Results| !results.contains_key(test);
        let results = self.told.wait_while(results, untold);
        let results = results.unwrap_or_else(PoisonError::into_inner);
        results.get(test).cloned().unwrap_or_else(|| Err("not run".into())).map_err(Failed::from)
    }
}

/// The tests that took longest, in words.
fn slowest(said: &[Said]) -> String {
    let mut said: Vec<&Said> = said.iter().collect();
    said.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    let words =
        said.iter().take(SLOWEST).map(|said| format!("{} {:.0} s", said.test, said.seconds));
    words.collect::<Vec<_>>().join(", ")
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
