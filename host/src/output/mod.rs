//! The output room: what is told to people and machines, and `trait Output`, one sink each.

mod json;
mod report;
mod status;
mod terminal;

use std::io::{self, Write};

pub use json::Json;
pub use report::{
    AlertReport, FailureReport, HookSummary, NoteReport, PluginSummary, ProcessCounts,
    RefusalReport, Report, RuleReport, Summary, VerdictReport, WatchReport, Witnessed,
};
pub use status::{HookCount, PluginStatus, RejectedFile, ShadowStatus, Status};
pub use terminal::{Colour, Terminal};

/// A sink for reports.
pub trait Output: Send {
    /// Writes one report.
    ///
    /// # Errors
    /// When the sink cannot be written to.
    fn write(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()>;
}
