//! The tests of one boot: the guest that runs them, what it told of each, and what all of them took.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use krsi_tests::budget::{Budgets, Measured};
use libtest_mimic::Failed;

use super::Boot;
use crate::harness::soaks;
use crate::run::{MARK, Said, TOLD};

/// The tests that took longest, shown of each boot.
const SLOWEST: usize = 10;
/// A guest that takes longer hangs.
const GUEST_SECONDS: u64 = 3600;
/// Repetitions in a soak.
const SOAK_SECONDS: u64 = 24 * 3600;
/// Lines of a guest's output that are shown when it ends early.
const TAIL_LINES: usize = 40;

/// Where it is kept what each test took, in runs of the loop and in seconds: this crate is the working folder.
const TIMES: &str = "../target/vm-times.tsv";

/// What the check of a boot's budget is called among its tests.
const BUDGET: &str = "budget";

/// What tests came to, by name.
type Results = HashMap<String, Result<(), String>>;

/// The tests of one boot and what they came to, as far as the guest has told.
pub(crate) struct Group {
    pub(crate) kernel: String,
    pub(crate) boot: Boot,
    pub(crate) tests: Vec<&'static str>,
    /// Budgets, if all the tests of this boot run: a part of them is held to none.
    pub(crate) budgets: Option<Budgets>,
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Default)]
struct State {
    results: Results,
    /// What all tests took, once the guest has ended.
    measured: Option<Measured>,
}

impl Group {
    /// A boot that has not begun.
    pub(crate) fn new(
        kernel: &str,
        boot: Boot,
        tests: Vec<&'static str>,
        budgets: Option<Budgets>,
    ) -> Self {
        let (kernel, state, told) = (kernel.to_owned(), Mutex::default(), Condvar::new());
        Self { kernel, boot, tests, budgets, state, told }
    }

    /// What its kernel and boot are called in lists.
    pub(crate) fn words(&self) -> (&str, String) {
        (&self.kernel, format!("{:?}", self.boot))
    }

    /// Full names of what is reported of it, and the name by which each is waited for.
    pub(crate) fn trials(&self) -> Vec<(String, &'static str)> {
        let mut trials: Vec<(String, &'static str)> =
            self.tests.iter().map(|test| (format!("{}::{test}", self.kernel), *test)).collect();
        if self.budgets.is_some() {
            trials.push((format!("{}::{BUDGET}_{:?}", self.kernel, self.boot), BUDGET));
        }
        trials
    }

    /// Runs the guest; a test that it says nothing of has failed.
    pub(crate) fn boot(&self) {
        let start = Instant::now();
        let mut said = Vec::new();
        let end = match self.output(&mut said) {
            Ok(tail) => format!("the guest said nothing of it; its output ends with\n{tail}"),
            Err(error) => format!("{error:#}"),
        };
        let times = said.iter().map(|said| {
            (Duration::from_secs_f64(said.seconds), Duration::from_secs_f64(said.run_seconds))
        });
        let measured = Measured::of(times);
        let (kernel, boot, took) = (&self.kernel, self.boot, start.elapsed().as_secs());
        let (tests, slowest) = (self.tests.len(), slowest(&said));
        let runs = measured.map(|measured| {
            let run = measured.run.as_secs_f64() * 1000.0;
            format!("{} runs of the loop of {run:.0} ms", measured.runs())
        });
        let runs = runs.unwrap_or_else(|| "nothing measured".into());
        eprintln!("vm tests: {kernel} {boot:?}: {tests} tests, {took} s, {runs}; {slowest}");
        self.tell(|state| {
            state.results.extend(said.pop().map(Said::result));
            for test in &self.tests {
                state.results.entry((*test).to_owned()).or_insert_with(|| Err(end.clone()));
            }
            state.results.insert(BUDGET.into(), self.within_budget(measured.as_ref()));
            state.measured = measured;
        });
    }

    /// Whether its tests took no more than their budget; when budgets are blessed, they did.
    fn within_budget(&self, measured: Option<&Measured>) -> Result<(), String> {
        let Some(budgets) = &self.budgets else { return Ok(()) };
        let measured = measured.ok_or("no test was measured")?;
        if blesses_budgets() {
            return Ok(());
        }
        let (kernel, boot) = self.words();
        budgets.exceeded(kernel, &boot, measured).map_or(Ok(()), Err)
    }

    /// What all its tests took, once every one of them is over; nothing when they were not all run.
    pub(crate) fn measured(&self) -> Option<Measured> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.measured.filter(|_| self.budgets.is_some())
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
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
        vm.args(["--disk", "--timeout", &seconds_left()?.to_string()]);
        for file in set("KRSI_VM_FILES")?.lines() {
            vm.args(["--file", file]);
        }
        let tests = stripped()?;
        vm.arg("--file").arg(format!("{}=/krsi/vm-tests", tests.display()));
        let kernel = format!("KRSI_KERNEL={}", self.kernel);
        vm.args(["--", "env", "KRSI_GUEST=1", &kernel]);
        if soaks() {
            vm.arg("KRSI_SOAK=1");
        }
        if let Ok(seed) = std::env::var("KRSI_SEED") {
            vm.arg(format!("KRSI_SEED={seed}"));
        }
        vm.arg("/krsi/vm-tests").args(&self.tests);
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
                self.keep_time(&said);
                let before = heard.last().cloned().map(Said::result);
                self.tell(|state| state.results.extend(before));
                heard.push(said);
            }
            if let Some(text) = line.strip_prefix(TOLD) {
                eprintln!("vm tests: {text}");
            }
            lines.push_back(line);
            lines.drain(..lines.len().saturating_sub(TAIL_LINES));
        }
        child.wait()?;
        lines.extend(errors.join().ok());
        Ok(lines.make_contiguous().join("\n"))
    }

    /// Adds a line to [`TIMES`]; a convenience, so that it may fail.
    fn keep_time(&self, said: &Said) {
        let (kernel, boot) = self.words();
        let runs = said.seconds / said.run_seconds.max(0.001);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(TIMES);
        let _kept = file.and_then(|mut file| {
            writeln!(file, "{runs:.0}\t{:.1}\t{kernel} {boot} {}", said.seconds, said.test)
        });
    }

    /// Waits for what a test came to.
    pub(crate) fn wait(&self, test: &str) -> Result<(), Failed> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = |state: &mut State| !state.results.contains_key(test);
        let state = self.told.wait_while(state, untold);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let result = state.results.get(test).cloned();
        result.unwrap_or_else(|| Err("not run".into())).map_err(Failed::from)
    }
}

/// Whether budgets are to be written instead of compared.
pub(crate) fn blesses_budgets() -> bool {
    std::env::var_os("KRSI_BLESS_BUDGETS").is_some()
}

/// How long a guest may run that starts now: the whole suite has an end.
fn seconds_left() -> anyhow::Result<u64> {
    let Ok(end) = std::env::var("KRSI_SUITE_END") else {
        return Ok(if soaks() { SOAK_SECONDS } else { GUEST_SECONDS });
    };
    let end: u64 = end.parse().context("KRSI_SUITE_END")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let left = end.saturating_sub(now).min(GUEST_SECONDS);
    ensure!(left > 0, "the time of the whole suite was over before this guest was booted");
    Ok(left)
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
