//! The list of verbs, and those that only compile plugins.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::answer::{Socket, query_host};
use super::argument::OutputArg;
use super::label::LabelVerb;
use super::plugin::PluginVerb;
use super::record::RecordVerb;
use super::replay::ReplayArgs;
use super::{doctor, exit, hooks};
use crate::control::Query;
use crate::plugin::{COMPILE_VERB, Cache, CompileLimits, Limits, compile_child, precompile};

/// Commands of krsi-host besides running plugins.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Shows the running plugins: their state, hashes and counts.
    Status {
        #[command(flatten)]
        socket: Socket,
        /// Prints the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Reloads plugins from their files without losing an event or a rule.
    Reload {
        /// Name of a plugin. Without it all plugins are reloaded.
        plugin: Option<String>,
        /// Grants what the new manifest asks for beyond the old one.
        #[arg(long)]
        accept: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Lists the LSM hooks of this kernel: signature, whether BPF may attach, deny and sleep, and what
    /// is attached.
    Hooks {
        /// Hooks to list. Without names all hooks are listed.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Format of the list.
        #[arg(long, value_enum, default_value_t = OutputArg::Text)]
        output: OutputArg,
        #[command(flatten)]
        socket: Socket,
    },
    /// Creates, builds, inspects and checks plugins; needs no running host.
    Plugin {
        #[command(subcommand)]
        verb: PluginVerb,
    },
    /// Lists the processes that have labels, or takes them from one.
    Label {
        #[command(subcommand)]
        verb: LabelVerb,
    },
    /// Has a running host record what its hooks see and what its plugins are called with, from now on until a
    /// signal.
    Record(RecordVerb),
    /// Plays a recording again, without root and without a kernel: the same calls of the same plugins. Exits with 0
    /// when they did what the recording says, 5 when something differs, 3 when something could not be played.
    Replay(ReplayArgs),
    /// Reports how well krsi-host works on this machine, what is missing, and the fix. Exits with 0 if
    /// nothing is missing, 1 if it works with limits, 3 if it cannot work.
    Doctor {
        /// Format of the report.
        #[arg(long, value_enum, default_value_t = OutputArg::Text)]
        output: OutputArg,
    },
    /// Compiles a plugin from standard input; krsi-host's own child.
    #[command(name = COMPILE_VERB, hide = true)]
    Compile {
        /// Address space in MiB.
        memory_mib: u64,
        /// Processor seconds.
        seconds: u64,
    },
    /// Compiles plugins for every processor of this architecture into a folder that machines can be given as
    /// their `--cache-dir`. Files that are not plugins are reported and skipped.
    #[command(hide = true)]
    Precompile {
        /// Folder for the compiled plugins.
        #[arg(long, value_name = "DIR")]
        cache_dir: PathBuf,
        /// Plugins to compile.
        #[arg(value_name = "FILE", required = true)]
        plugins: Vec<PathBuf>,
    },
}

impl Verb {
    pub(super) fn run(self) -> ExitCode {
        match self {
            Verb::Compile { memory_mib, seconds } => {
                compile_child(CompileLimits { memory_mib, seconds })
            }
            Verb::Precompile { cache_dir, plugins } => keep_compiled(&cache_dir, &plugins),
            Verb::Hooks { names, output, socket } => hooks::run(output, &socket.control, &names),
            Verb::Plugin { verb } => verb.run(),
            Verb::Label { verb } => verb.run(),
            Verb::Record(record) => record.run(),
            Verb::Replay(replay) => replay.run(),
            Verb::Doctor { output } => doctor::run(output),
            Verb::Status { socket, json } => query_host(&socket, &Query::Status, json),
            Verb::Reload { plugin, accept, socket } => {
                query_host(&socket, &Query::Reload { plugin, accept }, false)
            }
        }
    }
}

/// Compiles what can be; the exit code says whether that was all.
fn keep_compiled(folder: &Path, plugins: &[PathBuf]) -> ExitCode {
    let cache = match Cache::open(folder) {
        Ok(cache) => cache,
        Err(error) => return exit::report(&error.into()),
    };
    let mut code = ExitCode::SUCCESS;
    for plugin in plugins {
        if let Err(error) = precompile(&cache, plugin, Limits::default().binary_bytes) {
            exit::say(&error.to_string(), "");
            code = exit::ExitReason::Plugin.into();
        }
    }
    code
}
