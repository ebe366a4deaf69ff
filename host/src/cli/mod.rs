//! The command line: arguments → configuration → run → exit code.

mod doctor;
mod exit;
mod hooks;
mod plugin;
mod run;
mod verb;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use serde::Serialize;

/// Parses the command line and runs.
#[must_use]
pub fn main() -> ExitCode {
    let args = match run::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let informs =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nothing can be told when neither stream can be written to.
            let _told = error.print();
            return if informs { ExitCode::SUCCESS } else { exit::Code::Usage.into() };
        }
    };
    if let Some(verb) = args.verb {
        return verb.run();
    }
    run::log(&args);
    match run::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::tell(&error),
    }
}

/// Writes to standard output; a reader that has seen enough, such as `head`, is no error.
fn print(text: &str) {
    let _written = std::io::stdout().write_all(text.as_bytes());
}

/// An answer as one line of JSON.
fn line(answer: &impl Serialize) -> String {
    let mut text = serde_json::to_string(answer).unwrap_or_default();
    text.push('\n');
    text
}
