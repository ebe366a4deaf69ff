//! `cargo xtask test`: the house, the unit tests, then every VM test on every kernel.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{bail, ensure};

use crate::{artefact, kernel, setup, tidy};

/// Packages whose tests need no kernel.
const UNITS: [&str; 7] = [
    "krsi-host-abi",
    "krsi-plugin-schema",
    "krsi-plugin",
    "krsi-plugin-miner",
    "krsi-toolchain",
    "krsi-host",
    "xtask",
];

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the VM tests whose name contains this, such as `6.12::file_open`.
    filter: Option<String>,
}

/// Runs the tests; the last lines are those of the last test runner.
pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let kernels = kernel::table(root)?;
    phase("set-up", || {
        setup::tools()?;
        kernels.iter().try_for_each(|kernel| kernel::ensure(kernel, false).map(drop))
    })?;
    if args.filter.is_none() {
        phase("tidy", || {
            let code = tidy::run(root)?;
            ensure!(code == ExitCode::SUCCESS, "tidy found something");
            Ok(())
        })?;
    }
    let artefacts = phase("build", || artefact::build(root))?;
    if args.filter.is_none() {
        phase("unit tests", || {
            let mut units = artefact::cargo(root, "test");
            for package in UNITS {
                units.args(["--package", package]);
            }
            succeed(&mut units)?;
            let mut tests = artefact::cargo(root, "test");
            // Its other tests need VMs.
            succeed(tests.args(["--package", "krsi-tests", "--lib"]))
        })?;
    }
    let mut vm = artefact::cargo(root, "test");
    vm.args(["--package", "krsi-tests", "--test", "vm", "--"]).args(&args.filter);
    let files = artefacts.files().into_iter();
    let placed = files.map(|file| format!("{}={}", file.from.display(), file.to));
    vm.env("KRSI_VM_FILES", placed.collect::<Vec<_>>().join("\n"));
    vm.env("KRSI_XTASK", std::env::current_exe()?);
    eprintln!("xtask: VM tests");
    Ok(if vm.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn phase<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    eprintln!("xtask: {name}");
    let result = work()?;
    eprintln!("xtask: {name} took {:.1} s", start.elapsed().as_secs_f64());
    Ok(result)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    if !command.status()?.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}
