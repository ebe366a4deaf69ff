//! Error → message with the fix, and exit code: the one place where users are told how a run ended.

use std::error::Error;
use std::process::ExitCode;

use serde::Serialize;

use crate::attach::AttachError;
use crate::control::ControlError;
use crate::error_chain::chain;
use crate::kernel::btf::BtfError;
use crate::kernel::program::proof::CanaryError;
use crate::pipeline::RunError;
use crate::record::RecordError;
use crate::text::Escaped;

/// Exit codes. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ExitReason {
    /// Something that should not happen, happened; or an answer could not be written.
    Internal = 1,
    /// The command line or a configuration file is wrong.
    Usage = 2,
    /// This machine cannot take the programs.
    Machine = 3,
    /// A plugin cannot be run.
    Plugin = 4,
    /// A replay did not do what its recording says, or a plugin not what its scenarios say.
    Differs = 5,
}

/// How well krsi-host can work on a machine: the exit code of `doctor`, and of it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(super) enum Health {
    /// krsi-host can do everything.
    Fine = 0,
    /// krsi-host works, within limits.
    Limited = 1,
    /// krsi-host cannot work on this machine.
    Unable = ExitReason::Machine as u8,
}

impl From<Health> for ExitCode {
    fn from(health: Health) -> Self {
        ExitCode::from(health as u8)
    }
}

impl From<ExitReason> for ExitCode {
    fn from(code: ExitReason) -> Self {
        ExitCode::from(code as u8)
    }
}

/// Prints an error, its causes and what to do about it; returns the exit code.
pub(super) fn report(error: &RunError) -> ExitCode {
    say_all(&error.lines(), error.fix());
    code(error).into()
}

/// The same for a running host that cannot be asked.
pub(super) fn report_control(error: ControlError) -> ExitCode {
    report(&RunError::Control(error))
}

/// Prints an error, its causes and what to do about it; the exit code, as it is given.
pub(super) fn refuse(error: &(dyn Error + 'static), fix: &str, code: ExitReason) -> ExitCode {
    say(&chain(error), fix);
    code.into()
}

/// Prints a message and its fix on standard error.
pub(super) fn say(text: &str, fix: &str) {
    say_all(&[text], fix);
}

/// Prints messages, a line each, and their fix on standard error; where that takes nothing, the exit code has to do.
fn say_all(texts: &[impl AsRef<str>], fix: &str) {
    let line = |text: &_| format!("krsi-host: {}\n", Escaped(AsRef::<str>::as_ref(text)));
    let mut lines: String = texts.iter().map(line).collect();
    if !fix.is_empty() {
        lines.push_str(fix);
        lines.push('\n');
    }
    let _said = crate::output::say(lines.as_bytes());
}

const fn code(error: &RunError) -> ExitReason {
    match error {
        RunError::Config(_)
        | RunError::Labels { .. }
        | RunError::SameName { .. }
        | RunError::Pin(_)
        | RunError::Key(_)
        | RunError::Watch { .. }
        | RunError::Attach(AttachError::Without { .. })
        | RunError::ReadyFileTaken { .. }
        | RunError::Record(
            RecordError::Taken { .. }
            | RecordError::Create { .. }
            | RecordError::Running { .. }
            | RecordError::NotRunning
            | RecordError::NoFlight,
        )
        | RunError::Control(ControlError::NoSocket { .. }) => ExitReason::Usage,
        RunError::Probe(_)
        | RunError::NoCode(_)
        | RunError::Cgroups(_)
        | RunError::Attach(
            AttachError::Canary(CanaryError::Silent { .. })
            | AttachError::Btf(BtfError::Missing { .. } | BtfError::Invalid { .. })
            | AttachError::Object(_)
            | AttachError::NoHook { .. },
        ) => ExitReason::Machine,
        RunError::Plugin(_) | RunError::Start(_) | RunError::Reload(_) => ExitReason::Plugin,
        RunError::Attach(AttachError::Map(_))
        | RunError::Map(_)
        | RunError::OnError(_)
        | RunError::OwnLabels(_)
        | RunError::Read(_)
        | RunError::Thread(_)
        | RunError::EndedTwice
        | RunError::ThreadEnded { .. }
        | RunError::Runtime(_)
        | RunError::Engine(_)
        | RunError::Cache(_)
        | RunError::Control(_)
        | RunError::Record(RecordError::Thread(_))
        | RunError::ReadyFile { .. } => ExitReason::Internal,
    }
}
