//! `krsi-host --plugin FILE…`: its arguments, and the run itself.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Format, KillGrant, PluginSpec};
use crate::output::Colour;
use crate::pipeline::{self, RunError};

/// Runs plugins on the kernel's LSM hooks and enforces what they decide.
#[derive(Debug, Parser)]
#[command(name = "krsi-host", version, about, max_term_width = 100)]
pub(super) struct Args {
    /// A plugin: a Wasm component or a core module built with the SDK. May be given several times.
    /// `NAME.toml` beside `NAME.wasm` is its configuration.
    #[arg(long = "plugin", value_name = "FILE", required = true)]
    plugins: Vec<PathBuf>,
    /// The configuration of the plugin at the same place in the order of `--plugin`, instead of the
    /// file beside it.
    #[arg(long = "plugin-config", value_name = "FILE")]
    plugin_configs: Vec<PathBuf>,
    /// How reports are written to standard output.
    #[arg(long, value_enum, default_value_t = OutputArg::Text)]
    output: OutputArg,
    /// Whether text is coloured.
    #[arg(long, value_enum, default_value_t = ColourArg::Auto)]
    color: ColourArg,
    /// Size of the telemetry ring in bytes: a power of two.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    ring_bytes: u32,
    /// Records that wait for a plugin before it loses some.
    #[arg(long, value_name = "RECORDS", default_value_t = 65_536)]
    queue_records: usize,
    /// Memory of a plugin in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    memory_mib: u16,
    /// Time that one call into a plugin may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    deadline_ms: u64,
    /// Lets plugins that ask for it kill processes.
    #[arg(long)]
    grant_kill: bool,
    /// A file to create once the hooks are proven live and the plugins' first rules are in force.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputArg {
    /// Aligned lines.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColourArg {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Starts the host's own log on standard error; `KRSI_LOG` chooses what is shown.
pub(super) fn log(args: &Args) {
    let filter = EnvFilter::try_from_env("KRSI_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(coloured(args.color, std::io::stderr().is_terminal()) == Colour::On)
        .with_target(false)
        .init();
}

/// Runs until a signal.
pub(super) fn run(args: Args) -> Result<(), RunError> {
    let config = config(args);
    config.check()?;
    pipeline::run(config)
}

fn config(args: Args) -> Config {
    let mut configs = args.plugin_configs.into_iter();
    let plugins = args.plugins.into_iter().map(|file| match configs.next() {
        Some(config) => PluginSpec { file, config: Some(config) },
        None => PluginSpec::beside(file),
    });
    Config {
        plugins: plugins.collect(),
        format: match args.output {
            OutputArg::Json => Format::Json,
            OutputArg::Text => {
                Format::Terminal(coloured(args.color, std::io::stdout().is_terminal()))
            }
        },
        ring_bytes: args.ring_bytes,
        queue_records: args.queue_records,
        memory_bytes: usize::from(args.memory_mib) << 20,
        call_deadline: Duration::from_millis(args.deadline_ms),
        kill: if args.grant_kill { KillGrant::Granted } else { KillGrant::Withheld },
        ready_file: args.ready_file,
    }
}

fn coloured(arg: ColourArg, terminal: bool) -> Colour {
    match (arg, terminal) {
        (ColourArg::Always, _) | (ColourArg::Auto, true) => Colour::On,
        _ => Colour::Off,
    }
}
