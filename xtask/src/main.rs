//! `cargo xtask VERB`: every development task, each of which sets up what it needs by itself.

mod artefact;
mod bench_kernel;
mod demo;
mod fuzz;
mod initramfs;
mod kernel;
mod setup;
mod test;
mod tidy;
mod verified;
mod vm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

/// Development tasks of krsi-host.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
enum Verb {
    /// Checks for and installs compilers, linkers, QEMU and guest kernels.
    Setup(setup::Args),
    /// Boots a kernel of the matrix in QEMU and runs a command in it.
    Vm(vm::Args),
    /// Shows a miner being detected and refused by the kernel.
    Demo(demo::Args),
    /// Builds what a VM needs: the static host, the plugins and the fixtures.
    Build,
    /// Runs every test, on every kernel of the matrix.
    Test(test::Args),
    /// Runs the VM tests that repeat something, far more often than `test` does.
    Soak(test::SoakArgs),
    /// Gives foreign bytes to everything that reads them, for as long as is asked.
    Fuzz(fuzz::Args),
    /// Prices the programs in the kernel, in instructions, beside minimal ones.
    BenchKernel(bench_kernel::Args),
    /// Tests the house itself: layers, names, confinement, documents.
    Tidy,
}

fn main() -> ExitCode {
    match run(Verb::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let root = workspace()?;
    match verb {
        Verb::Setup(args) => setup::run(&root, &args).map(|()| ExitCode::SUCCESS),
        Verb::Vm(args) => vm::run(&root, &args),
        Verb::Demo(args) => demo::run(&root, &args),
        Verb::Build => artefact::build(&root).map(|_| ExitCode::SUCCESS),
        Verb::Test(args) => test::run(&root, &args),
        Verb::Soak(args) => test::soak(&root, &args),
        Verb::Fuzz(args) => fuzz::run(&root, &args),
        Verb::BenchKernel(args) => bench_kernel::run(&root, &args),
        Verb::Tidy => tidy::run(&root),
    }
}

/// The root of the workspace that this binary was built from.
fn workspace() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).context("xtask lies in the workspace")
}
