//! Questions to a running host and its answers: JSON, one line each.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::output::Status;

/// Longest question, bytes.
pub(super) const QUERY_MAX: usize = 4 << 10;
/// Longest answer, bytes.
pub(super) const ANSWER_MAX: u64 = 1 << 20;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Query {
    /// Asks for the running plugins and their state.
    Status,
    /// Load plugins from their files again.
    Reload {
        /// Which; every one without a name.
        plugin: Option<String>,
        /// Whether a manifest that asks for more than before is granted it.
        accept: bool,
    },
    /// Record from here on.
    Record {
        /// The file, which the host makes.
        file: PathBuf,
        /// Length at which the recording ends, bytes.
        bytes_max: u64,
        /// Whether names and texts are replaced by tokens.
        redacted: bool,
    },
    /// Write what the flight recorder holds.
    Dump {
        /// The file, which the host makes.
        file: PathBuf,
    },
    /// End the recording.
    EndRecording,
    /// Which processes have labels.
    Labels,
    /// Take all labels from a process.
    ClearLabels {
        /// The process's id, as the host's PID namespace has it.
        tgid: u32,
    },
}

/// Processes that have labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LabelledProcesses {
    /// The labels of each, by process id.
    pub(crate) processes: BTreeMap<u32, Vec<String>>,
    /// How many more there are than one answer has room for.
    pub(crate) more: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// State of the host and of its plugins.
    Status(Box<Status>),
    /// The result for each plugin.
    Reloaded(Vec<Result<String, String>>),
    /// What is recorded, or was, in words.
    Recording(String),
    /// Which processes have labels.
    Labels(LabelledProcesses),
    /// The labels that were taken from a process.
    Cleared(Vec<String>),
    /// The question is none, or was refused.
    Refused(String),
}
