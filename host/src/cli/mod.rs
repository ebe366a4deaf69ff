//! The command line: arguments → configuration → run → exit code.

mod answer;
mod argument;
mod doctor;
mod exit;
mod hooks;
mod label;
mod plugin;
mod print;
mod record;
mod replay;
mod run;
mod verb;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use self::print::print;

use crate::output::end_log;

/// Parses the command line and runs.
#[must_use]
pub fn main() -> ExitCode {
    let args = match run::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let informs =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if informs {
                return print(&error.render().to_string(), ExitCode::SUCCESS);
            }
            // Nothing can be told when standard error cannot be written to.
            let _told = error.print();
            return exit::ExitReason::Usage.into();
        }
    };
    if let Some(verb) = args.verb {
        return verb.run();
    }
    if let Err(error) = run::log(&args) {
        return exit::refuse(&error, "", exit::ExitReason::Internal);
    }
    let code = match catch_unwind(AssertUnwindSafe(|| run::run(args))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => exit::report(&error),
        // A panic of the main thread is in the log, which is written yet.
        Err(_) => exit::ExitReason::Internal.into(),
    };
    end_log();
    code
}
