//! The recipe of the plugins.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::find::{Compiler, WASM_LINKER, WASM_TARGET, wasm_compiler};
use crate::recipe::{BuildError, cargo_build, run};

/// Builds plugins of the workspace and returns the folder of their `.wasm` files.
///
/// # Errors
/// When a tool is missing or the build fails.
pub fn build_plugins(
    workspace: &Path,
    target_dir: &Path,
    packages: &[String],
) -> Result<PathBuf, BuildError> {
    let mut cargo = cargo(workspace, target_dir)?;
    cargo.args(["--profile", "wasm"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    run("the plugins", &mut cargo)?;
    Ok(target_dir.join(WASM_TARGET).join("wasm"))
}

/// Builds the release of an author's own crate, which lies outside this workspace, and returns the folder of its
/// `.wasm` file.
///
/// # Errors
/// When a tool is missing or the build fails.
pub fn build_plugin(folder: &Path, target_dir: &Path) -> Result<PathBuf, BuildError> {
    let mut cargo = cargo(folder, target_dir)?;
    cargo.args(["--release", "--lib"]);
    run("the plugin", &mut cargo)?;
    Ok(target_dir.join(WASM_TARGET).join("release"))
}

/// A build for Wasm, with the standard library as the compiler has it or built from its sources.
fn cargo(folder: &Path, target_dir: &Path) -> Result<Command, BuildError> {
    let compiler = wasm_compiler()?;
    let mut cargo = cargo_build(&compiler, folder, WASM_TARGET, target_dir);
    match compiler {
        Compiler::Debian { .. } => {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", WASM_LINKER);
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        Compiler::Rustup { build_std: true, .. } => {
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        Compiler::Rustup { build_std: false, .. } => {}
    }
    Ok(cargo)
}
