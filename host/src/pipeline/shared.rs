//! State that threads share: the ledger, the process table, the accounts, and the way to the outputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use krsi_host_abi::deny::TICK_NS;
use krsi_host_abi::hook::HOOK_SLOTS;
use krsi_plugin_schema::latest::{FileKey, Process, ProcessKey, RuleKey};
use parking_lot::MutexGuard as TurnGuard;

use super::hook_counts::{Counted, HookCounters};
use super::reports::Reports;
use crate::attach::published::{LossSource, Published};
use crate::attach::watches::ToldWatches;
use crate::decode::CallLayouts;
use crate::enrich::{self, ProcessTable};
use crate::kernel::map::RuleMaps;
use crate::kernel::map::prefix::PathPrefix;
use crate::loss::{Loss, Losses};
use crate::output::{NoteReport, RejectedFile, Report};
use crate::policy::{LabelNames, Ledger, Machine, PublishedLabelNames, Turns};
use crate::record::RecorderSlot;

/// Longest delay that is told apart: a minute.
const DELAY_MAX_NS: u64 = 60_000_000_000;

/// Shared by all threads. Locks are taken in the order ledger, processes, and never one per event: the reader
/// holds the table for a whole drain. Nobody holds the ledger for longer than one action takes.
pub(super) struct Shared {
    /// The ledger, a turn at a time.
    pub(super) turns: Turns<RuleMaps>,
    processes: Mutex<ProcessTable>,
    /// Made with the first delay.
    delays: Mutex<Option<Histogram<u64>>>,
    /// Losses in this process.
    pub(super) losses: Losses,
    /// Facts about this machine that make a denial broad.
    pub(super) machine: Machine,
    /// Rules put in force.
    pub(super) rules: AtomicU64,
    /// Rules refused for want of room in a map.
    pub(super) map_full: AtomicU64,
    pub(super) hook_counts: HookCounters,
    /// The way to the outputs.
    pub(super) reports: Reports,
    /// Names of the hooks that are attached, and how.
    hooks: Mutex<(Vec<String>, &'static str)>,
    /// What is attached and was not seen to be called, in words.
    unproven: Mutex<Vec<String>>,
    /// Plugin, hook, text and fields of each watch, by slot.
    watches: Mutex<Arc<ToldWatches>>,
    /// Layouts of the template program's records, by slot.
    layouts: Mutex<Arc<CallLayouts>>,
    /// Names of labels, for the labels of events.
    label_names: PublishedLabelNames,
    /// Programs whose losses are looked at.
    programs: Mutex<Arc<Vec<LossSource>>>,
    /// Files that do not run, each with the reason.
    rejected: Mutex<BTreeMap<PathBuf, String>>,
    /// Where plugins' threads find who records.
    pub(super) recorder: RecorderSlot,
}

impl Shared {
    pub(super) fn new(
        ledger: Ledger<RuleMaps>,
        processes: ProcessTable,
        machine: Machine,
        reports: Reports,
    ) -> Self {
        Self {
            label_names: ledger.published_labels(),
            turns: Turns::new(ledger),
            processes: Mutex::new(processes),
            delays: Mutex::default(),
            losses: Losses::default(),
            machine,
            rules: AtomicU64::new(0),
            map_full: AtomicU64::new(0),
            hook_counts: HookCounters::default(),
            reports,
            hooks: Mutex::default(),
            unproven: Mutex::default(),
            watches: Mutex::default(),
            layouts: Mutex::default(),
            programs: Mutex::default(),
            rejected: Mutex::default(),
            recorder: RecorderSlot::default(),
        }
    }

    /// Names of the hooks that are attached.
    pub(super) fn hooks(&self) -> Vec<String> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Processes that run a file, or what lies at a path, of a rule.
    pub(super) fn running(&self, key: &RuleKey) -> Vec<ProcessKey> {
        match key {
            RuleKey::File(file) => {
                let processes = self.processes();
                let all = processes.running().map(|process| (process.key, process.file));
                let all: Vec<(ProcessKey, FileKey)> = all.collect();
                // What is asked of `/proc` is asked without the table.
                drop(processes);
                let runs = |(key, known): &(ProcessKey, FileKey)| {
                    known.is_numbered_as(file) || enrich::runs(key.tgid, file)
                };
                all.into_iter().filter(runs).map(|(key, _)| key).collect()
            }
            RuleKey::Path { prefix, .. } => {
                let Ok(prefix) = PathPrefix::new(prefix) else { return Vec::new() };
                let runs = |process: &&Process<'static>| {
                    PathPrefix::new(&process.exe).is_ok_and(|exe| prefix.covers(&exe))
                };
                self.processes().running().filter(runs).map(|process| process.key).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the name of the backend.
    pub(super) fn backend(&self) -> &'static str {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// What is attached and was not seen to be called, in words.
    pub(super) fn unproven(&self) -> Vec<String> {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what is told of each watch, by its slot.
    pub(super) fn watches(&self) -> Arc<ToldWatches> {
        Arc::clone(&self.watches.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How records of the template program are read now.
    pub(super) fn layouts(&self) -> Arc<CallLayouts> {
        Arc::clone(&self.layouts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names of the labels in use.
    pub(super) fn label_names(&self) -> Arc<LabelNames> {
        self.label_names.now()
    }

    /// Programs whose losses are looked at.
    pub(super) fn programs(&self) -> Arc<Vec<LossSource>> {
        Arc::clone(&self.programs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what is attached now: rules on its hooks can be made, and on no others; its records are read as
    /// it says. What was not seen to be called is told, once. To be called before the programs of new slots are
    /// read, and for slots that are gone only after their last record was read.
    pub(super) fn publish(&self, published: Published) {
        let Published {
            hooks,
            backend,
            enforced,
            resolving,
            digests,
            layouts,
            watches,
            unproven,
            programs,
        } = published;
        self.machine.resolving.set(resolving);
        self.ledger().set_attached(enforced);
        self.ledger().set_digests(digests);
        *self.layouts.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(layouts);
        *self.watches.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(watches);
        self.report_unproven(unproven);
        *self.programs.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(programs);
        *self.hooks.lock().unwrap_or_else(PoisonError::into_inner) = (hooks, backend);
    }

    /// Keeps what was not seen to be called, and tells what is new of it.
    fn report_unproven(&self, unproven: Vec<String>) {
        let before = {
            let mut kept = self.unproven.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *kept, unproven.clone())
        };
        for text in unproven.iter().filter(|text| !before.contains(text)) {
            self.note(format!("attached, not proven: {text}"));
        }
    }

    pub(super) fn ledger(&self) -> TurnGuard<'_, Ledger<RuleMaps>> {
        self.turns.lock()
    }

    pub(super) fn processes(&self) -> MutexGuard<'_, ProcessTable> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a process runs. One that a full table does not hold is looked for in `/proc`.
    pub(super) fn is_running(&self, key: ProcessKey) -> bool {
        let table = self.processes();
        if table.is_running(key) {
            return true;
        }
        let may_be_outside = table.get(key).is_none() && table.counts().outside > 0;
        drop(table);
        let ticks = key.start_boot_ns / TICK_NS;
        may_be_outside
            && enrich::stat_of("/proc".as_ref(), key.tgid)
                .is_some_and(|stat| stat.start_ticks == ticks)
    }

    /// Tells something; a report that its rate does not allow, or that standard output cannot take in time, is counted.
    pub(super) fn report(&self, report: Report) {
        if let Err(loss) = self.reports.send(report) {
            self.losses.add(loss, 1);
        }
    }

    /// Tells something about the host or a plugin's life.
    pub(super) fn note(&self, text: String) {
        let unix_ns = super::clock::unix_ns(super::clock::boot_ns());
        self.report(Report::Note(NoteReport { unix_ns, text }));
    }

    /// Tells that a file does not run, and keeps that for the status.
    pub(super) fn reject(&self, file: &Path, reason: String) {
        self.rejections().insert(file.to_owned(), reason.clone());
        self.note(reason);
    }

    /// Nothing is wrong with a file any more.
    pub(super) fn accept(&self, file: &Path) {
        self.rejections().remove(file);
    }

    /// Forgets the files that do not run, but for some.
    pub(super) fn keep_rejected(&self, is_kept: impl Fn(&Path) -> bool) {
        self.rejections().retain(|file, _| is_kept(file));
    }

    /// Files that do not run, each with the reason.
    pub(super) fn rejected(&self) -> Vec<RejectedFile> {
        let row = |(file, reason): (&PathBuf, &String)| RejectedFile {
            file: file.display().to_string(),
            reason: reason.clone(),
        };
        self.rejections().iter().map(row).collect()
    }

    fn rejections(&self) -> MutexGuard<'_, BTreeMap<PathBuf, String>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records that were decoded, by hook id.
    pub(super) fn delivered(&self, counts: &[u64; HOOK_SLOTS]) {
        for (slot, count) in (0..).zip(counts) {
            self.hook_counts.add(slot, Counted::Delivered, *count);
        }
    }

    /// Counts a record that came to nothing.
    pub(super) fn lose(&self, slot: u16, loss: Loss) {
        self.losses.add(loss, 1);
        let counted = if loss == Loss::Decode { Counted::Undecoded } else { Counted::TooLong };
        self.hook_counts.add(slot, counted, 1);
    }

    /// Notes the delays from hooks to the rules they caused.
    pub(super) fn delays(&self, delays_ns: &[u64]) {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        if delays.is_none() && !delays_ns.is_empty() {
            *delays = Histogram::new_with_bounds(1, DELAY_MAX_NS, 3).ok();
        }
        for delay in delays_ns {
            if let Some(delays) = &mut *delays {
                delays.saturating_record((*delay).max(1));
            }
        }
    }

    /// Delay from a hook's call to the rule that it caused, at a quantile, nanoseconds; 0 without any.
    pub(super) fn delay(&self, quantile: f64) -> u64 {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        delays.as_ref().map_or(0, |delays| delays.value_at_quantile(quantile))
    }

    /// Median and 99th percentile of those delays; 0 without any.
    pub(super) fn percentiles(&self) -> (u64, u64) {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile| delays.as_ref().map_or(0, |delays| delays.value_at_quantile(quantile));
        (at(0.5), at(0.99))
    }
}
