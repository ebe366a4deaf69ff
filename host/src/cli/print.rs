//! Answers of verbs on standard output.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::exit;

/// Writes to standard output what a verb has to say, and returns its exit code. A reader that has seen enough, such
/// as `head`, is no error; an output that takes nothing, such as a full disk, is.
pub(super) fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut out = std::io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()), code)
}

/// The exit code of a verb whose answer was written, or was not.
pub(super) fn written(result: std::io::Result<()>, code: ExitCode) -> ExitCode {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            exit::say(&format!("standard output cannot be written to: {error}"), "");
            exit::ExitReason::Internal.into()
        }
        _ => code,
    }
}

/// An answer as one line of JSON.
pub(super) fn line(answer: &impl Serialize) -> String {
    let mut text = serde_json::to_string(answer).unwrap_or_default();
    text.push('\n');
    text
}
