//! The output room: what is told to people and machines, and `trait Output`, one sink each.

mod json;
mod report;
mod terminal;

use std::io::{self, Write};

pub use json::Json;
pub use report::{
    AlertReport, FailureReport, HookCount, HookSummary, NoteReport, PluginStatus, PluginSummary,
    ProcessCounts, RefusalReport, Report, RuleReport, ShadowStatus, Status, Summary, VerdictReport,
    WatchReport, Witnessed,
};
pub use terminal::{Colour, Terminal};

/// A sink for reports.
pub trait Output: Send {
    /// Writes one report.
    ///
    /// # Errors
    /// When the sink cannot be written to.
    fn write(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()>;
}
