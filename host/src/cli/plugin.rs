//! `krsi-host plugin`: a plugin from its first line to its file, without a host.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::run::OutputArg;
use super::{exit, line, print};
use crate::author::{self, BuildError, Description, KernelLack};
use crate::kernel::btf::KernelTypes;

/// What is done with a plugin.
#[derive(Debug, Subcommand)]
pub(super) enum PluginVerb {
    /// Makes a crate for a new plugin in a folder of its name: source, scenarios, the SDK.
    New {
        /// Name of the plugin: a-z, 0-9 and -, a letter first.
        name: String,
        /// Folder to make it in.
        #[arg(long, value_name = "DIR", default_value = ".")]
        r#in: PathBuf,
    },
    /// Builds a plugin crate with your cargo; NAME.wasm lies beside its Cargo.toml afterwards. Downloads nothing but
    /// what cargo does.
    Build {
        /// Folder of the crate.
        #[arg(value_name = "DIR", default_value = ".")]
        folder: PathBuf,
        /// Runs cargo as root, and with it the build scripts of every dependency.
        #[arg(long)]
        as_root: bool,
    },
    /// Says what a plugin is and what it asks for.
    Inspect {
        /// Wasm file of the plugin.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How the answer is written.
        #[arg(long, value_enum, default_value_t = OutputArg::Text)]
        output: OutputArg,
    },
    /// Says whether a host with the default limits would run a plugin, and what of it this kernel does not have. Exits
    /// with 0 when nothing is missing, 3 when something is, 4 when it would not run.
    Check {
        /// Wasm file of the plugin.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How the answer is written.
        #[arg(long, value_enum, default_value_t = OutputArg::Text)]
        output: OutputArg,
    },
}

/// An answer of `check`.
#[derive(Serialize)]
struct CheckedPlugin {
    plugin: Description,
    missing: Vec<KernelLack>,
    /// Why the kernel could not be asked.
    unasked: Option<String>,
}

impl PluginVerb {
    pub(super) fn run(self) -> ExitCode {
        match self {
            PluginVerb::New { name, r#in } => new(&name, &r#in),
            PluginVerb::Build { folder, as_root } => build(&folder, as_root),
            PluginVerb::Inspect { file, output } => match described(&file) {
                Ok(description) => print_answer(output, &description, ExitCode::SUCCESS),
                Err(code) => code,
            },
            PluginVerb::Check { file, output } => check(&file, output),
        }
    }
}

fn new(name: &str, parent: &Path) -> ExitCode {
    match author::create(name, parent) {
        Ok(folder) => {
            let folder = folder.display();
            let next = format!(
                "{folder} is made. Next:\n  cd {folder}\n  cargo test\n  krsi-host plugin build\n  sudo krsi-host \
                 --plugin {name}.wasm --allow-writable\n"
            );
            print(&next, ExitCode::SUCCESS)
        }
        Err(error) => exit::refuse(&error, "", exit::ExitReason::Usage),
    }
}

fn build(folder: &Path, as_root: bool) -> ExitCode {
    match author::build(folder, as_root) {
        Ok(module) => match described(&module) {
            Ok(description) => print_answer(OutputArg::Text, &description, ExitCode::SUCCESS),
            Err(code) => code,
        },
        Err(error) => {
            let code = match error {
                BuildError::NoCrate { .. }
                | BuildError::AsRoot
                | BuildError::NoLibrary { .. }
                | BuildError::Metadata { .. } => exit::ExitReason::Usage,
                BuildError::NoCompiler => exit::ExitReason::Machine,
                BuildError::Cargo(_) => exit::ExitReason::Plugin,
                BuildError::Write { .. } => exit::ExitReason::Internal,
            };
            exit::refuse(&error, "", code)
        }
    }
}

fn described(file: &Path) -> Result<Description, ExitCode> {
    let program = std::env::current_exe().unwrap_or_else(|_| "krsi-host".into());
    author::describe(file, &program)
        .map_err(|error| exit::refuse(&error, error.fix(), exit::ExitReason::Plugin))
}

fn check(file: &Path, output: OutputArg) -> ExitCode {
    let plugin = match described(file) {
        Ok(description) => description,
        Err(code) => return code,
    };
    let (missing, unasked) = match KernelTypes::running() {
        Ok(types) => (author::lacks(&plugin, &types), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let is_whole = missing.is_empty() && unasked.is_none();
    let code = if is_whole { ExitCode::SUCCESS } else { exit::ExitReason::Machine.into() };
    print_answer(output, &CheckedPlugin { plugin, missing, unasked }, code)
}

fn print_answer(
    output: OutputArg,
    answer: &(impl Serialize + fmt::Display),
    code: ExitCode,
) -> ExitCode {
    match output {
        OutputArg::Text => print(&answer.to_string(), code),
        OutputArg::Json => print(&line(answer), code),
    }
}

impl fmt::Display for CheckedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plugin)?;
        for lack in &self.missing {
            writeln!(f, "missing here  {lack}")?;
        }
        match &self.unasked {
            Some(why) => writeln!(f, "this kernel could not be asked: {why}"),
            None if self.missing.is_empty() => {
                writeln!(f, "a host would run it, and this kernel has all that it asks for")
            }
            None => writeln!(f, "a host would run it without that"),
        }
    }
}
