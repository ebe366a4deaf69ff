//! The reader's thread: rings → decode → enrich → route, with the ledger following forks and exits.

use std::sync::Arc;

use krsi_host_abi::hook::HOOK_SLOTS;
use krsi_plugin_schema::latest::{Body, Event, Process, ProcessKey, Verdict};

use super::clock;
use super::hook_counts::Counted;
use super::loss_monitor::LossMonitor;
use super::mailbox::{Mailbox, ReaderChange};
use super::on_error::ERROR_RULES;
use super::report;
use super::shared::Shared;
use crate::attach::watches::{ADMINISTRATOR, ToldField, WATCH_RULES};
use crate::decode::{self, DecodeError, Decoded};
use crate::enrich::{CgroupNames, Joined, Observation, ProcessChange, ProcessTable};
use crate::kernel::map::Counters;
use crate::loss::Loss;
use crate::output::VerdictReport;
use crate::policy::NO_ROOM;
use crate::read::ring::{ReadError, Rings, Wake};
use crate::route::batch::ProcessSource;
use crate::route::subscription::{PluginSlot, Router};
use crate::thread;

/// Records of one drain: the table is locked, and batches are held back, no longer than for these.
const DRAIN: usize = 512;
/// Longest wait, after which expired caches and the like get their turn.
const WAIT_MS: i64 = 1000;

/// The stage owned by the reader's thread.
pub(super) struct Reader {
    rings: Rings,
    router: Router,
    cgroups: CgroupNames,
    losses: LossMonitor,
    shared: Arc<Shared>,
}

/// What a drain found that needs the ledger, which may not be locked while the table is.
#[derive(Default)]
struct DrainResult {
    kin: Vec<Observation>,
    verdicts: Vec<Decided>,
}

/// A call that a rule decided.
struct Decided {
    report: VerdictReport,
    rule_id: u64,
}

impl ProcessSource for ProcessTable {
    fn process(&self, key: ProcessKey) -> Option<&Process<'static>> {
        self.get(key)
    }
}

impl Reader {
    pub(super) fn new(rings: Rings, counters: Arc<Counters>, shared: Arc<Shared>) -> Self {
        let (router, cgroups) = (Router::default(), CgroupNames::system());
        Self { rings, router, cgroups, losses: LossMonitor::new(counters), shared }
    }

    /// Reads until the mailbox says stop, then what is left. Subscriptions change between drains.
    pub(super) fn run(mut self, mailbox: &Mailbox) -> Result<(), ReadError> {
        loop {
            thread::turn();
            let wake = self.rings.wait(mailbox.bell(), WAIT_MS)?;
            let changes = if wake == Wake::Bell { mailbox.take() } else { Vec::new() };
            let mut stop = false;
            for change in changes {
                match change {
                    ReaderChange::Subscribe(subscription) => self.router.subscribe(&subscription),
                    ReaderChange::Unsubscribe(slot) => self.router.unsubscribe(slot),
                    ReaderChange::Described(slot, keys) => {
                        let processes = self.shared.processes();
                        let is_running = |key| processes.is_running(key);
                        self.router.described(slot, &keys, is_running);
                    }
                    ReaderChange::Answer(to) => {
                        // Whoever asked may be gone.
                        let _told = to.send(());
                    }
                    ReaderChange::Stop => stop = true,
                }
            }
            // A flood of records must not keep the mailbox waiting.
            while self.drain() >= DRAIN && (stop || !mailbox.is_rung()) {}
            if stop {
                self.losses.look(&self.shared);
                self.losses.deliver_rest(&mut self.router);
                self.router.flush(clock::boot_ns(), clock::unix_offset_ns());
                return Ok(());
            }
        }
    }

    fn drain(&mut self) -> usize {
        self.losses.look_in_time(&self.shared);
        let mut found = DrainResult::default();
        let records = {
            let Self { rings, router, cgroups, losses, shared } = self;
            let (layouts, watches) = (shared.layouts(), shared.watches());
            let label_names = shared.label_names();
            let mut processes = shared.processes();
            let mut delivered = [0; HOOK_SLOTS];
            let records = rings.drain(DRAIN, |record| {
                let slot = record.as_ref().map_or(0, |record| record.header.hook);
                let decoded = record.map_err(DecodeError::from);
                match decoded.and_then(|record| decode::decode(&record, &layouts)) {
                    Ok(mut decoded) => {
                        let (had, gave) = (decoded.had_labels, decoded.gave_labels);
                        if had | gave != 0 {
                            decoded.event.meta.labels = label_names.of(had, gave);
                        }
                        losses.deliver_before(&decoded.event, router);
                        // The one place that asks what became of a process.
                        let change = ProcessChange::of(&decoded.event);
                        let told = watches.get(&slot);
                        let fields = told.map(|told| &told.fields[..]).unwrap_or_default();
                        let told = OfRecord { change, fields };
                        follow(&decoded, told, &mut processes, cgroups, &mut found);
                        count(&mut delivered, slot);
                        if decoded.event.is_cut() {
                            shared.hook_counts.add(slot, Counted::Cut, 1);
                        }
                        if let Body::Watch(watch) = &decoded.event.body
                            && decoded.owner == ADMINISTRATOR
                        {
                            let caller = processes.get(decoded.event.meta.process);
                            shared.report(report::watch(&decoded.event, watch, fields, caller));
                        }
                        let owner = Some(PluginSlot(decoded.owner));
                        if router.route(&decoded.event, owner, &*processes).is_err() {
                            shared.lose(slot, Loss::Encode);
                            losses.deliver_undecoded(slot, router);
                        }
                        router.follow(change);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a record was dropped");
                        shared.lose(slot, Loss::Decode);
                        losses.deliver_undecoded(slot, router);
                    }
                }
            });
            shared.delivered(&delivered);
            if records < DRAIN {
                losses.deliver_rest(router);
            }
            records
        };
        self.apply_drained(found);
        self.router.flush(clock::boot_ns(), clock::unix_offset_ns());
        records
    }

    /// Lets the ledger follow forks and exits, and tells of verdicts with the rules behind them.
    fn apply_drained(&mut self, found: DrainResult) {
        if found.kin.is_empty() && found.verdicts.is_empty() {
            return;
        }
        let watches = self.shared.watches();
        let mut ledger = self.shared.ledger();
        for seen in &found.kin {
            for Joined { parent, child } in &seen.joined {
                ledger.on_fork(*parent, *child);
            }
            if let Some(gone) = seen.exited {
                ledger.on_exit(gone, clock::boot_ns());
            }
        }
        for Decided { report: verdict, rule_id } in found.verdicts {
            self.shared.report(if rule_id >= WATCH_RULES {
                let slot = u16::try_from(rule_id - WATCH_RULES).unwrap_or(0);
                report::of_watch(verdict, rule_id, watches.get(&slot))
            } else if rule_id == NO_ROOM {
                report::without_room(verdict, rule_id)
            } else if rule_id >= ERROR_RULES {
                report::on_error(verdict, rule_id)
            } else {
                report::explained(verdict, rule_id, ledger.explain(rule_id).as_ref())
            });
        }
    }
}

fn count(counts: &mut [u64; HOOK_SLOTS], hook_id: u16) {
    if let Some(count) = counts.get_mut(usize::from(hook_id)) {
        *count += 1;
    }
}

/// What is known of a record beside its event.
struct OfRecord<'a> {
    /// A change of a process: a fork, an exec or an exit.
    change: Option<ProcessChange<'a>>,
    /// Fields of a watch, in the order of its values; empty for other records.
    fields: &'a [ToldField],
}

fn follow(
    decoded: &Decoded<'_>,
    OfRecord { change, fields }: OfRecord<'_>,
    processes: &mut ProcessTable,
    cgroups: &mut CgroupNames,
    found: &mut DrainResult,
) {
    let event: &Event<'_> = &decoded.event;
    let mut name = |id| cgroups.name(id, event.meta.boot_ns).to_owned();
    let observation = processes.observe(&event.meta, decoded.parent, change, &mut name);
    if observation != Observation::default() {
        found.kin.push(observation);
    }
    match event.meta.verdict {
        Verdict::None => {}
        Verdict::Denied { rule_id, .. } | Verdict::Audited { rule_id, .. } => {
            let caller = processes.get(event.meta.process);
            found
                .verdicts
                .push(Decided { report: report::verdict(event, fields, caller), rule_id });
        }
    }
}
