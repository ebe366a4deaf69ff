//! `krsi-host replay`: a recording played again, anywhere.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::argument::OutputArg;
use super::exit;
use crate::author::{
    DescribeError, Follower, On, Replay, ReplayError, Replayed, Told, compare, replay,
};
use crate::config::{ConfigError, Source};
use crate::record::RecordingError;

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(500);
/// Longest pause at the speed of then.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// What is replayed, and how.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A plugin, played on the tapes of its name. May be given several times.
    #[arg(long = "plugin", value_name = "FILE")]
    plugins: Vec<PathBuf>,
    /// Part of the recording that plugins are played on.
    #[arg(long, value_enum, default_value_t = OnArg::Tapes)]
    on: OnArg,
    /// Plays two plugins on the stream and shows what only one of them wants.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "plugins")]
    compare: Vec<PathBuf>,
    /// Plays a plugin on a stream that does not have all that it asks for.
    #[arg(long)]
    allow_missing: bool,
    /// Says at the end of each process for which the plugin noted evidence why there was an alert, or none.
    #[arg(long, conflicts_with = "compare")]
    explain: bool,
    /// Says on standard error how fast it went.
    #[arg(long)]
    bench: bool,
    /// Where a host keeps compiled plugins; without it they are compiled anew.
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Speed of the replay.
    #[arg(long, value_enum, default_value_t = Speed::Max)]
    speed: Speed,
    /// Format of the output.
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
    /// Calls are made without pauses.
    Max,
    /// At the recorded speed; a pause of more than ten minutes is cut to ten.
    Real,
}

/// Writes what is told, at the speed that was asked for.
struct ReplayWriter {
    out: io::BufWriter<io::Stdout>,
    output: OutputArg,
    speed: Speed,
    began: Instant,
    pace: Pace,
    /// When progress is shown next; nowhere but on a terminal.
    progress: Option<Instant>,
}

impl Follower for ReplayWriter {
    fn write(&mut self, told: &Told) -> io::Result<()> {
        match self.output {
            OutputArg::Text => writeln!(self.out, "{told}")?,
            OutputArg::Json => self.out.write_all(super::print::line(told).as_bytes())?,
        }
        if self.speed == Speed::Real { self.out.flush() } else { Ok(()) }
    }

    fn reach(&mut self, after_ns: u64) {
        if self.speed == Speed::Real {
            let (wait, left_out) = self.pace.pause(after_ns, self.began.elapsed());
            if left_out > Duration::ZERO {
                let (all, most) = ((wait + left_out).as_secs(), wait.as_secs());
                exit::say(&format!("nothing happens for {all} s: {most} of them are waited"), "");
            }
            std::thread::sleep(wait);
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
        let configured = |files: Vec<PathBuf>| files.into_iter().map(configured).collect();
        let (plugins, compared) = match (configured(self.plugins), configured(self.compare)) {
            (Ok(plugins), Ok(compared)) => (plugins, compared),
            (Err(error), _) | (_, Err(error)) => {
                return exit::refuse(&error, "", exit::ExitReason::Usage);
            }
        };
        let cache = self.cache_dir;
        let what = Replay { file: self.file, plugins, on, cache, program, explain: self.explain };
        let shows = io::stderr().is_terminal() && !io::stdout().is_terminal();
        let mut writer = ReplayWriter {
            out: io::BufWriter::new(io::stdout()),
            output: self.output,
            speed: self.speed,
            began: Instant::now(),
            pace: Pace::default(),
            progress: shows.then(|| Instant::now() + PROGRESS),
        };
        let mut compared: std::vec::IntoIter<Configured> = compared.into_iter();
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
            Ok(replayed) => super::print::written(flushed, code(replayed, self.allow_missing)),
            Err(error) => failed(&error),
        }
    }
}

/// Says why nothing more is replayed. A reader that has seen enough is no failure.
fn failed(error: &ReplayError) -> ExitCode {
    let code = match error {
        ReplayError::Tell(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        ReplayError::Read(RecordingError::Read { .. })
        | ReplayError::Cache(_)
        | ReplayError::SameName { .. } => exit::ExitReason::Usage,
        ReplayError::Read(_) => exit::ExitReason::Machine,
        ReplayError::Plugin(DescribeError::Engine(_)) | ReplayError::Tell(_) => {
            exit::ExitReason::Internal
        }
        ReplayError::Plugin(_) | ReplayError::Stage { .. } => exit::ExitReason::Plugin,
    };
    exit::refuse(error, error.fix(), code)
}

/// 5 when something differs, 3 when something could not be played or compared, else 0.
fn code(replayed: Replayed, allow_missing: bool) -> ExitCode {
    let Replayed { different, unplayed, damaged, played, left_out, lacking, .. } = replayed;
    let is_idle = replayed.without_tape > 0 || (played == 0 && left_out > 0);
    let lacks = lacking && !allow_missing;
    if different > 0 {
        exit::ExitReason::Differs.into()
    } else if unplayed > 0 || damaged || lacks || is_idle {
        exit::ExitReason::Machine.into()
    } else {
        ExitCode::SUCCESS
    }
}

/// A plugin's file, and its configuration.
type Configured = (PathBuf, Vec<u8>);

/// A plugin with the configuration that a host would give it: that of the file beside it, or none if there is no such
/// file. One that cannot be read is not none.
fn configured(file: PathBuf) -> Result<Configured, ConfigError> {
    match Source::file(file.with_extension("toml")).read() {
        Ok(config) => Ok((file, config)),
        Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok((file, Vec::new()))
        }
        Err(error) => Err(error),
    }
}

/// The pace of a replay at the speed of then.
#[derive(Debug, Default)]
struct Pace {
    /// Time that was left out of the pauses so far.
    left_out: Duration,
}

impl Pace {
    /// How long to wait for what happened at a time, after a replay that has taken so long; and how much of the pause
    /// is left out, which a file can make as long as it likes.
    fn pause(&mut self, after_ns: u64, elapsed: Duration) -> (Duration, Duration) {
        let due = Duration::from_nanos(after_ns).saturating_sub(self.left_out);
        let left = due.saturating_sub(elapsed);
        let wait = left.min(PAUSE_MAX);
        self.left_out += left - wait;
        (wait, left - wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_it_was_but_not_for_ever() {
        let (mut pace, seconds) = (Pace::default(), Duration::from_secs);
        assert_eq!(pace.pause(3_000_000_000, seconds(1)), (seconds(2), seconds(0)));
        assert_eq!(pace.pause(3_000_000_000, seconds(4)), (seconds(0), seconds(0)));
        let (wait, left_out) = pace.pause(u64::MAX, seconds(4));
        assert_eq!(wait, PAUSE_MAX);
        assert_eq!(left_out, Duration::from_nanos(u64::MAX) - PAUSE_MAX - seconds(4));
        // What is of the same time is not waited for again.
        assert_eq!(pace.pause(u64::MAX, seconds(4) + PAUSE_MAX), (seconds(0), seconds(0)));
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_not_an_empty_one() {
        let folder = std::env::temp_dir().join(format!("krsi-configured-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a.toml")).unwrap();
        std::fs::write(folder.join("c.toml"), "x = 1").unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("d.toml")).unwrap();
        let of = |name: &str| configured(folder.join(name)).map(|(_, config)| config);
        for refused in ["a.wasm", "d.wasm"] {
            assert!(matches!(of(refused), Err(ConfigError::Read { .. })), "{refused}");
        }
        assert_eq!(of("b.wasm").unwrap(), b"");
        assert_eq!(of("c.wasm").unwrap(), b"x = 1");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
