//! The recipe of the BPF objects.

use std::path::{Path, PathBuf};

use crate::find::{BPF_TARGET, Compiler, bpf_compiler, bpf_linker};
use crate::recipe::{BuildError, cargo_build, run};

/// Builds the BPF object of the workspace and returns its path.
///
/// # Errors
/// When a tool is missing or the build fails.
pub fn build_object(workspace: &Path, target_dir: &Path) -> Result<PathBuf, BuildError> {
    build("krsi-host-ebpf", workspace, target_dir)
}

/// Builds the object that feeds benches, and returns its path.
///
/// # Errors
/// When a tool is missing or the build fails.
pub fn build_feeder(workspace: &Path, target_dir: &Path) -> Result<PathBuf, BuildError> {
    build("krsi-host-feeder", workspace, target_dir)
}

/// Builds the object of the kernel bench's baselines, and returns its path.
///
/// # Errors
/// When a tool is missing or the build fails.
pub fn build_baselines(workspace: &Path, target_dir: &Path) -> Result<PathBuf, BuildError> {
    build("krsi-host-ebpf-bench", workspace, target_dir)
}

fn build(package: &str, workspace: &Path, target_dir: &Path) -> Result<PathBuf, BuildError> {
    let compiler = bpf_compiler()?;
    let linker = bpf_linker()?;
    let mut cargo = cargo_build(&compiler, workspace, BPF_TARGET, target_dir);
    cargo.args(["--package", package, "--profile", "bpf"]);
    let flags = [
        format!("-Clinker={}", linker.display()),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if matches!(compiler, Compiler::Rustup { build_std: true, .. }) {
        cargo.arg("-Zbuild-std=core");
    }
    run("the BPF object", &mut cargo)?;
    Ok(target_dir.join(BPF_TARGET).join("bpf").join(package))
}
