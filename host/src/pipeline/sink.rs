//! A plugin's way out: its actions to the ledger, its alerts and refusals to the outputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use krsi_plugin_schema::latest::ProcessKey;

use super::clock;
use super::report;
use super::shared::Shared;
use crate::loss::Loss;
use crate::output::{AlertReport, FailureReport, RefusalReport, Report, RuleReport};
use crate::plugin::{ActionSink, CallError, Manifest, OnStop};
use crate::policy::{
    Applied, Asked, DenyKeys, Grant, Kinship, Principal, RaisedAlert, Surroundings, apply,
};

/// What a plugin did.
#[derive(Debug, Default)]
pub(super) struct Counts {
    alerts: AtomicU64,
    rules: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    /// Alerts, rules and refusals.
    pub(super) fn read(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.alerts), read(&self.rules), read(&self.refused))
    }
}

/// Where a plugin's actions go.
pub(super) struct PolicySink {
    shared: Arc<Shared>,
    principal: Principal,
    on_stop: OnStop,
    counts: Arc<Counts>,
}

impl PolicySink {
    pub(super) fn new(
        shared: Arc<Shared>,
        slot: u8,
        manifest: &Manifest,
        may_kill: bool,
        counts: Arc<Counts>,
    ) -> Self {
        let keys = [DenyKeys::PROCESS, DenyKeys::LINEAGE, DenyKeys::FILE, DenyKeys::NETWORK];
        let asked = keys.into_iter().zip(manifest.deny_keys).filter(|(_, asked)| *asked);
        let deny_keys = asked.fold(DenyKeys::default(), |all, (key, _)| all.with(key));
        let asked = Asked { deny_keys, deny_hooks: manifest.deny_hooks, kill: manifest.kill };
        let grant = Grant::default_for(asked).with_kill(may_kill);
        let principal = Principal::new(slot, manifest.name.as_str().into(), grant);
        Self { shared, principal, on_stop: manifest.on_stop, counts }
    }

    fn tell(&self, applied: &Applied, now_boot_ns: u64) {
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
        self.shared.losses.add(Loss::Output, applied.alerts_dropped);
        let count =
            |count: &AtomicU64, more: usize| count.fetch_add(more as u64, Ordering::Relaxed);
        count(&self.counts.alerts, applied.alerts.len());
        count(&self.counts.rules, applied.rules.len());
        count(&self.counts.refused, applied.refused.len());
        count(&self.shared.rules, applied.rules.len());
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
        }
    }
}

impl ActionSink for PolicySink {
    fn apply(&mut self, actions: &[u8]) -> Vec<u8> {
        let now_boot_ns = clock::boot_ns();
        let mut ledger = self.shared.ledger();
        let exists = |key: ProcessKey| self.shared.processes().is_running(key);
        let descendants = |key: ProcessKey| self.shared.processes().descendants(key);
        let kinship = Kinship { exists: &exists, descendants: &descendants };
        let around = Surroundings { now_boot_ns, kinship };
        let mut applied = apply(&mut ledger, &mut self.principal, actions, around);
        let in_force_boot_ns = clock::boot_ns();
        for rule in applied.rules.iter().filter_map(|rule| ledger.explain(*rule)) {
            if (1..=in_force_boot_ns).contains(&rule.cause_boot_ns) {
                applied.delays_ns.push(in_force_boot_ns - rule.cause_boot_ns);
            }
            self.shared.report(Report::Rule(RuleReport {
                unix_ns: clock::unix_ns(rule.created_boot_ns),
                rule_id: rule.rule_id,
                plugin: rule.plugin.to_string(),
                text: rule.to_string(),
                reason: rule.reason,
            }));
        }
        drop(ledger);
        self.tell(&applied, now_boot_ns);
        applied.outcomes
    }

    fn failed(&mut self, why: &CallError) {
        let now_boot_ns = clock::boot_ns();
        let rules = match self.on_stop {
            OnStop::Keep => "its rules stand until they expire".to_owned(),
            OnStop::Clear => {
                let ended = self.shared.ledger().withdraw(self.principal.slot, now_boot_ns);
                format!("its {} rules were withdrawn", ended.len())
            }
        };
        self.shared.report(Report::Failure(FailureReport {
            unix_ns: clock::unix_ns(now_boot_ns),
            plugin: self.principal.plugin.to_string(),
            reason: why.to_string(),
            rules,
        }));
    }

    fn now(&self) -> (u64, i64) {
        (clock::boot_ns(), clock::unix_offset_ns())
    }
}
