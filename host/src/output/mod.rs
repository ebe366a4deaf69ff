//! The output room: what is told to people and machines, and `trait Output`, one sink each.

mod json;
mod log;
mod report;
mod status;
mod terminal;
mod value;

use std::io::{self, Write};

pub use json::Json;
pub use log::{LogLine, LogWriter, end_log, lost_lines, say, start_log};
pub use report::{
    AlertReport, Decider, FailureReport, HookSummary, NoteReport, PluginSummary, ProcessCounts,
    RefusalReport, Report, RuleEndReport, RuleReport, Summary, VerdictReport, WatchReport,
    Witnessed,
};
pub use status::{
    HookCount, OutputStatus, PluginStatus, RejectedFile, ShadowStatus, Status, WatchCount,
};
pub use terminal::{Colour, Terminal};
pub use value::{CallObject, FieldValue};

/// A sink for reports.
pub trait Output: Send {
    /// Writes one report.
    ///
    /// # Errors
    /// When the sink cannot be written to.
    fn write(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()>;
}
