//! What the kernel lost, hook by hook: looked at now and then, and told among the events where it belongs.
//!
//! The kernel counts a loss and keeps no place for it. All that is known is that it happened before its
//! counter was read: it is told before the first later record of the same ring, or once the rings are
//! empty.

use std::sync::Arc;

use krsi_host_abi::counter::Counter;
use krsi_host_abi::hook::{HOOK_SLOTS, Hook};
use krsi_plugin_schema::latest::{Event, Lost, LostWhere, Verdict};

use super::clock;
use super::hook_counts::Counted;
use super::shared::Shared;
use crate::attach::published::{LossSource, LossSubject};
use crate::kernel::map::Counters;
use crate::route::subscription::{PluginSlot, Router};

/// Time between two looks.
const LOOK_NS: u64 = 250_000_000;

/// A loss, and whom it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DueLoss {
    lost: Lost,
    /// The plugin whose watch lost the record; `None` for another loss.
    owner: Option<PluginSlot>,
}

/// Losses that wait for their place.
#[derive(Debug, Default)]
struct Due {
    /// Time before which the losses happened, nanoseconds of `CLOCK_BOOTTIME`.
    boot_ns: u64,
    losses: Vec<DueLoss>,
}

impl Due {
    /// Takes those that belong before a record of this time, on the ring of verdicts or not.
    fn before(&mut self, boot_ns: u64, decided: bool) -> Vec<DueLoss> {
        if self.losses.is_empty() || boot_ns <= self.boot_ns {
            return Vec::new();
        }
        let (due, later) = std::mem::take(&mut self.losses)
            .into_iter()
            .partition(|due| (due.lost.place == LostWhere::Verdicts) == decided);
        self.losses = later;
        due
    }
}

/// The reader's eye on the kernel's counters.
pub(super) struct LossMonitor {
    counters: Arc<Counters>,
    programs: Arc<Vec<LossSource>>,
    /// Misses of each program at the last look.
    missed: Vec<u64>,
    /// Losses of each slot at the last look: telemetry, verdicts.
    lost: [[u64; 2]; HOOK_SLOTS],
    /// Marks and exemptions that found no room, as far as they were told of.
    lost_room: [u64; 2],
    looked_boot_ns: u64,
    due: Due,
}

impl LossMonitor {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            programs: Arc::default(),
            missed: Vec::new(),
            lost: [[0; 2]; HOOK_SLOTS],
            lost_room: [0; 2],
            looked_boot_ns: 0,
            due: Due::default(),
        }
    }

    /// Looks if it is time and the losses of the last look have their place.
    pub(super) fn look_in_time(&mut self, shared: &Shared) {
        let since = clock::boot_ns().saturating_sub(self.looked_boot_ns);
        if since >= LOOK_NS && self.due.losses.is_empty() {
            self.look(shared);
        }
    }

    /// Looks at every program's counters. Programs that have gone since the last look are looked at a
    /// last time.
    pub(super) fn look(&mut self, shared: &Shared) {
        self.look_at_all(shared);
        let programs = shared.programs();
        if !Arc::ptr_eq(&programs, &self.programs) {
            let known = |program: &LossSource| {
                let mut before = self.programs.iter().zip(&self.missed);
                before.find(|(old, _)| old.misses == program.misses).map_or(0, |(_, count)| *count)
            };
            self.missed = programs.iter().map(known).collect();
            self.programs = programs;
            self.look_at_all(shared);
        }
        self.look_at_room();
        self.due.boot_ns = clock::boot_ns();
        self.looked_boot_ns = self.due.boot_ns;
    }

    /// Says that what follows processes found no room, again when they are twice as many.
    fn look_at_room(&mut self) {
        let [fork, exec] = [Hook::SchedProcessFork, Hook::BprmCommittedCreds];
        let total = |hook: Hook, counter| self.counters.total(hook.id(), counter).unwrap_or(0);
        let marks = total(fork, Counter::LostMark);
        let exempt = total(fork, Counter::LostExempt) + total(exec, Counter::LostExempt);
        let [told_marks, told_exempt] = &mut self.lost_room;
        if is_news(told_marks, marks) {
            tracing::warn!(
                processes = marks,
                "processes were forked that rules on their lineage do not apply to: all marks are in use; \
                 raise `marks` in [rules.capacity]"
            );
        }
        if is_news(told_exempt, exempt) {
            tracing::warn!(
                processes = exempt,
                "rules apply to exempt processes: the map of exemptions is full; \
                 raise `exempt` in [rules.capacity]"
            );
        }
    }

    fn look_at_all(&mut self, shared: &Shared) {
        let Self { counters, programs, missed, lost, due, .. } = self;
        for (program, missed) in programs.iter().zip(missed) {
            let mut grown = |place, before: &mut u64, now: u64| {
                let records = now.saturating_sub(*before);
                *before = now.max(*before);
                if records > 0 {
                    let LossSubject { of, owner } = program.subject;
                    due.losses.push(DueLoss { lost: Lost { place, records, of }, owner });
                }
                records
            };
            let rings = [Counter::LostTelemetry, Counter::LostVerdicts];
            if let Ok(rows) = counters.each(program.slot, rings)
                && let Some([telemetry, verdicts]) = lost.get_mut(usize::from(program.slot))
            {
                let sum = |at: fn(&[u64; 2]) -> u64| rows.iter().map(at).sum();
                grown(LostWhere::Ring, telemetry, sum(|[telemetry, _]| *telemetry));
                grown(LostWhere::Verdicts, verdicts, sum(|[_, verdicts]| *verdicts));
            }
            let calls = grown(LostWhere::Recursion, missed, program.misses.count());
            shared.hook_counts.add(program.slot, Counted::Missed, calls);
        }
    }

    /// Tells what was lost before an event.
    pub(super) fn deliver_before(&mut self, event: &Event<'_>, router: &mut Router) {
        let decided = event.meta.verdict != Verdict::None;
        for DueLoss { lost, owner } in self.due.before(event.meta.boot_ns, decided) {
            router.lose(lost, owner);
        }
    }

    /// Tells what is left to tell.
    pub(super) fn deliver_rest(&mut self, router: &mut Router) {
        for DueLoss { lost, owner } in std::mem::take(&mut self.due.losses) {
            router.lose(lost, owner);
        }
    }

    /// Tells of a record of a slot that was read and came to nothing.
    pub(super) fn deliver_undecoded(&self, slot: u16, router: &mut Router) {
        let mut programs = self.programs.iter();
        let program = programs.find(|program| program.slot == slot);
        let LossSubject { of, owner } = program.map(|program| program.subject).unwrap_or_default();
        router.lose(Lost { place: LostWhere::Decode, records: 1, of }, owner);
    }
}

/// Whether a count is the first or has doubled since it was told; it is told now.
pub(super) fn is_news(told: &mut u64, count: u64) -> bool {
    let is_news = count > 0 && count >= told.saturating_mul(2);
    if is_news {
        *told = count;
    }
    is_news
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::LostOf;

    use super::*;

    #[test]
    fn a_count_is_told_at_first_and_when_it_has_doubled() {
        let mut told = 0;
        let news = [0, 1, 1, 2, 3, 4, 9].map(|count| is_news(&mut told, count));
        assert_eq!(news, [false, true, false, true, false, true, true]);
    }

    #[test]
    fn a_loss_belongs_before_the_first_later_record_of_its_ring() {
        let lost =
            |place| DueLoss { lost: Lost { place, records: 1, of: LostOf::Hook(3) }, owner: None };
        let (ring, verdicts) = (lost(LostWhere::Ring), lost(LostWhere::Verdicts));
        let missed = lost(LostWhere::Recursion);
        let mut due = Due { boot_ns: 10, losses: vec![ring, verdicts, missed] };
        assert_eq!(due.before(9, false), []);
        assert_eq!(due.before(10, true), []);
        assert_eq!(due.before(11, false), [ring, missed]);
        assert_eq!(due.before(12, false), []);
        assert_eq!(due.before(12, true), [verdicts]);
        assert_eq!(due.before(13, true), []);
    }
}
