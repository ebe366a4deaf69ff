//! The output room: what is told to people and machines, and `trait Output`, one sink each.

mod json;
mod log;
mod patience;
mod report;
mod status;
mod terminal;
mod value;

use std::io::{self, Write};

pub(crate) use json::Json;
pub(crate) use log::{LogWriter, end_log, hurry_log, lost_lines, say, start_log};
pub(crate) use patience::{IDLE, IN_ALL, Patience};
pub(crate) use report::{
    AlertReport, Decider, EvidenceReport, FailureReport, HookSummary, NoteReport, PluginSummary,
    ProcessCounts, RefusalReport, Report, RuleEndReport, RuleReport, Summary, VerdictReport,
    WatchReport, Witnessed,
};
pub(crate) use status::{
    HookCount, LabelCount, OutputStatus, PluginStatus, RejectedFile, ShadowStatus, Status,
    WatchCount,
};
pub(crate) use terminal::{Colour, Terminal};
pub(crate) use value::{CallObject, FieldValue};

/// A sink for reports.
pub(crate) trait Output: Send {
    /// Writes one report.
    ///
    /// # Errors
    /// When the sink cannot be written to.
    fn write(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()>;
}
