//! `krsi-host plugin`: a plugin from its first line to its file, without a host.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::argument::OutputArg;
use super::exit;
use super::print::{line, print};
use crate::author::{self, BuildError, Description, KernelLack, MatrixRow, SignError, TestError};
use crate::kernel::btf::KernelTypes;
use crate::regular;
use crate::text::Escaped;

/// Largest file of a password.
const PASSWORD_MAX: u64 = 64 << 10;

/// Commands of `krsi-host plugin`.
#[derive(Debug, Subcommand)]
pub(super) enum PluginVerb {
    /// Creates a crate for a new plugin in a folder of its name: source, scenarios and the SDK.
    New {
        /// Name of the plugin: a-z, 0-9 and -, a letter first.
        name: String,
        /// Folder to create it in.
        #[arg(long, value_name = "DIR", default_value = ".")]
        r#in: PathBuf,
    },
    /// Builds a plugin crate with your cargo and writes NAME.wasm beside its Cargo.toml. Downloads nothing
    /// except what cargo downloads.
    Build {
        /// Folder of the crate.
        #[arg(value_name = "DIR", default_value = ".")]
        folder: PathBuf,
        /// Runs cargo as root, and with it the build scripts of every dependency.
        #[arg(long)]
        as_root: bool,
    },
    /// Runs a crate's own tests, builds it, and plays its scenarios (docs/authoring.md) as a host would run it. Exits
    /// with 0 when all is as they say, 5 when something is not or is untested.
    Test(TestArgs),
    /// Signs a plugin with a secret key of minisign's, for hosts with `--require-signed`; the signature lies beside it.
    Sign {
        /// Wasm file of the plugin.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The secret key. Its password is asked for on the terminal.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// A file whose first line is the password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Creates the key pair first: KEY, and KEY.pub for the hosts.
        #[arg(long)]
        make_key: bool,
    },
    /// Shows what a plugin is and what it asks for.
    Inspect {
        /// Wasm file of the plugin.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Format of the answer.
        #[arg(long, value_enum, default_value_t = OutputArg::Text)]
        output: OutputArg,
    },
    /// Checks whether a host with the default limits would run a plugin, and which hooks and watches of it this
    /// kernel lacks. Exits with 0 if nothing is missing, 3 if something is, 4 if the plugin would not run.
    Check {
        /// Wasm file of the plugin.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Format of the answer.
        #[arg(long, value_enum, default_value_t = OutputArg::Text)]
        output: OutputArg,
    },
}

/// Arguments of `krsi-host plugin test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Folder of the crate; its scenarios lie in `scenarios/`.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Wasm file of the plugin, instead of what is built.
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Plays the scenarios alone.
    #[arg(long)]
    no_native: bool,
    /// A file for the results as JUnit has them.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Prints annotations for GitHub's workflows.
    #[arg(long)]
    github: bool,
    /// Runs cargo as root, and with it the build scripts of every dependency.
    #[arg(long)]
    as_root: bool,
}

/// An answer of `check`.
#[derive(Serialize)]
struct CheckedPlugin {
    plugin: Description,
    missing: Vec<KernelLack>,
    /// What the kernels of krsi-host's test matrix do not have.
    matrix: Vec<MatrixRow>,
    /// Why the kernel could not be asked.
    unasked: Option<String>,
}

impl PluginVerb {
    pub(super) fn run(self) -> ExitCode {
        match self {
            PluginVerb::New { name, r#in } => new(&name, &r#in),
            PluginVerb::Build { folder, as_root } => build(&folder, as_root),
            PluginVerb::Test(args) => args.run(),
            PluginVerb::Sign { file, key, password_file, make_key } => {
                sign(&file, &key, password_file.as_deref(), make_key)
            }
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
        Err(error) => not_built(&error),
    }
}

fn not_built(error: &BuildError) -> ExitCode {
    let code = match error {
        BuildError::NoCrate { .. }
        | BuildError::AsRoot
        | BuildError::NoLibrary { .. }
        | BuildError::Metadata { .. } => exit::ExitReason::Usage,
        BuildError::NoCompiler => exit::ExitReason::Machine,
        BuildError::Cargo(_) => exit::ExitReason::Plugin,
        BuildError::Write { .. } => exit::ExitReason::Internal,
    };
    exit::refuse(error, "", code)
}

fn sign(file: &Path, key: &Path, password: Option<&Path>, make_key: bool) -> ExitCode {
    let refuse = |error: &SignError| {
        let code = match error {
            SignError::Read { .. } | SignError::Key { .. } => exit::ExitReason::Usage,
            SignError::Write { .. } | SignError::Sign { .. } => exit::ExitReason::Internal,
        };
        exit::refuse(error, "", code)
    };
    // It may be a pipe of a password manager's.
    let read = |file| regular::bounded(File::open(file)?, PASSWORD_MAX);
    let password = match password.map(read).transpose() {
        Ok(bytes) => bytes
            .and_then(|bytes| String::from_utf8_lossy(&bytes).lines().next().map(str::to_owned)),
        Err(error) => {
            exit::say(&format!("the password's file cannot be read: {error}"), "");
            return exit::ExitReason::Usage.into();
        }
    };
    let mut told = String::new();
    if make_key {
        match author::make_key(key, password.clone()) {
            Ok(public) => told = format!("hosts are given {}\n", public.display()),
            Err(error) => return refuse(&error),
        }
    }
    match author::sign(file, key, password) {
        Ok(signature) => {
            print(&format!("{told}{} is made\n", signature.display()), ExitCode::SUCCESS)
        }
        Err(error) => refuse(&error),
    }
}

impl TestArgs {
    fn run(self) -> ExitCode {
        let mut passed = true;
        if !self.no_native {
            match author::native_tests(&self.folder, self.as_root) {
                Ok(native) => passed = native,
                Err(error) => return not_built(&error),
            }
        }
        let module = match self.plugin {
            Some(module) => module,
            None => match author::build(&self.folder, self.as_root) {
                Ok(module) => module,
                Err(error) => return not_built(&error),
            },
        };
        let pre = match author::load(&module, &program()) {
            Ok(pre) => pre,
            Err(error) => return exit::refuse(&error, error.fix(), exit::ExitReason::Plugin),
        };
        let tested = match author::test(&self.folder.join("scenarios"), &pre) {
            Ok(tested) => tested,
            Err(error @ TestError::Scenario(_)) => {
                return exit::refuse(&error, "", exit::ExitReason::Usage);
            }
            Err(error @ TestError::Stage { .. }) => {
                return exit::refuse(&error, "", exit::ExitReason::Plugin);
            }
        };
        let name = module.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(file) = self.junit
            && let Err(error) = std::fs::write(&file, author::junit(&name, &tested))
        {
            exit::say(&format!("{}: cannot be written: {error}", file.display()), "");
            return exit::ExitReason::Internal.into();
        }
        let mut shown = author::text(&tested);
        if self.github {
            shown.push_str(&author::github(&tested));
        }
        passed &= tested.is_passed();
        print(&shown, if passed { ExitCode::SUCCESS } else { exit::ExitReason::Differs.into() })
    }
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "krsi-host".into())
}

fn described(file: &Path) -> Result<Description, ExitCode> {
    author::describe(file, &program())
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
    let matrix = author::on_matrix(&plugin);
    let is_whole = missing.is_empty() && unasked.is_none();
    let code = if is_whole { ExitCode::SUCCESS } else { exit::ExitReason::Machine.into() };
    print_answer(output, &CheckedPlugin { plugin, missing, matrix, unasked }, code)
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
        for MatrixRow { kernel, without } in
            self.matrix.iter().filter(|row| !row.without.is_empty())
        {
            let hooks = Escaped(&without.join(", ")).to_string();
            writeln!(f, "on Linux {kernel}   without {hooks}")?;
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
