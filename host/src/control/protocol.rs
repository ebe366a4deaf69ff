//! What can be asked of a running host, and what it answers: JSON, one line each.

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
    /// What runs, and how it is.
    Status,
    /// Load plugins from their files again.
    Reload {
        /// Which; every one without a name.
        plugin: Option<String>,
        /// Whether a manifest that asks for more than before is granted it.
        accept: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// What runs.
    Status(Box<Status>),
    /// What became of each plugin.
    Reloaded(Vec<Result<String, String>>),
    /// The question is none.
    Refused(String),
}
