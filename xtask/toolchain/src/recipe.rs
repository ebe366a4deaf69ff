//! How a nested cargo is started: with a clean environment and the right compiler.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::find::{Compiler, MissingTool};

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A tool is missing.
    #[error(transparent)]
    Missing(#[from] MissingTool),
    /// Cargo could not be started.
    #[error("starting cargo for {what}")]
    Start {
        /// What was to be built.
        what: &'static str,
        /// Error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// Cargo failed; it has said why on standard error.
    #[error("building {what} failed with {status}: see the compiler's messages above")]
    Failed {
        /// What was to be built.
        what: &'static str,
        /// Cargo's exit.
        status: ExitStatus,
    },
}

/// Variables of an outer cargo, clippy or rustup that must not reach the inner one.
const INHERITED: &[&str] = &[
    "RUSTC",
    "RUSTDOC",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// `cargo build` of the workspace for a foreign target.
pub(crate) fn cargo_build(
    compiler: &Compiler,
    workspace: &Path,
    target: &str,
    target_dir: &Path,
) -> Command {
    let mut command = match compiler {
        Compiler::Debian { rustc } => {
            let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
            let mut command = clean(Command::new(cargo));
            // Debian's compiler is a release: the nightly features of the recipe need the bootstrap switch.
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            command
        }
        Compiler::Rustup { toolchain, .. } => {
            let mut command = clean(Command::new("cargo"));
            command.env("RUSTUP_TOOLCHAIN", toolchain);
            command
        }
    };
    command.current_dir(workspace).args(["build", "--target", target, "--target-dir"]);
    command.arg(target_dir);
    command
}

/// Runs cargo to its end. Its output goes to standard error: the standard output of a build script
/// is read by the outer cargo.
pub(crate) fn run(what: &'static str, command: &mut Command) -> Result<(), BuildError> {
    command.stdout(std::process::Stdio::null());
    let status = command.status().map_err(|source| BuildError::Start { what, source })?;
    if status.success() { Ok(()) } else { Err(BuildError::Failed { what, status }) }
}

fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let target = text.starts_with("CARGO_TARGET_") || text.starts_with("CARGO_PROFILE_");
        if target || INHERITED.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command
}
