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
mod runner;
mod running;
mod runtime;
mod samples;
mod socket;
mod subject;
mod surroundings;
mod task;
mod tools;
mod verified;
mod witness;

use harness::Guest;

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

/// One test: its name, its boot, what it does in the guest.
type Test = (&'static str, Boot, fn(&mut Guest) -> anyhow::Result<()>);

/// Every test of one boot, by family.
fn tests() -> Vec<Test> {
    let all = [
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
    let boots = |(name, boot, run): Test| match boot {
        Boot::Default | Boot::WithoutBpf => vec![(name, boot, run)],
        Boot::Each => {
            let second: &'static str = format!("{FMOD_RET}{name}").leak();
            vec![(name, Boot::Default, run), (second, Boot::WithoutBpf, run)]
        }
    };
    all.into_iter().flat_map(boots).collect()
}

fn main() -> std::process::ExitCode {
    if std::env::var_os("KRSI_GUEST").is_some() {
        return harness::run_in_guest(&tests());
    }
    runner::run(&tests())
}
