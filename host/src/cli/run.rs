//! `krsi-host --plugin FILE…`: its arguments, and the run itself.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::verb::{CONTROL, Verb};
use crate::config::{Config, ConfigError, Format, ModeArg, PluginSpec, Settings, Source};
use crate::kernel::program::backend::BackendKind;
use crate::output::{Colour, LogWriter, start_log};
use crate::pipeline::{self, RunError};
use crate::plugin::{CompileLimits, Limits};
use crate::policy::GrantSpec;
use crate::text::Escaped;

/// Where compiled plugins are kept unless said otherwise.
pub(super) const CACHE: &str = "/var/cache/krsi-host";

/// Runs plugins on the kernel's LSM hooks and enforces what they decide.
#[derive(Debug, Parser)]
#[command(name = "krsi-host", version, about, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
    /// A plugin: a Wasm component or a core module built with the SDK. May be given several times.
    /// `NAME.toml` beside `NAME.wasm` is its configuration. When the file changes, the new version
    /// takes over while events flow.
    #[arg(long = "plugin", value_name = "FILE")]
    plugins: Vec<PathBuf>,
    /// A folder whose `*.wasm` are plugins: they come, are replaced and go with their files.
    #[arg(long = "plugin-dir", value_name = "DIR")]
    plugin_dirs: Vec<PathBuf>,
    /// A version of a plugin that runs beside it on the live stream, without effect; its actions are
    /// compared.
    #[arg(long = "shadow", value_name = "FILE")]
    shadows: Vec<PathBuf>,
    /// Limits and grants of plugins (docs/configuration.md).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
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
    /// Size of the telemetry ring in bytes: a power of two, 32768 at least, which the longest record needs.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    ring_bytes: u32,
    /// How hooks are met; the first that works unless said.
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    backend: BackendArg,
    /// Whether rules refuse calls, only report what they would have refused, or do nothing.
    #[arg(long, value_enum, default_value_t = RunMode::Enforce)]
    mode: RunMode,
    /// Shows calls of any LSM hook, and may refuse them:
    /// `HOOK: FIELD, … [if PREDICATE] [deny ERRNO]` (docs/watches.md). May be given several times.
    #[arg(long = "watch", value_name = "WATCH")]
    watches: Vec<String>,
    /// Leaves a hook alone as if this kernel lacked it; what is met instead of it is (docs/hooks.md). May be
    /// given several times.
    #[arg(long, value_name = "HOOK")]
    without: Vec<String>,
    /// Counts what all LSMs together answer at each hook in use, as a judge that is no part of them.
    #[arg(long)]
    witness: bool,
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
    /// Only plugins with a minisign signature of this public key beside them are run.
    #[arg(long, value_name = "FILE")]
    require_signed: Option<PathBuf>,
    /// Runs plugins that others than root may change, by their file, their configuration or a folder on the way to
    /// them, and tells of it; without it they are refused.
    #[arg(long)]
    allow_writable: bool,
    /// Where compiled plugins are kept.
    #[arg(long, value_name = "DIR", default_value = CACHE)]
    cache_dir: PathBuf,
    /// Compiles plugins anew at every start.
    #[arg(long)]
    no_cache: bool,
    /// Memory that compiling a plugin may take, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=65_536))]
    compile_memory_mib: u64,
    /// Processor time that compiling a plugin may take, in seconds.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    compile_seconds: u64,
    /// Control socket, for `krsi-host status` and `krsi-host reload`.
    #[arg(long, value_name = "PATH", default_value = CONTROL)]
    control: PathBuf,
    /// Makes no control socket.
    #[arg(long)]
    no_control: bool,
    /// A file to create once the hooks are proven live and the plugins' first rules are in force.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OutputArg {
    /// Aligned lines.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum BackendArg {
    /// LSM programs where `bpf` is among the LSMs, else `fmod_ret`, else `observe`.
    Auto,
    /// LSM programs.
    Lsm,
    /// Programs that modify what the kernel's `security_*` functions return.
    FmodRet,
    /// Programs that see what these functions returned, and refuse nothing.
    Observe,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RunMode {
    /// Refuse.
    Enforce,
    /// Only report.
    Audit,
    /// Judge nothing.
    Off,
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

/// Starts the host's own log on standard error; `KRSI_LOG` chooses what is shown. Panics are told there too.
pub(super) fn log(args: &Args) -> std::io::Result<()> {
    start_log()?;
    let filter = EnvFilter::try_from_env("KRSI_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogWriter)
        .with_ansi(coloured(args.color, std::io::stderr().is_terminal()) == Colour::On)
        .with_target(false)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let (name, panic) = (thread.name().unwrap_or_default(), panic.to_string());
        tracing::error!("the thread {name} {}", Escaped(&panic));
    }));
    Ok(())
}

/// Runs until a signal.
pub(super) fn run(args: Args) -> Result<(), RunError> {
    let config = config(args)?;
    config.check()?;
    pipeline::run(config)
}

fn config(args: Args) -> Result<Config, ConfigError> {
    let mut configs = args.plugin_configs.into_iter();
    let plugins = args.plugins.into_iter().map(|file| {
        Ok(match configs.next() {
            Some(config) => {
                PluginSpec { file: absolute(file), config: Some(Source::open(absolute(config))?) }
            }
            None => PluginSpec::beside(absolute(file)),
        })
    });
    let plugins: Vec<PluginSpec> = plugins.collect::<Result<_, ConfigError>>()?;
    if let Some(config) = configs.next() {
        return Err(ConfigError::NoPluginOf { config });
    }
    let limits = Limits {
        memory_bytes: usize::from(args.memory_mib) << 20,
        call_deadline: Duration::from_millis(args.deadline_ms),
        queue_records: args.queue_records,
        ..Limits::default()
    };
    let grant = GrantSpec { kill: args.grant_kill, ..GrantSpec::default() };
    Ok(Config {
        plugins,
        plugin_dirs: args.plugin_dirs.into_iter().map(absolute).collect(),
        shadows: args.shadows.into_iter().map(absolute).collect(),
        format: match args.output {
            OutputArg::Json => Format::Json,
            OutputArg::Text => {
                Format::Terminal(coloured(args.color, std::io::stdout().is_terminal()))
            }
        },
        ring_bytes: args.ring_bytes,
        backend: match args.backend {
            BackendArg::Auto => None,
            BackendArg::Lsm => Some(BackendKind::Lsm),
            BackendArg::FmodRet => Some(BackendKind::FmodRet),
            BackendArg::Observe => Some(BackendKind::Observe),
        },
        mode: match args.mode {
            RunMode::Enforce => ModeArg::Enforce,
            RunMode::Audit => ModeArg::Audit,
            RunMode::Off => ModeArg::Off,
        },
        watches: args.watches,
        without: args.without,
        witness: args.witness,
        base: Settings { limits, grant, ..Settings::default() },
        file: args.config.map(absolute).map(Source::open).transpose()?,
        compile: CompileLimits {
            memory_mib: args.compile_memory_mib,
            seconds: args.compile_seconds,
        },
        cache: (!args.no_cache).then_some(args.cache_dir),
        require_signed: args.require_signed,
        allow_writable: args.allow_writable,
        control: (!args.no_control).then_some(args.control),
        ready_file: args.ready_file,
    })
}

/// A path from the root on, without `.`: the same whatever it is named by. Links stay, as they may be changed.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn coloured(arg: ColourArg, terminal: bool) -> Colour {
    match (arg, terminal) {
        (ColourArg::Always, _) | (ColourArg::Auto, true) => Colour::On,
        _ => Colour::Off,
    }
}
