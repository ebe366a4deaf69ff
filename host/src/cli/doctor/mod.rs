//! `krsi-host doctor`: how well this machine can run krsi-host, and what would make it better.

mod diagnose;
mod room;
mod text;

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use self::diagnose::{Diagnosis, diagnose};
use super::argument::{CACHE, OutputArg};
use crate::files::inotify_error;
use crate::kernel::survey::facts::{self, Facts};
use crate::plugin::{Cache, may_make_code};

/// The answer as JSON: one object on one line.
#[derive(Serialize)]
struct Examination<'a> {
    version: &'static str,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    facts: &'a Facts,
}

/// Gathers facts, diagnoses and prints; the exit code is the result.
pub(super) fn run(output: OutputArg) -> ExitCode {
    let mut facts = facts::gather();
    facts.code_error = may_make_code().err().map(|error| error.to_string());
    facts.cache_error = Cache::doubt(Path::new(CACHE));
    facts.inotify_error = inotify_error();
    let diagnosis = diagnose(&facts);
    match output {
        OutputArg::Text => {
            super::print::print(&text::render(&facts, &diagnosis), diagnosis.health.into())
        }
        OutputArg::Json => {
            let answer = Examination {
                version: env!("CARGO_PKG_VERSION"),
                diagnosis: &diagnosis,
                facts: &facts,
            };
            super::print::print(&super::print::line(&answer), diagnosis.health.into())
        }
    }
}

#[cfg(test)]
mod tests;
