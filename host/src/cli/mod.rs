//! The command line: arguments → configuration → run → exit code.

mod exit;
mod run;
mod verb;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

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
