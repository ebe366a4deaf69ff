//! The VM tests' runner: on the host it boots every kernel and reports, in the guest it runs the tests.
#![allow(clippy::indexing_slicing, reason = "a JSON value answers null for what is not there")]

mod act;
mod acts;
mod bomb;
mod boot;
mod calibrate;
mod census;
mod content;
mod coverage;
mod digest;
mod evasion;
mod example;
mod exec;
mod exempt;
mod file;
mod files;
mod filter;
mod grant;
mod group;
mod harness;
mod host;
mod kfunc;
mod label;
mod loss;
mod mode;
mod model;
mod plugin;
mod record;
mod reload;
mod rule;
mod run;
mod runner;
mod running;
mod runtime;
mod samples;
mod scene;
mod socket;
mod subject;
mod surroundings;
mod task;
mod tools;
mod verified;
mod witness;

use harness::Guest;
use scene::{Make, SceneTest, Stage};

/// How the kernel is booted for a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boot {
    /// As the matrix says.
    Default,
    /// Without `bpf` among the LSMs.
    WithoutBpf,
    /// Once as the matrix says, and once without `bpf`: there its name starts with [`FMOD_RET`].
    Each,
}

/// How the name of a test's second run starts: what enforces then.
const FMOD_RET: &str = "fmod_ret_";

impl Boot {
    const fn append(self) -> &'static str {
        match self {
            Boot::Default | Boot::Each => "",
            Boot::WithoutBpf => "lsm=lockdown,capability,yama",
        }
    }
}

/// One test with the guest to itself: its name, its boot, what it does there.
type Test = (&'static str, Boot, fn(&mut Guest) -> anyhow::Result<()>);

/// How a test is run.
#[derive(Clone, Copy)]
enum Run {
    /// With the guest to itself.
    Alone(fn(&mut Guest) -> anyhow::Result<()>),
    /// With the host of a stage.
    Shared(&'static Stage, Make),
}

/// One test of one boot.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    boot: Boot,
    run: Run,
}

/// Every test that is a scene, in the order of play: of the socket family one rule ends soon after its host's start.
fn scenes() -> Vec<SceneTest> {
    [
        socket::SCENES,
        evasion::SCENES,
        example::SCENES,
        exec::SCENES,
        file::SCENES,
        filter::SCENES,
        mode::SCENES,
        rule::SCENES,
    ]
    .concat()
}

/// Every test of one boot, by family.
fn cases() -> Vec<Case> {
    let alone = [
        boot::TESTS,
        coverage::TESTS,
        digest::TESTS,
        evasion::TESTS,
        exec::TESTS,
        exempt::TESTS,
        file::TESTS,
        filter::TESTS,
        grant::TESTS,
        socket::TESTS,
        subject::TESTS,
        task::TESTS,
        plugin::TESTS,
        record::TESTS,
        reload::TESTS,
        files::TESTS,
        model::TESTS,
        rule::TESTS,
        running::TESTS,
        runtime::TESTS,
        samples::TESTS,
        host::TESTS,
        surroundings::TESTS,
        kfunc::TESTS,
        label::TESTS,
        census::TESTS,
        content::TESTS,
        loss::TESTS,
        mode::TESTS,
        tools::TESTS,
        act::TESTS,
        acts::TESTS,
        verified::TESTS,
        witness::TESTS,
    ]
    .concat();
    let alone =
        alone.into_iter().map(|(name, boot, run)| Case { name, boot, run: Run::Alone(run) });
    let shared =
        |(name, boot, stage, make): SceneTest| Case { name, boot, run: Run::Shared(stage, make) };
    let boots = |case: Case| match case.boot {
        Boot::Default | Boot::WithoutBpf => vec![case],
        Boot::Each => {
            let second: &'static str = format!("{FMOD_RET}{}", case.name).leak();
            let second = Case { name: second, boot: Boot::WithoutBpf, ..case };
            vec![Case { boot: Boot::Default, ..case }, second]
        }
    };
    alone.chain(scenes().into_iter().map(shared)).flat_map(boots).collect()
}

fn main() -> std::process::ExitCode {
    if std::env::var_os("KRSI_GUEST").is_some() {
        return run::run_in_guest(&cases());
    }
    runner::run(&cases())
}
