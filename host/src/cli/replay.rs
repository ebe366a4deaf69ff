//! `krsi-host replay`: a recording played again, anywhere.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::exit;
use super::run::OutputArg;
use crate::author::{Follower, On, Replay, ReplayError, Replayed, Told, compare, replay};
use crate::record::RecordingError;

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(500);

/// What is replayed, and how.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A plugin, played on the tapes of its name. May be given several times.
    #[arg(long = "plugin", value_name = "FILE")]
    plugins: Vec<PathBuf>,
    /// What plugins are played on.
    #[arg(long, value_enum, default_value_t = OnArg::Tapes)]
    on: OnArg,
    /// Plays two plugins on the stream and tells what only one of them wants.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "plugins")]
    compare: Vec<PathBuf>,
    /// Plays a plugin on a stream that does not have all that it asks for.
    #[arg(long)]
    allow_missing: bool,
    /// Says on standard error how fast it went.
    #[arg(long)]
    bench: bool,
    /// Where a host keeps compiled plugins; without it they are compiled anew.
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// How fast it is played.
    #[arg(long, value_enum, default_value_t = Speed::Max)]
    speed: Speed,
    /// How what is told is written.
    #[arg(long, value_enum, default_value_t = OutputArg::Text)]
    output: OutputArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnArg {
    /// What each plugin of its name was called with, call by call; of a redacted recording the stream.
    Tapes,
    /// What hooks saw, whatever was recorded of whom: for another plugin, or another version. It is configured by the
    /// NAME.toml beside its NAME.wasm.
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Speed {
    /// As fast as it goes.
    Max,
    /// As it was recorded.
    Real,
}

/// Writes what is told, at the speed that was asked for.
struct ReplayWriter {
    out: io::BufWriter<io::Stdout>,
    output: OutputArg,
    speed: Speed,
    began: Instant,
    /// When progress is shown next; nowhere but on a terminal.
    progress: Option<Instant>,
}

impl Follower for ReplayWriter {
    fn tell(&mut self, told: &Told) -> io::Result<()> {
        match self.output {
            OutputArg::Text => writeln!(self.out, "{told}")?,
            OutputArg::Json => self.out.write_all(super::print::line(told).as_bytes())?,
        }
        if self.speed == Speed::Real { self.out.flush() } else { Ok(()) }
    }

    fn reach(&mut self, after_ns: u64) {
        if self.speed == Speed::Real {
            let left = Duration::from_nanos(after_ns).saturating_sub(self.began.elapsed());
            std::thread::sleep(left);
        }
    }

    fn progress(&mut self, (read, all): (u64, u64)) {
        let now = Instant::now();
        if self.progress.is_some_and(|next| next <= now) {
            self.progress = Some(now + PROGRESS);
            let percent = read.saturating_mul(100) / all.max(1);
            // Nobody misses a line of progress.
            let _shown = write!(io::stderr(), "\rreplayed {percent} %");
        }
    }
}

impl ReplayArgs {
    pub(super) fn run(self) -> ExitCode {
        let program = std::env::current_exe().unwrap_or_else(|_| "krsi-host".into());
        let on = match self.on {
            OnArg::Tapes => On::Tapes,
            OnArg::Stream => On::Stream,
        };
        let plugins = self.plugins.into_iter().map(configured).collect();
        let cache = self.cache_dir;
        let what = Replay { file: self.file, plugins, on, cache, program };
        let shows = io::stderr().is_terminal() && !io::stdout().is_terminal();
        let mut writer = ReplayWriter {
            out: io::BufWriter::new(io::stdout()),
            output: self.output,
            speed: self.speed,
            began: Instant::now(),
            progress: shows.then(|| Instant::now() + PROGRESS),
        };
        let mut compared = self.compare.into_iter().map(configured);
        let replayed = match (compared.next(), compared.next()) {
            (Some(old), Some(new)) => compare(&what, (old, new), &mut writer),
            _ => replay(&what, &mut writer),
        };
        let flushed = writer.out.flush();
        if let (true, Ok(replayed)) = (self.bench, &replayed) {
            let (took, records) = (writer.began.elapsed(), replayed.records);
            let calls = replayed.calls;
            exit::say(
                &format!("{calls} calls and {records} events in {} ms", took.as_millis()),
                "",
            );
        }
        match replayed {
            Ok(replayed) => super::print::print(
                "",
                flushed.map_or(exit::ExitReason::Internal.into(), |()| {
                    code(replayed, self.allow_missing)
                }),
            ),
            Err(ReplayError::Tell(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => {
                let code = match &error {
                    ReplayError::Read(RecordingError::Read { .. })
                    | ReplayError::Cache(_)
                    | ReplayError::SameName { .. } => exit::ExitReason::Usage,
                    ReplayError::Read(_) => exit::ExitReason::Machine,
                    ReplayError::Load(_) | ReplayError::Start(_) | ReplayError::Stage { .. } => {
                        exit::ExitReason::Plugin
                    }
                    ReplayError::Engine(_) | ReplayError::Tell(_) => exit::ExitReason::Internal,
                };
                exit::refuse(&error, error.fix(), code)
            }
        }
    }
}

/// 5 when something differs, 3 when something could not be played or compared, else 0.
fn code(replayed: Replayed, allow_missing: bool) -> ExitCode {
    let Replayed { different, unplayed, damaged, played, left_out, lacking, .. } = replayed;
    let lacks = lacking && !allow_missing;
    if different > 0 {
        exit::ExitReason::Differs.into()
    } else if unplayed > 0 || damaged || lacks || (played == 0 && left_out > 0) {
        exit::ExitReason::Machine.into()
    } else {
        ExitCode::SUCCESS
    }
}

/// A plugin with the configuration that a host would give it: that of the file beside it.
fn configured(file: PathBuf) -> (PathBuf, Vec<u8>) {
    let config = std::fs::read(file.with_extension("toml")).unwrap_or_default();
    (file, config)
}
