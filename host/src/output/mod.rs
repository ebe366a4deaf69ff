//! The output room: what is told to people and machines, and `trait Output`, one sink each.

mod json;
mod report;
mod terminal;
mod value;

use std::io::{self, Write};

pub use json::Json;
pub use report::{
    AlertReport, Decider, FailureReport, HookCount, HookSummary, NoteReport, PluginStatus,
    PluginSummary, ProcessCounts, RefusalReport, Report, RuleEndReport, RuleReport, ShadowStatus,
    Status, Summary, VerdictReport, WatchCount, WatchReport, Witnessed,
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
