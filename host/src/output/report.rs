//! What is reported: alerts, verdicts, rules, refusals, failures, and the closing summary.
//!
//! Ids and times have more digits than the numbers of many JSON readers: they are written as texts.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize, Serializer};

use super::value::{CallObject, FieldValue};

fn as_text<S: Serializer>(number: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}

fn as_text_if_any<S: Serializer>(number: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => as_text(number, to),
        None => to.serialize_none(),
    }
}

/// One thing to tell. `unix_ns` are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Report {
    /// The host is ready, or something about it changed.
    Note(NoteReport),
    /// A plugin raised an alert.
    Alert(AlertReport),
    /// A call was denied, or would have been.
    Verdict(VerdictReport),
    /// A call that a watch of the administrator's matched.
    Watch(WatchReport),
    /// A rule is in force.
    Rule(RuleReport),
    RuleEnd(RuleEndReport),
    /// A plugin's action was refused.
    Refusal(RefusalReport),
    /// A plugin was stopped.
    Failure(FailureReport),
    /// The host's last word.
    Summary(Summary),
}

/// A line about the host itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoteReport {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    pub text: String,
}

/// A detection by a plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertReport {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    /// Name of the plugin.
    pub plugin: String,
    /// MITRE ATT&CK technique; empty without one.
    pub technique: String,
    /// `info`, `low`, `medium`, `high` or `critical`.
    pub severity: &'static str,
    /// Process id, 0 without a process.
    pub tgid: u32,
    /// Executable of the process; empty when unknown.
    pub exe: String,
    /// The plugin's text about it.
    pub text: String,
    /// What the alert stands on, as far as the plugin says; empty if it does not.
    pub evidence: Vec<EvidenceReport>,
}

/// A piece of evidence of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceReport {
    /// Observation, in the plugin's words.
    pub what: String,
    /// Weight of the evidence, in the plugin's own measure.
    pub weight: u32,
}

/// A call that a rule decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerdictReport {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    /// Verdict of the rule: `denied` or `audited`.
    pub verdict: &'static str,
    /// The kernel's name of the hook.
    pub hook: String,
    /// Name of the errno.
    pub errno: String,
    /// What was acted upon: a path, an address, or the fields of the call.
    pub object: CallObject,
    /// Process id of the caller.
    pub tgid: u32,
    /// User id of the caller.
    pub uid: u32,
    /// Name of the calling thread.
    pub comm: String,
    /// Executable of the caller; empty when unknown.
    pub exe: String,
    /// Cgroup of the caller; empty when unknown.
    pub cgroup: String,
    /// Labels that the caller had before the call.
    pub labels: Vec<String>,
    /// Id of the rule that decided.
    #[serde(serialize_with = "as_text")]
    pub rule_id: u64,
    /// Plugin that owns the rule or the watch; empty when it is no longer known.
    pub plugin: String,
    /// Reason of the rule, in the plugin's words.
    pub reason: String,
    /// Until when, nanoseconds since the Unix epoch; `None` for no end.
    #[serde(serialize_with = "as_text_if_any")]
    pub until_unix_ns: Option<i64>,
    /// Kind of what decided the call, such as a rule.
    pub decided_by: Decider,
    /// How the rule ended since; empty while it is in force, and without one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ending: String,
}

/// What decided a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// A plugin's rule.
    Rule,
    /// The predicate of a watch.
    Watch,
    /// What the operator has calls answered by whose object cannot be read.
    OnError,
    /// A label for which there was no room.
    Label,
}

/// A call that a watch matched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WatchReport {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    /// Place of the watch on the command line, from 0.
    pub watch: u16,
    /// The kernel's name of the hook.
    pub hook: String,
    /// Values that were read, by field.
    pub fields: Vec<(String, FieldValue)>,
    /// `denied`, `audited`, or empty.
    pub verdict: &'static str,
    /// Process id of the caller.
    pub tgid: u32,
    /// User id of the caller.
    pub uid: u32,
    /// Name of the calling thread.
    pub comm: String,
    /// Executable of the caller; empty when unknown.
    pub exe: String,
    /// Labels that the caller had before the call.
    pub labels: Vec<String>,
    /// Labels that the call gave.
    pub gave_labels: Vec<String>,
}

/// A rule that came into force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleReport {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    #[serde(serialize_with = "as_text")]
    pub rule_id: u64,
    /// The plugin that owns the rule.
    pub plugin: String,
    /// Effect of the rule, in words.
    pub text: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleEndReport {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    #[serde(serialize_with = "as_text")]
    pub rule_id: u64,
    /// The plugin whose rule it was.
    pub plugin: String,
    /// Effect of the rule, in words.
    pub text: String,
    /// Reason of the rule, in the plugin's words.
    pub reason: String,
    /// End of the rule, in words.
    pub ending: String,
    /// Calls that it decided.
    pub hits: u64,
}

/// An action that was refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefusalReport {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    pub plugin: String,
    /// Token of the action.
    pub token: u32,
    pub reason: String,
}

/// A plugin that was stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureReport {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    /// Name of the plugin.
    pub plugin: String,
    pub reason: String,
    /// Consequence for the plugin and its rules.
    pub rules: String,
    /// Where it was, the innermost frame first; empty where that is not known.
    pub backtrace: Vec<String>,
}

/// Counts of one hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HookSummary {
    pub hook: String,
    /// Calls in which somebody wanted something.
    pub seen: u64,
    /// Records that were read and decoded.
    pub delivered: u64,
    /// Calls that no filter and no rule wanted a record of.
    pub filtered: u64,
    /// Records lost: those of the two rings, and those that did not decode.
    pub lost: u64,
    /// Records that found the ring of telemetry full.
    pub lost_telemetry: u64,
    /// Records that found the ring of denials and audits full; what they tell of stood.
    pub lost_verdicts: u64,
    /// Records that did not decode.
    pub undecoded: u64,
    /// Events that were too long for a plugin's batch.
    pub too_long: u64,
    /// Records that the rings lost, for each CPU with losses.
    pub lost_by_cpu: Vec<(u32, u64)>,
    /// Calls without record or verdict, as the program ran on that CPU already (`recursion_misses`).
    pub missed: u64,
    /// Delivered records with a path or another text that is cut or not resolved in full.
    pub cut: u64,
    /// Processes that were forked without the marks of their lineage, as there was no room for them: no rule
    /// on the lineage holds for them.
    pub lost_marks: u64,
    /// Exempt processes to which rules apply, because the map of exemptions is full.
    pub lost_exempt: u64,
    /// Labels that found no room.
    pub lost_labels: u64,
    /// Calls whose arguments could not be captured.
    pub skipped: u64,
    /// Calls denied.
    pub denied: u64,
    /// Calls an audit rule applied to.
    pub audited: u64,
    /// Calls whose rule could not be checked and was answered by its word on errors.
    pub errors: u64,
}

/// What the witness saw at one hook: what all LSMs together answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Witnessed {
    pub hook: String,
    /// Calls that came to an end.
    pub calls: u64,
    /// Calls that any LSM refused.
    pub refused: u64,
    /// Calls that this host's rules and watches refused.
    pub denied: u64,
    /// Calls that the witness missed because it was preempted (`recursion_misses`).
    pub missed: u64,
}

/// Counts of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PluginSummary {
    pub plugin: String,
    pub version: String,
    /// The stage of the plugin's life.
    pub state: String,
    /// Records it was given.
    pub records: u64,
    /// Records its queue had no room for.
    pub lost_queue: u64,
    /// Records it failed on or that came after its end.
    pub lost_plugin: u64,
    /// Alerts that the plugin raised.
    pub alerts: u64,
    /// Rules it put in force.
    pub rules: u64,
    /// Actions of its that were refused.
    pub refused: u64,
    /// Calls into the plugin that failed.
    pub faults: u64,
    /// Times that it was started again after one.
    pub restarts: u64,
    /// Duration of the latest restart, microseconds.
    pub restart_us: u64,
    /// New versions that took over.
    pub swaps: u64,
    /// Lines of its log that were dropped.
    pub log_dropped: u64,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Values of its metrics, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// What the table of processes could not hold or was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessCounts {
    /// Processes that were forgotten before their time, for want of room.
    pub dropped: u64,
    /// Processes that run outside the table, as far as is known: new rules on lineages miss them.
    pub outside: u64,
    /// Processes whose end was found out without its record.
    pub ghosts: u64,
    /// Processes whose start was found out without its record.
    pub strangers: u64,
}

impl Display for ProcessCounts {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { dropped, outside, ghosts, strangers } = self;
        write!(
            formatter,
            "processes: {dropped} dropped from the full table, {outside} running outside it; {ghosts} exits and \
             {strangers} starts detected without their record"
        )
    }
}

/// The summary of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    #[serde(serialize_with = "as_text")]
    pub unix_ns: i64,
    /// A summary of each hook that was attached.
    pub hooks: Vec<HookSummary>,
    /// Counts of the witness at each hook, with `--witness`.
    pub witness: Vec<Witnessed>,
    /// A summary of each plugin.
    pub plugins: Vec<PluginSummary>,
    /// Losses in the host, by place.
    pub lost: Vec<(&'static str, u64)>,
    /// Rules put in force.
    pub rules: u64,
    /// Rules refused because a rule map was full; what was in force stayed.
    pub map_full: u64,
    /// Counts of the process table.
    pub processes: ProcessCounts,
    /// The backend: `lsm`, `fmod_ret` or `observe`.
    pub backend: &'static str,
    /// Calls that a program missed because it was preempted (`recursion_misses`).
    pub missed: u64,
    /// Median of the delay from a hook's call to the rule it caused, nanoseconds.
    pub delay_p50_ns: u64,
    /// 99th percentile of that delay, nanoseconds.
    pub delay_p99_ns: u64,
}
