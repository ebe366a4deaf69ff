//! `cargo xtask test` and `cargo xtask soak`: the house, the unit tests, then every VM test on every kernel.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{bail, ensure};

use crate::{artefact, fuzz, kernel, setup, tidy};

/// The whole never takes longer: guests that still run then are given up, and their tests have failed.
const SUITE: Duration = Duration::from_secs(87 * 60);

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the VM tests whose name contains this, such as `6.12::file_open`.
    filter: Option<String>,
    /// Only the VM tests of this kernel of tests/kernels.toml.
    #[arg(long, default_value = "all")]
    kernel: String,
    /// Writes what the tests took into tests/budgets.toml instead of comparing it. The machine should do
    /// nothing else.
    #[arg(long, conflicts_with = "filter")]
    bless_budgets: bool,
}

/// Arguments of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct SoakArgs {
    /// A kernel of tests/kernels.toml, or "all".
    #[arg(long, default_value = "all")]
    kernel: String,
}

/// Runs the tests; the last lines are those of the last test runner.
pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let start = SystemTime::now();
    set_up(root, &args.kernel)?;
    if args.filter.is_none() {
        phase("tidy", || {
            let code = tidy::run(root)?;
            ensure!(code == ExitCode::SUCCESS, "tidy found something");
            Ok(())
        })?;
    }
    let artefacts = phase("build", || artefact::build(root))?;
    if args.filter.is_none() {
        phase("unit tests", || succeed(&mut artefact::tests(root)))?;
    }
    let mut vm = vm(root, &artefacts, &args.kernel)?;
    vm.args(&args.filter);
    let end = (start + SUITE).duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    vm.env("KRSI_SUITE_END", end.to_string());
    if args.bless_budgets {
        vm.env("KRSI_BLESS_BUDGETS", "1");
    }
    eprintln!("xtask: VM tests");
    status(&mut vm)
}

/// Runs the VM tests that repeat something, each as often as CI has no time for.
pub(crate) fn soak(root: &Path, args: &SoakArgs) -> anyhow::Result<ExitCode> {
    set_up(root, &args.kernel)?;
    let artefacts = phase("build", || artefact::build(root))?;
    phase("fuzz", || fuzz::soak(root))?;
    let mut vm = vm(root, &artefacts, &args.kernel)?;
    vm.env("KRSI_SOAK", "1");
    eprintln!("xtask: soak; the result belongs into docs/reliability.md");
    status(&mut vm)
}

fn set_up(root: &Path, kernels: &str) -> anyhow::Result<()> {
    let kernels = kernel::named(root, kernels)?;
    phase("set-up", || {
        setup::tools()?;
        kernels.iter().try_for_each(|kernel| kernel::ensure(kernel, false).map(drop))
    })
}

/// The runner of the VM tests, told what goes into the guests; a filter may follow.
fn vm(root: &Path, artefacts: &artefact::Artefacts, kernel: &str) -> anyhow::Result<Command> {
    let mut vm = artefact::tests(root);
    vm.args(["--test", "vm", "--"]);
    let files = artefacts.files().into_iter();
    let placed = files.map(|file| format!("{}={}", file.from.display(), file.to));
    vm.env("KRSI_VM_FILES", placed.collect::<Vec<_>>().join("\n"));
    vm.env("KRSI_XTASK", std::env::current_exe()?);
    if kernel != "all" {
        vm.env("KRSI_ONLY_KERNEL", kernel);
    }
    Ok(vm)
}

fn status(command: &mut Command) -> anyhow::Result<ExitCode> {
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
