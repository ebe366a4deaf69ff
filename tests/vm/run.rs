//! The guest side: runs the tests that its arguments name, and tells what each came to.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::{Deserialize, Serialize};

use super::{Boot, Case, Run};
use crate::calibrate;
use crate::harness::{CODE, Guest, soaks};
use crate::scene::{Make, Scene, Stage};

/// Starts the line in which the guest tells what a test came to.
pub(crate) const MARK: &str = "KRSI-TEST ";
/// Starts a line that a test tells whoever runs it.
pub(crate) const TOLD: &str = "KRSI-TOLD ";

/// A test that takes longer hangs, and so does a stage.
const TEST_TIME: Duration = Duration::from_secs(1800);
/// Time that a test of a soak may take.
const SOAK_TIME: Duration = Duration::from_secs(4 * 3600);

/// Result of a test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) test: String,
    pub(crate) failure: Option<String>,
    pub(crate) seconds: f64,
    /// What the calibrating loop took just before it.
    pub(crate) run_seconds: f64,
}

impl Said {
    /// Name of the test, and its failure if there is one.
    pub(crate) fn result(self) -> (String, Result<(), String>) {
        (self.test, self.failure.map_or(Ok(()), Err))
    }
}

/// Runs the tests that the arguments name.
pub(crate) fn run_in_guest(cases: &[Case]) -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    // Before 5.11 what BPF takes, of krsi-host too, counts as locked memory of the user.
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        eprintln!("the limit of locked memory stays: {error}");
    }
    if let Err(error) = take_code() {
        eprintln!("plugins are compiled here: {error:#}");
    }
    let mut stages: Vec<(&'static Stage, Vec<Part>)> = Vec::new();
    for case in cases.iter().filter(|case| wanted.iter().any(|want| want == case.name)) {
        match case.run {
            Run::Alone(test) => tell(&alone(case, test)),
            Run::Shared(stage, make) => {
                let part = Part { name: case.name, boot: case.boot, make };
                match stages.iter_mut().find(|(other, _)| other.name == stage.name) {
                    Some((_, parts)) => parts.push(part),
                    None => stages.push((stage, vec![part])),
                }
            }
        }
    }
    for (stage, parts) in stages {
        shared(stage, &parts).iter().for_each(tell);
    }
    ExitCode::SUCCESS
}

fn tell(said: &Said) {
    println!("\n{MARK}{}", serde_json::to_string(said).unwrap_or_default());
}

/// Makes the plugins that were compiled before the boot the cache of every host that is given no other.
fn take_code() -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(CODE)?;
    for entry in fs::read_dir("/krsi/code").context("/krsi/code")? {
        let entry = entry?;
        fs::copy(entry.path(), Path::new(CODE).join(entry.file_name()))?;
    }
    Ok(())
}

/// Runs a test that has the guest to itself.
fn alone(case: &Case, test: fn(&mut Guest) -> anyhow::Result<()>) -> Said {
    let run_seconds = calibrate::run().as_secs_f64();
    let start = Instant::now();
    let result = Guest::named(case.name, case.boot).and_then(|mut guest| {
        let clear = Guest::named(case.name, case.boot)?;
        let err = guest.path("host.err");
        let result = in_time(&err, move || unwound(|| test(&mut guest))).and_then(|result| result);
        clear.clear();
        result
    });
    said(case.name, result, start, run_seconds)
}

fn said(test: &str, result: anyhow::Result<()>, start: Instant, run_seconds: f64) -> Said {
    let failure = result.err().map(|error| format!("{error:#}"));
    Said { test: test.into(), failure, seconds: start.elapsed().as_secs_f64(), run_seconds }
}

/// Does something in a thread of its own; what hangs fails, and its krsi-host is killed.
fn in_time<T: Send + 'static>(
    err: &Path,
    act: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let (ended, result) = channel();
    // Nobody listens any more once the time is over.
    thread::spawn(move || drop(ended.send(act())));
    let most = if soaks() { SOAK_TIME } else { TEST_TIME };
    match result.recv_timeout(most) {
        Ok(result) => Ok(result),
        Err(_) => {
            let said = fs::read_to_string(err).unwrap_or_default();
            Command::new("/bin/busybox").args(["killall", "-9", "krsi-host"]).status()?;
            bail!("not over after {most:?}; krsi-host said {said}")
        }
    }
}

/// A panic as a failure.
fn unwound<T>(act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let result = catch_unwind(AssertUnwindSafe(act));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let words = text.or_else(|| panic.downcast_ref::<&str>().copied());
        bail!("panicked: {}", words.unwrap_or("without words"))
    })
}

/// One scene of a stage: the test's name and boot, and what makes it.
#[derive(Clone, Copy)]
struct Part {
    name: &'static str,
    boot: Boot,
    make: Make,
}

/// Runs the scenes of a stage with one host; what each came to.
fn shared(stage: &'static Stage, parts: &[Part]) -> Vec<Said> {
    let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
    let err = Path::new("/tmp").join(stage.name).join("host.err");
    let (tell, told) = channel();
    let parts = parts.to_vec();
    let hung = in_time(&err, move || play(stage, &parts, &tell)).err();
    let mut all: Vec<Said> = told.try_iter().collect();
    for name in names {
        if !all.iter().any(|said| said.test == name) {
            let error =
                hung.as_ref().map_or("it was not played".into(), |hung| format!("{hung:#}"));
            let error = Err(anyhow!("{}: {error}", stage.name));
            all.push(said(name, error, Instant::now(), calibrate::run().as_secs_f64()));
        }
    }
    all
}

/// Plays scenes one after the other. A stage's start is counted as time of its first scene.
fn play(stage: &Stage, parts: &[Part], tell: &Sender<Said>) {
    let mut start = Instant::now();
    let send = |name: &str, result, start, run| drop(tell.send(said(name, result, start, run)));
    let boot = parts.first().map_or(Boot::Default, |part| part.boot);
    let guests: Vec<_> = parts.iter().map(|part| Guest::named(part.name, part.boot)).collect();
    let mut scenes: Vec<(&Part, Scene<'_>)> = Vec::new();
    for (part, guest) in parts.iter().zip(&guests) {
        let made = match guest {
            Ok(guest) => unwound(|| (part.make)(guest)),
            Err(error) => Err(anyhow!("{error:#}")),
        };
        match made {
            Ok(scene) => scenes.push((part, scene)),
            Err(error) => send(part.name, Err(error), start, calibrate::run().as_secs_f64()),
        }
    }
    let lines: Vec<String> = scenes.iter().flat_map(|(_, scene)| scene.lines.clone()).collect();
    let own = Guest::named(stage.name, boot);
    let started = own.and_then(|own| Ok(((stage.start)(&own, &lines)?, own)));
    let (host, own) = match started {
        Ok(started) => started,
        Err(error) => {
            for (part, _) in &scenes {
                let error = anyhow!("the host of stage {}: {error:#}", stage.name);
                send(part.name, Err(error), start, calibrate::run().as_secs_f64());
            }
            return;
        }
    };
    let mut acted = Vec::new();
    for (part, scene) in scenes {
        let run_seconds = calibrate::run().as_secs_f64();
        let result = unwound(|| (scene.act)(&host));
        acted.push((part, result, scene.end, start.elapsed(), run_seconds));
        start = Instant::now();
    }
    let summary = host.stop(Signal::INT);
    for (part, result, end, seconds, run_seconds) in acted {
        let ended = match &summary {
            Ok(summary) => unwound(|| end(summary)),
            Err(error) => Err(anyhow!("the end of stage {}: {error:#}", stage.name)),
        };
        let result = result.and(ended);
        let failure = result.err().map(|error| format!("{error:#}"));
        let (test, seconds) = (part.name.into(), seconds.as_secs_f64());
        let _told = tell.send(Said { test, failure, seconds, run_seconds });
    }
    own.clear();
    guests.iter().flatten().for_each(Guest::clear);
}
