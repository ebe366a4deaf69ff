//! A plugin's way out: its actions to the ledger, its alerts and refusals to the outputs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use krsi_plugin_schema::latest::{OnStop, ProcessKey, RecordRef, RuleKey};
use parking_lot::MutexGuard as TurnGuard;

use super::bounds;
use super::clock;
use super::grant_cell::GrantCell;
use super::mailbox::{Mailbox, ReaderChange};
use super::report;
use super::sampler::Sampler;
use super::shared::Shared;
use super::steward::Command;
use super::version::Version;
use crate::loss::Loss;
use crate::output::{
    AlertReport, EvidenceReport, FailureReport, RefusalReport, Report, RuleReport,
};
use crate::plugin::{ActionSink, CallError, Manifest, Next, ShadowSink};
use crate::policy::{
    ActionContext, Applied, Kinship, MetricTotals, Principal, RaisedAlert, Undeclared, apply,
};
use crate::route::queue::{Batch, Queue};
use crate::route::subscription::PluginSlot;

/// Bytes of descriptions that a plugin is handed at a time.
const INTRODUCTION_BYTES: usize = 256 << 10;

/// Counts of a plugin's actions.
#[derive(Debug, Default)]
pub(super) struct PluginCounts {
    alerts: AtomicU64,
    rules: AtomicU64,
    refused: AtomicU64,
    metrics: Mutex<MetricTotals>,
}

impl PluginCounts {
    /// Alerts, rules and refusals.
    pub(super) fn read(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.alerts), read(&self.rules), read(&self.refused))
    }

    /// Values of its metrics, by name.
    pub(super) fn metrics(&self) -> BTreeMap<String, f64> {
        self.totals().by_name().clone()
    }

    fn totals(&self) -> MutexGuard<'_, MetricTotals> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all versions of a plugin have in common.
#[derive(Clone)]
pub(super) struct PluginCommon {
    pub(super) slot: u8,
    pub(super) queue: Arc<Queue>,
    pub(super) words: Arc<GrantCell>,
    pub(super) counts: Arc<PluginCounts>,
    pub(super) sampler: Arc<Sampler>,
    pub(super) steward: Sender<Command>,
}

/// Where the actions of one version of a plugin go.
pub(super) struct PolicySink {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    common: PluginCommon,
    version: Version,
    principal: Principal,
    on_stop: OnStop,
}

impl PolicySink {
    pub(super) fn new(
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
        common: PluginCommon,
        version: Version,
        manifest: &Manifest,
    ) -> Self {
        let (name, grant) = (manifest.name.as_str().into(), version.grant(common.words.spec()));
        let principal = Principal::new(common.slot, name, manifest.schema, grant);
        Self { shared, mailbox, common, version, principal, on_stop: manifest.on_stop }
    }

    /// Has its events sent to the plugin's queue from the next drain on.
    fn subscribe(&self) {
        let PluginCommon { slot, queue, .. } = &self.common;
        let subscription = self.version.subscription(*slot, &self.principal.grant, queue);
        self.mailbox.post(ReaderChange::Subscribe(subscription));
    }

    fn send_to_steward(&self, command: Command) {
        // A steward that has ended lets plugins finish.
        let _sent = self.common.steward.send(command);
    }

    /// Applies actions; those of `init` replace the earlier ones of `init`.
    fn execute(&mut self, actions: &[u8], init: bool) -> Vec<u8> {
        let now_boot_ns = clock::boot_ns();
        let words = Arc::clone(&self.common.words);
        // What the operator says does not change within a list of actions.
        let held = words.hold();
        let word = words.spec();
        let scope = word.scope.clone();
        if word != *self.principal.grant.spec() {
            self.principal.set_grant(self.version.grant(word));
        }
        let exists = |key: ProcessKey| self.shared.is_running(key);
        let descendants = |key: ProcessKey| self.shared.processes().descendants(key);
        let within = |key: ProcessKey| {
            self.shared.processes().get(key).is_some_and(|process| scope.holds(process))
        };
        let running = |key: &RuleKey| self.shared.running(key);
        let kinship = Kinship { exists: &exists, descendants: &descendants, running: &running };
        let machine = &self.shared.machine;
        let bounds = bounds::of(&scope);
        let sampling = &self.common.sampler;
        let context =
            ActionContext { now_boot_ns, kinship, machine, within: &within, bounds, sampling };
        let turns = &self.shared.turns;
        if init {
            self.declare_labels(Undeclared::Stay);
        }
        let mut applied = apply(turns, &mut self.principal, actions, context);
        if init {
            turns.withdraw_init(self.principal.slot, &applied.init_tokens, now_boot_ns);
        }
        TurnGuard::unlock_fair(held);
        let in_force_boot_ns = clock::boot_ns();
        self.report_lineages(&applied);
        for rule in &applied.rules {
            if (1..=in_force_boot_ns).contains(&rule.cause_boot_ns) {
                applied.delays_ns.push(in_force_boot_ns - rule.cause_boot_ns);
            }
            self.shared.report(Report::Rule(RuleReport {
                unix_ns: clock::unix_ns(rule.created_boot_ns),
                rule_id: rule.rule_id,
                plugin: rule.plugin.to_string(),
                text: rule.to_string(),
                reason: rule.reason.clone(),
            }));
        }
        self.report_applied(&applied, now_boot_ns);
        applied.outcomes
    }

    /// Has the plugin own the labels of this version.
    fn declare_labels(&self, others: Undeclared) {
        let Principal { plugin, grant, .. } = &self.principal;
        let labels = &grant.may().labels;
        let declared =
            self.shared.turns.turn(|ledger| ledger.declare_labels(plugin, labels, others));
        if let Err(error) = declared {
            self.shared.note(format!("{plugin}: its labels are not in force: {error}"));
        }
    }

    /// Says that a rule on a lineage may miss processes that the full table could not tell.
    fn report_lineages(&self, applied: &Applied) {
        let mut rules = applied.rules.iter().filter(|rule| rule.of_lineage).peekable();
        if rules.peek().is_none() {
            return;
        }
        let outside = self.shared.processes().counts().outside;
        for rule in rules.filter(|_| outside > 0) {
            self.shared.note(format!(
                "{}: rule {} on a lineage may miss descendants: {outside} processes run that the full process \
                 table does not hold",
                rule.plugin, rule.rule_id
            ));
        }
    }

    /// What becomes of the rules of a plugin that is given up, in words.
    fn give_up(&self) -> String {
        self.mailbox.post(ReaderChange::Unsubscribe(PluginSlot(self.principal.slot)));
        self.common.sampler.end_all();
        match self.on_stop {
            OnStop::Keep => "quarantined; its rules stay in force until they expire".to_owned(),
            OnStop::Clear => {
                let ended = self.shared.turns.withdraw(self.principal.slot, clock::boot_ns());
                format!("quarantined; its {ended} rules were withdrawn")
            }
        }
    }

    fn report_applied(&self, applied: &Applied, now_boot_ns: u64) {
        let unix_ns = clock::unix_ns(now_boot_ns);
        let plugin = self.principal.plugin.to_string();
        for alert in &applied.alerts {
            self.shared.report(Report::Alert(self.alert(alert, unix_ns)));
        }
        for refused in &applied.refused {
            self.shared.report(Report::Refusal(RefusalReport {
                unix_ns,
                plugin: plugin.clone(),
                token: refused.token,
                reason: refused.detail.clone(),
            }));
        }
        self.shared.losses.add(Loss::Rate, applied.alerts_dropped);
        let count =
            |count: &AtomicU64, more: usize| count.fetch_add(more as u64, Ordering::Relaxed);
        count(&self.common.counts.alerts, applied.alerts.len());
        count(&self.common.counts.rules, applied.rules.len());
        count(&self.common.counts.refused, applied.refused.len());
        if !applied.metrics.is_empty() {
            self.common.counts.totals().add(&applied.metrics);
        }
        count(&self.shared.rules, applied.rules.len());
        self.shared.map_full.fetch_add(applied.map_full, Ordering::Relaxed);
        self.shared.delays(&applied.delays_ns);
    }

    fn alert(&self, alert: &RaisedAlert, unix_ns: i64) -> AlertReport {
        let processes = self.shared.processes();
        let exe = processes.get(alert.process).map(|process| process.exe.clone().into_owned());
        AlertReport {
            unix_ns,
            plugin: self.principal.plugin.to_string(),
            technique: alert.technique.clone(),
            severity: report::severity(alert.severity),
            tgid: alert.process.tgid,
            exe: exe.unwrap_or_default(),
            text: alert.text.clone(),
            evidence: alert
                .evidence
                .iter()
                .map(|(what, weight)| EvidenceReport { what: what.clone(), weight: *weight })
                .collect(),
        }
    }
}

impl ActionSink for PolicySink {
    fn begin(&mut self, actions: &[u8]) -> Vec<u8> {
        self.execute(actions, true)
    }

    fn apply(&mut self, actions: &[u8]) -> Vec<u8> {
        self.execute(actions, false)
    }

    fn note_files(&mut self, batch: &Batch) {
        self.principal.note(batch);
    }

    fn failed(&mut self, why: &CallError, next: Next) {
        let now_boot_ns = clock::boot_ns();
        let rules = match next {
            Next::Quarantine => self.give_up(),
            Next::FallBack => {
                let (slot, failed) = (self.common.slot, self.version.number);
                self.send_to_steward(Command::FellBack { slot, failed });
                "the version before runs on".to_owned()
            }
            Next::RestartAt { boot_ns } => {
                let wait_ms = boot_ns.saturating_sub(now_boot_ns) / 1_000_000;
                format!(
                    "restarted from its last checkpoint in {wait_ms} ms; its rules stay in force"
                )
            }
            Next::Go | Next::EndProbation => String::new(),
        };
        self.shared.report(Report::Failure(FailureReport {
            unix_ns: clock::unix_ns(now_boot_ns),
            plugin: self.principal.plugin.to_string(),
            reason: why.to_string(),
            rules,
            backtrace: why.backtrace().to_vec(),
        }));
    }

    fn version(&self) -> u64 {
        self.version.number
    }

    fn back(&mut self) {
        self.declare_labels(Undeclared::Stay);
        self.subscribe();
    }

    fn probation_ended(&mut self) {
        self.declare_labels(Undeclared::End);
        let (slot, version) = (self.common.slot, self.version.number);
        self.send_to_steward(Command::ProbationEnded { slot, version });
    }

    fn told(&mut self) -> Vec<u8> {
        self.common.words.take()
    }

    fn note(&mut self, text: &str) {
        self.shared.note(format!("{}: {text}", self.principal.plugin));
    }

    fn processes(&self) -> Vec<Vec<u8>> {
        let scope = &self.principal.grant.spec().scope;
        let mut lists = vec![Vec::new()];
        for process in self.shared.processes().iter().filter(|process| scope.holds(process)) {
            if lists.last().is_some_and(|list| list.len() > INTRODUCTION_BYTES) {
                lists.push(Vec::new());
            }
            if let Some(list) = lists.last_mut() {
                // Descriptions are bounded well below a frame by the process table.
                let _fits = RecordRef::Process(process).push(list);
            }
        }
        lists
    }

    fn now(&self) -> (u64, i64) {
        (clock::boot_ns(), clock::unix_offset_ns())
    }
}

/// Tells how a shadow differs.
pub(super) struct ShadowReports {
    pub(super) shared: Arc<Shared>,
    pub(super) plugin: String,
    pub(super) version: String,
    /// Differences that may still be told this second, and which second.
    pub(super) told: (u64, u32),
}

/// Batches with differences that are told in a second; all are counted.
const DIFFERENCES_PER_SECOND: u32 = 10;

impl ShadowSink for ShadowReports {
    fn differs(&mut self, lines: &[String]) {
        let second = clock::boot_ns() / 1_000_000_000;
        if self.told.0 != second {
            self.told = (second, 0);
        }
        self.told.1 += 1;
        if self.told.1 > DIFFERENCES_PER_SECOND {
            return;
        }
        let (plugin, version) = (&self.plugin, &self.version);
        for line in lines {
            self.shared.note(format!("{plugin}: shadow {version} differs: {line}"));
        }
    }

    fn failed(&mut self, why: &CallError) {
        let (plugin, version) = (&self.plugin, &self.version);
        self.shared.note(format!("{plugin}: shadow {version} failed and is gone: {}", why.whole()));
    }
}
