//! Questions to a running host and its answers: JSON, one line each.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::output::Status;

/// Longest question, bytes.
pub(super) const QUERY_MAX: usize = 4 << 10;
/// Longest answer, bytes.
pub(super) const ANSWER_MAX: u64 = 1 << 20;
/// Bytes of processes and their labels in an answer: fewer than it may have.
const LABELLED_MAX: usize = 900 << 10;

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

impl LabelledProcesses {
    /// As many of some processes as one answer has room for, in order of their ids.
    pub(crate) fn fitting(mut processes: BTreeMap<u32, Vec<String>>) -> Self {
        let mut room = LABELLED_MAX;
        let mut fits = |labels: &Vec<String>| {
            // With what JSON adds to each name and process.
            let bytes = labels.iter().map(|label| label.len() + 3).sum::<usize>() + 16;
            room.checked_sub(bytes).map(|left| room = left).is_some()
        };
        let kept = processes.values().take_while(|labels| fits(labels)).count();
        let more = processes.len() - kept;
        while processes.len() > kept {
            processes.pop_last();
        }
        Self { processes, more }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// State of the host and of its plugins.
    Status(Box<Status>),
    /// The result for each plugin.
    Reloaded(Vec<Result<String, String>>),
    /// State or result of a recording, in words.
    Recording(String),
    /// Which processes have labels.
    Labels(LabelledProcesses),
    /// The labels that were taken from a process.
    Cleared(Vec<String>),
    /// The question is none, or was refused.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_many_processes_fit_one_answer_and_the_rest_is_counted() {
        let labels = |count| vec![format!("{}.{}", "p".repeat(64), "l".repeat(32)); count];
        let few = LabelledProcesses::fitting([(7, labels(1))].into());
        assert_eq!((few.processes.len(), few.more), (1, 0));
        let many = LabelledProcesses::fitting((0..4096).map(|pid| (pid, labels(16))).collect());
        assert_eq!(many.processes.len() + many.more, 4096);
        assert!(many.processes.contains_key(&0) && many.more > 0);
        let answer = serde_json::to_vec(&Answer::Labels(many)).unwrap();
        assert!(answer.len() as u64 <= ANSWER_MAX, "{}", answer.len());
    }
}
