//! `krsi-host record`: a running host records until it is told to end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::answer::{Socket, query_host};
use super::argument::RecordArgs;
use super::exit;
use crate::control::Query;
use crate::pipeline::RunError;
use crate::record::Options;

/// What is recorded, and until when.
#[derive(Debug, Args)]
pub(super) struct RecordVerb {
    /// The file, which must not be there yet. The host makes it, for its owner alone.
    #[arg(short = 'o', long = "to", value_name = "FILE", required_unless_present = "stop")]
    file: Option<PathBuf>,
    #[command(flatten)]
    how: RecordArgs,
    /// Ends the recording after so many seconds; without it, a signal does (Ctrl-C).
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Leaves the host recording, until `krsi-host record --stop`.
    #[arg(long, conflicts_with = "seconds")]
    detach: bool,
    /// Writes what the host's flight recorder holds (`--flight-mib`), instead of recording from now on.
    /// The host's `--flight-mib` and `--record-redacted` set its size and redaction.
    #[arg(long, requires = "file", conflicts_with_all = ["seconds", "detach", "redacted", "mib"])]
    now: bool,
    /// Ends the recording that runs.
    #[arg(long, conflicts_with_all = ["file", "seconds", "detach", "now", "redacted", "mib"])]
    stop: bool,
    #[command(flatten)]
    socket: Socket,
}

impl RecordVerb {
    pub(super) fn run(self) -> ExitCode {
        let Some(file) = self.file.filter(|_| !self.stop) else {
            return query_host(&self.socket, &Query::EndRecording, false);
        };
        let Options { file, bytes_max, redacted } = self.how.to(file);
        if self.now {
            return query_host(&self.socket, &Query::Dump { file }, false);
        }
        let code = query_host(&self.socket, &Query::Record { file, bytes_max, redacted }, false);
        if code != ExitCode::SUCCESS || self.detach {
            return code;
        }
        match wait(self.seconds.map(Duration::from_secs)) {
            Ok(()) => query_host(&self.socket, &Query::EndRecording, false),
            Err(error) => exit::report(&RunError::Runtime(error)),
        }
    }
}

/// Waits for a signal, or for a time.
fn wait(most: Option<Duration>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let over = async {
            match most {
                Some(most) => tokio::time::sleep(most).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = over => {}
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn what_a_flight_recorder_holds_is_as_the_host_was_told_at_its_start() {
        let is_taken = |words: &[&str]| {
            let verb = RecordVerb::augment_args(Command::new("record"));
            verb.try_get_matches_from([&["record"], words].concat()).is_ok()
        };
        assert!(is_taken(&["--now", "-o", "a"]) && is_taken(&["--record-redacted", "-o", "a"]));
        for how in [&["--record-redacted"][..], &["--record-mib", "5"]] {
            assert!(!is_taken(&[&["--now", "-o", "a"], how].concat()), "{how:?}");
            assert!(!is_taken(&[&["--stop"], how].concat()), "{how:?}");
        }
    }
}
