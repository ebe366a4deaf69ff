//! What a running host answers when it is asked how it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ProcessCounts;

/// What becomes of reports and of the host's own log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputStatus {
    /// Reports that wait for standard output.
    pub waiting: u64,
    /// Reports that it could not take in time.
    pub lost: u64,
    /// For how many seconds it has taken nothing; 0 while it does.
    pub stalled_s: u64,
    /// Lines of the host's log that standard error could not take in time.
    pub log_lost: u64,
}

/// One plugin, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Where it is in its life.
    pub state: String,
    /// The plugin's Wasm file.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Id of the key that signed it; `None` when none was required.
    pub signed_by: Option<String>,
    /// Contract that it implements.
    pub contract: String,
    /// Part of the system that it sees.
    pub scope: String,
    /// What it may do, in words.
    pub may: Vec<String>,
    /// Rules of its that are in force.
    pub rules: u64,
    /// Records that wait for it.
    pub waiting: u64,
    /// Records it handled.
    pub records: u64,
    /// Records its queue had no room for.
    pub lost_queue: u64,
    /// Records it failed on.
    pub lost_plugin: u64,
    /// Calls that failed.
    pub faults: u64,
    /// Times that it was started again after one.
    pub restarts: u64,
    /// New versions that took over.
    pub swaps: u64,
    /// Values of its metrics, by name.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// The version that runs beside it, if one does.
    pub shadow: Option<ShadowStatus>,
}

/// A version that runs beside, without effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// Its version.
    pub version: String,
    /// Batches in which it wanted the same.
    pub same: u64,
    /// Batches in which it did not.
    pub different: u64,
    /// Batches that were not compared.
    pub skipped: u64,
}

/// What was counted at one hook so far, by its own program and by those of its watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCount {
    /// The hook.
    pub hook: String,
    /// Calls in which somebody wanted something: of the program that saw the most.
    pub seen: u64,
    /// Calls denied, by all of them.
    pub denied: u64,
}

/// What was counted at one watch so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchCount {
    /// The plugin whose watch it is, or `administrator`.
    pub plugin: String,
    /// The hook.
    pub hook: String,
    /// As it was written.
    pub watch: String,
    /// Calls of the hook while it was there.
    pub seen: u64,
    /// Those that it matched, whether their record found room or not.
    pub matched: u64,
    /// Those that it denied.
    pub denied: u64,
    /// Those that it would have denied.
    pub audited: u64,
    /// Those in which what it tests could not be read.
    pub errors: u64,
}

/// The host, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the host.
    pub version: String,
    /// The kernel.
    pub kernel: String,
    /// Hooks with a live program.
    pub hooks: Vec<String>,
    /// Those of them that were not seen to be called, with the reason.
    #[serde(default)]
    pub unproven: Vec<String>,
    /// What was counted at each of them.
    #[serde(default)]
    pub counts: Vec<HookCount>,
    /// Watches with a program, and what was counted at each.
    #[serde(default)]
    pub watches: Vec<WatchCount>,
    /// What was counted of processes.
    #[serde(default)]
    pub processes: ProcessCounts,
    /// Plugins, by name.
    pub plugins: Vec<PluginStatus>,
    /// Files that do not run.
    #[serde(default)]
    pub rejected: Vec<RejectedFile>,
    /// What becomes of reports.
    #[serde(default)]
    pub output: OutputStatus,
}

/// A plugin's file, or a new version of it, that does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedFile {
    /// The file.
    pub file: String,
    /// Why, and what to do about it.
    pub reason: String,
}
