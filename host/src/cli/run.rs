//! `krsi-host --plugin FILE…`: its arguments, and the run itself.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::answer::CONTROL;
use super::argument::{CACHE, OutputArg, RecordArgs, absolute};
use super::verb::Verb;
use crate::config::{Config, ConfigError, Format, ModeArg, PluginSpec, Settings, Source};
use crate::kernel::program::backend::BackendKind;
use crate::output::{Colour, LogWriter, start_log};
use crate::pipeline::{self, RunError};
use crate::plugin::{CompileLimits, Limits};
use crate::policy::GrantSpec;
use crate::text::Escaped;

/// Runs plugins on the kernel's LSM hooks and enforces what they decide.
#[derive(Debug, Parser)]
#[command(name = "krsi-host", version, about, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
    /// Runs this plugin: a Wasm component, or a core module built with the SDK. May be given several times.
    /// `NAME.toml` beside `NAME.wasm` is its configuration. When the file changes, the new version
    /// takes over without losing an event.
    #[arg(long = "plugin", value_name = "FILE")]
    plugins: Vec<PathBuf>,
    /// Runs every `*.wasm` file in this folder. Plugins are loaded, replaced and unloaded as their files
    /// come, change and go.
    #[arg(long = "plugin-dir", value_name = "DIR")]
    plugin_dirs: Vec<PathBuf>,
    /// Runs this version beside the running plugin of the same name, on the same events and without
    /// effect, and reports where their actions differ.
    #[arg(long = "shadow", value_name = "FILE")]
    shadows: Vec<PathBuf>,
    /// Reads limits and grants of plugins from this file (docs/configuration.md).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Gives a plugin this configuration instead of the file beside it: the first `--plugin-config`
    /// belongs to the first `--plugin`, and so on.
    #[arg(long = "plugin-config", value_name = "FILE")]
    plugin_configs: Vec<PathBuf>,
    /// Format of the reports on standard output.
    #[arg(long, value_enum, default_value_t = OutputArg::Text)]
    output: OutputArg,
    /// When to colour text.
    #[arg(long, value_enum, default_value_t = ColourArg::Auto)]
    color: ColourArg,
    /// Size of the telemetry ring in bytes: a power of two, at least 32768.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    ring_bytes: u32,
    /// How programs are attached to hooks. `auto` takes the first backend that works.
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    backend: BackendArg,
    /// Whether rules refuse calls, only report what they would have refused, or do nothing.
    #[arg(long, value_enum, default_value_t = RunMode::Enforce)]
    mode: RunMode,
    /// Shows calls of any LSM hook, and may refuse them:
    /// `HOOK [: FIELD, …] [if PREDICATE] [deny ERRNO | audit ERRNO]` (docs/watches.md). May be given several times.
    #[arg(long = "watch", value_name = "WATCH")]
    watches: Vec<String>,
    /// Attaches nothing to this hook, as if the kernel lacked it. Where docs/hooks.md names a substitute, the
    /// substitute is attached. May be given several times.
    #[arg(long, value_name = "HOOK")]
    without: Vec<String>,
    /// Attaches a second program behind each hook in use that returns a value. It counts the calls that any LSM refused.
    #[arg(long)]
    witness: bool,
    /// Records that a plugin's queue holds; records beyond are lost for that plugin and counted.
    #[arg(long, value_name = "RECORDS", default_value_t = 65_536)]
    queue_records: usize,
    /// Memory limit of a plugin, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    memory_mib: u16,
    /// Time limit of one call into a plugin, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    deadline_ms: u64,
    /// Allows plugins whose manifest asks for it to kill processes.
    #[arg(long)]
    grant_kill: bool,
    /// Runs only plugins that are signed with this minisign public key (`FILE.wasm.minisig`).
    #[arg(long, value_name = "FILE")]
    require_signed: Option<PathBuf>,
    /// Runs plugins although users other than root and the user that krsi-host runs as may change their file, their configuration, a key or a folder above them, and reports it. Without this option such plugins are refused.
    #[arg(long)]
    allow_writable: bool,
    /// Keeps compiled plugins in this folder.
    #[arg(long, value_name = "DIR", default_value = CACHE)]
    cache_dir: PathBuf,
    /// Compiles plugins again at every start.
    #[arg(long)]
    no_cache: bool,
    /// Memory limit for compiling a plugin, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=65_536))]
    compile_memory_mib: u64,
    /// Processor time limit for compiling a plugin, in seconds.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    compile_seconds: u64,
    /// Control socket for `krsi-host status`, `reload`, `hooks`, `label` and `record`.
    #[arg(long, value_name = "PATH", default_value = CONTROL)]
    control: PathBuf,
    /// Creates no control socket.
    #[arg(long)]
    no_control: bool,
    /// Creates this file once the backend is proven, the hooks are attached and the plugins' first rules are in force. A hook that could not be proven is reported.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Records what hooks saw and what plugins were called with, from the start on (docs/authoring.md).
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    recording: RecordArgs,
    /// Keeps the last of what hooks saw and plugins were called with in so much memory, for `krsi-host record --now`;
    /// 0 keeps nothing.
    #[arg(long, value_name = "MIB", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=4096))]
    flight_mib: u16,
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
    /// Programs that see what these functions return and refuse nothing.
    Observe,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RunMode {
    /// Rules refuse calls.
    Enforce,
    /// Rules refuse nothing and report what they would have refused.
    Audit,
    /// Rules are not evaluated; events still reach plugins.
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColourArg {
    /// Colour on a terminal, none elsewhere.
    Auto,
    /// Colour everywhere.
    Always,
    /// No colour.
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
        // Whatever `KRSI_LOG` leaves out; a backtrace is there if `RUST_BACKTRACE` asks for it.
        let backtrace = Backtrace::capture();
        let backtrace = match backtrace.status() {
            BacktraceStatus::Captured => format!("{backtrace}\n"),
            _ => String::new(),
        };
        let line = format!("krsi-host: the thread {name} {}\n{backtrace}", Escaped(&panic));
        let _said = crate::output::say(line.as_bytes());
    }));
    Ok(())
}

/// Runs the host until a signal ends it.
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
        flight: args.recording.flight(args.flight_mib),
        record: args.record.map(|file| args.recording.to(file)),
    })
}

fn coloured(arg: ColourArg, terminal: bool) -> Colour {
    match (arg, terminal) {
        (ColourArg::Always, _) | (ColourArg::Auto, true) => Colour::On,
        _ => Colour::Off,
    }
}
