//! What is reported: alerts, verdicts, rules, refusals, failures, and the closing summary.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

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
    /// When.
    pub unix_ns: i64,
    /// What.
    pub text: String,
}

/// A detection by a plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertReport {
    /// When.
    pub unix_ns: i64,
    /// Which plugin.
    pub plugin: String,
    /// MITRE ATT&CK technique; empty without one.
    pub technique: String,
    /// `info`, `low`, `medium`, `high` or `critical`.
    pub severity: &'static str,
    /// Process id, 0 without a process.
    pub tgid: u32,
    /// Its executable; empty when unknown.
    pub exe: String,
    /// What was seen.
    pub text: String,
}

/// A call that a rule decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerdictReport {
    /// When.
    pub unix_ns: i64,
    /// `denied` or `audited`.
    pub verdict: &'static str,
    /// Which hook.
    pub hook: String,
    /// Name of the errno.
    pub errno: String,
    /// What was acted upon: a path or an address.
    pub object: String,
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
    /// Rule that decided.
    pub rule_id: u64,
    /// Plugin that owns the rule; empty when the rule is no longer known.
    pub plugin: String,
    /// Why the rule exists.
    pub reason: String,
    /// Until when, nanoseconds since the Unix epoch; `None` for no end.
    pub until_unix_ns: Option<i64>,
}

/// A call that a watch matched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WatchReport {
    /// When.
    pub unix_ns: i64,
    /// Place of the watch on the command line, from 0.
    pub watch: u16,
    /// Which hook.
    pub hook: String,
    /// What was read, by field; a field that could not be read says why.
    pub fields: Vec<(String, String)>,
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
}

/// A rule that came into force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleReport {
    /// When.
    pub unix_ns: i64,
    /// Its id.
    pub rule_id: u64,
    /// Who owns it.
    pub plugin: String,
    /// What it does, in words.
    pub text: String,
    /// Why.
    pub reason: String,
}

/// An action that was refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefusalReport {
    /// When.
    pub unix_ns: i64,
    /// Whose action.
    pub plugin: String,
    /// Token of the action.
    pub token: u32,
    /// Why.
    pub reason: String,
}

/// A plugin that was stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureReport {
    /// When.
    pub unix_ns: i64,
    /// Which.
    pub plugin: String,
    /// Why, with a backtrace where there is one.
    pub reason: String,
    /// What becomes of its rules.
    pub rules: String,
}

/// Counts of one hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HookSummary {
    /// Its name.
    pub hook: String,
    /// Calls in which somebody wanted something.
    pub seen: u64,
    /// Records that were read and decoded.
    pub delivered: u64,
    /// Calls without a record, by rule.
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
    /// What the rings lost by CPU, where anything was.
    pub lost_by_cpu: Vec<(u32, u64)>,
    /// Calls without record or verdict, as the program ran on that CPU already (`recursion_misses`).
    pub missed: u64,
    /// Delivered records with a path or another text that is cut or not resolved in full.
    pub cut: u64,
    /// Processes that were forked without the marks of their lineage, as there was no room for them: no rule
    /// on the lineage holds for them.
    pub lost_marks: u64,
    /// Processes that are exempt from rules, and are judged by them, as there was no room to note them.
    pub lost_exempt: u64,
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
    /// Its name.
    pub hook: String,
    /// Calls that came to an end.
    pub calls: u64,
    /// Those that were refused, whoever did.
    pub refused: u64,
    /// Those that this host's rules and watches refused.
    pub denied: u64,
    /// Calls that the witness missed because it was preempted (`recursion_misses`).
    pub missed: u64,
}

/// Counts of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PluginSummary {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Where it is in its life.
    pub state: String,
    /// Records it was given.
    pub records: u64,
    /// Records its queue had no room for.
    pub lost_queue: u64,
    /// Records it failed on or that came after its end.
    pub lost_plugin: u64,
    /// Alerts it raised.
    pub alerts: u64,
    /// Rules it put in force.
    pub rules: u64,
    /// Actions of its that were refused.
    pub refused: u64,
    /// Calls that failed.
    pub faults: u64,
    /// Times that it was started again after one.
    pub restarts: u64,
    /// How long the last of these took, microseconds.
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
            "processes: {dropped} dropped from the full table, {outside} that run outside it; {ghosts} ends and \
             {strangers} starts found out without their record"
        )
    }
}

/// What a whole run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// When.
    pub unix_ns: i64,
    /// Every attached hook.
    pub hooks: Vec<HookSummary>,
    /// What the witness saw, with `--witness`.
    pub witness: Vec<Witnessed>,
    /// Every plugin.
    pub plugins: Vec<PluginSummary>,
    /// Losses in the host, by place.
    pub lost: Vec<(&'static str, u64)>,
    /// Rules put in force.
    pub rules: u64,
    /// Rules refused because a rule map was full; what was in force stayed.
    pub map_full: u64,
    /// What was counted of processes.
    pub processes: ProcessCounts,
    /// How hooks were met: `lsm`, `fmod_ret` or `observe`.
    pub backend: &'static str,
    /// Calls that a program missed because it was preempted (`recursion_misses`).
    pub missed: u64,
    /// Median of the delay from a hook's call to the rule it caused, nanoseconds.
    pub delay_p50_ns: u64,
    /// 99th percentile of that delay, nanoseconds.
    pub delay_p99_ns: u64,
}
