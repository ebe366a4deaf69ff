//! Reports on plugins that run: their status while they do, their counts at the end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::roster::Entry;
use super::shared::Shared;
use crate::output::{PluginStatus, PluginSummary, ShadowStatus};
use crate::policy::Asked;
use crate::route::scope::Scope;

/// What is shown of the plugins while the roster is busy.
#[derive(Clone)]
pub(super) struct StatusReader(pub(super) Arc<Mutex<Vec<Entry>>>, pub(super) Arc<Shared>);

impl StatusReader {
    /// Every plugin as it is now.
    pub(super) fn status(&self) -> Vec<PluginStatus> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<PluginStatus> =
            entries.iter().map(|entry| status(entry, &self.1)).collect();
        all.sort_by(|a, b| a.plugin.cmp(&b.plugin));
        all
    }
}

/// Counts of a plugin.
pub(super) fn summary(entry: &Entry) -> PluginSummary {
    let (alerts, rules, refused) = entry.counts.read();
    let (stats, about) = (entry.worker.stats(), entry.worker.about());
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    PluginSummary {
        plugin: entry.name.clone(),
        version: about.manifest.version.clone(),
        state: stats.state().name().to_owned(),
        records: count(&stats.records),
        lost_queue: entry.worker.queue().lost(),
        lost_plugin: count(&stats.lost),
        alerts,
        rules,
        refused,
        faults: count(&stats.faults),
        restarts: count(&stats.restarts),
        restart_us: count(&stats.restart_us),
        swaps: count(&stats.swaps),
        log_dropped: count(&stats.log_dropped),
        sha256: about.identity.sha256.clone(),
        metrics: entry.counts.metrics(),
    }
}

fn status(entry: &Entry, shared: &Shared) -> PluginStatus {
    let sum = summary(entry);
    let (about, stats) = (entry.worker.about(), entry.worker.stats());
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let grant = entry.grant();
    let mut may = grant.may().beyond(&Asked::default());
    if grant.spec().content {
        may.push("capture what processes send".into());
    }
    PluginStatus {
        plugin: sum.plugin,
        version: sum.version,
        state: sum.state,
        file: entry.spec.file.display().to_string(),
        sha256: sum.sha256,
        signed_by: about.identity.signed_by.clone(),
        contract: about.identity.contract.clone(),
        scope: match &grant.spec().scope {
            Scope::System => "system".into(),
            scope => scope.to_string(),
        },
        may,
        rules: shared.ledger().owned(entry.slot) as u64,
        waiting: entry.worker.queue().depth() as u64,
        records: sum.records,
        lost_queue: sum.lost_queue,
        lost_plugin: sum.lost_plugin,
        faults: sum.faults,
        restarts: sum.restarts,
        swaps: sum.swaps,
        metrics: sum.metrics,
        shadow: entry.shadow.clone().map(|version| ShadowStatus {
            version,
            same: count(&stats.shadow.same),
            different: count(&stats.shadow.different),
            skipped: count(&stats.shadow.skipped),
        }),
    }
}
