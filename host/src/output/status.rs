//! Status of a running host, of its hooks and of its plugins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ProcessCounts;

/// What becomes of reports and of the host's own log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutputStatus {
    /// Reports that wait for standard output.
    pub(crate) waiting: u64,
    /// Reports beyond the rate of their kind.
    pub(crate) left_out: u64,
    /// Reports that standard output could not take in time.
    pub(crate) lost: u64,
    /// For how many seconds it has taken nothing; 0 while it does.
    pub(crate) stalled_s: u64,
    /// Lines of the host's log that standard error could not take in time.
    pub(crate) log_lost: u64,
}

/// A plugin, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PluginStatus {
    /// Name of the plugin.
    pub(crate) plugin: String,
    pub(crate) version: String,
    /// The stage of the plugin's life.
    pub(crate) state: String,
    /// The plugin's Wasm file.
    pub(crate) file: String,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
    /// Id of the key that signed it; `None` when none was required.
    pub(crate) signed_by: Option<String>,
    /// Contract that it implements.
    pub(crate) contract: String,
    /// Part of the system that it sees.
    pub(crate) scope: String,
    /// Grant of the plugin, in words.
    pub(crate) may: Vec<String>,
    /// Rules of its that are in force.
    pub(crate) rules: u64,
    /// Records that wait for it.
    pub(crate) waiting: u64,
    /// Records that the plugin handled.
    pub(crate) records: u64,
    /// Records its queue had no room for.
    pub(crate) lost_queue: u64,
    /// Records it failed on.
    pub(crate) lost_plugin: u64,
    /// Calls into the plugin that failed.
    pub(crate) faults: u64,
    /// Times that it was started again after one.
    pub(crate) restarts: u64,
    /// New versions that took over.
    pub(crate) swaps: u64,
    /// Values of its metrics, by name.
    #[serde(default)]
    pub(crate) metrics: BTreeMap<String, f64>,
    /// The version that runs beside it, if one does.
    pub(crate) shadow: Option<ShadowStatus>,
}

/// A version that runs without effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShadowStatus {
    pub(crate) version: String,
    /// Batches in which it wanted the same.
    pub(crate) same: u64,
    /// Batches in which it did not.
    pub(crate) different: u64,
    /// Batches that were not compared.
    pub(crate) skipped: u64,
}

/// What was counted at one hook so far, by its own program and by those of its watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HookCount {
    pub(crate) hook: String,
    /// Calls in which somebody wanted something: of the program that saw the most.
    pub(crate) seen: u64,
    /// Calls denied, by all of them.
    pub(crate) denied: u64,
}

/// What was counted at one watch so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WatchCount {
    /// The plugin whose watch it is, or `administrator`.
    pub(crate) plugin: String,
    pub(crate) hook: String,
    /// Text of the watch, as it was written.
    pub(crate) watch: String,
    /// Calls of the hook while it was there.
    pub(crate) seen: u64,
    /// Calls that the watch matched, whether their record found room or not.
    pub(crate) matched: u64,
    pub(crate) denied: u64,
    /// Calls that the watch would have denied.
    pub(crate) audited: u64,
    /// Calls in which a value that the watch tests could not be read.
    pub(crate) errors: u64,
}

/// A label, and how many processes have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LabelCount {
    /// Name of the label, `plugin.name`.
    pub(crate) label: String,
    /// Processes that have the label.
    pub(crate) processes: usize,
}

/// The host, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Version of the host.
    pub(crate) version: String,
    pub(crate) kernel: String,
    /// Hooks with a live program.
    pub(crate) hooks: Vec<String>,
    /// Hooks with a live program that was not seen to be called, with the reason.
    #[serde(default)]
    pub(crate) unproven: Vec<String>,
    /// Counts of each hook with a live program.
    #[serde(default)]
    pub(crate) counts: Vec<HookCount>,
    /// Watches with a program, and what was counted at each.
    #[serde(default)]
    pub(crate) watches: Vec<WatchCount>,
    /// Labels in use.
    #[serde(default)]
    pub(crate) labels: Vec<LabelCount>,
    /// Counts of the process table.
    #[serde(default)]
    pub(crate) processes: ProcessCounts,
    /// Plugins, by name.
    pub(crate) plugins: Vec<PluginStatus>,
    /// Files that do not run.
    #[serde(default)]
    pub(crate) rejected: Vec<RejectedFile>,
    /// Reports and log lines that wait or were lost.
    #[serde(default)]
    pub(crate) output: OutputStatus,
}

/// A plugin's file, or a new version of it, that does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RejectedFile {
    pub(crate) file: String,
    /// Why, and what to do about it.
    pub(crate) reason: String,
}
