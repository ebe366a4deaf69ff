//! Counters and counts → the summary that closes a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use krsi_host_abi::counter::Counter;
use krsi_host_abi::hook::Hook;

use super::clock;
use super::hook_counts::Counted;
use super::shared::Shared;
use super::steward::Ended;
use crate::attach::left_out::UsedSlot;
use crate::attach::watches::{ToldWatch, ToldWatches};
use crate::enrich::TableCounts;
use crate::kernel::map::{Counters, MapError};
use crate::loss::Loss;
use crate::output::{HookCount, HookSummary, ProcessCounts, Summary, WatchCount, lost_lines};

/// The host's last word.
pub(super) fn summary(
    shared: &Shared,
    counters: &Counters,
    ended: &Ended,
) -> Result<Summary, MapError> {
    let rows: Result<Vec<HookSummary>, MapError> =
        ended.hooks.iter().map(|used| hook_summary(shared, used, counters)).collect();
    let (delay_p50_ns, delay_p99_ns) = shared.percentiles();
    Ok(Summary {
        unix_ns: clock::unix_ns(clock::boot_ns()),
        hooks: rows?,
        witness: ended.witnessed.clone(),
        plugins: ended.plugins.clone(),
        lost: Loss::ALL.map(|loss| (loss.name(), lost(shared, loss))).to_vec(),
        rules: shared.rules.load(Ordering::Relaxed),
        map_full: shared.map_full.load(Ordering::Relaxed),
        processes: processes(shared),
        backend: shared.backend(),
        missed: shared.hook_counts.total(Counted::Missed),
        delay_p50_ns,
        delay_p99_ns,
    })
}

/// What was lost at a place of the host so far.
fn lost(shared: &Shared, loss: Loss) -> u64 {
    // Whoever logs knows nothing of the run.
    if loss == Loss::Log { lost_lines() } else { shared.losses.count(loss) }
}

/// What was counted of processes so far.
pub(super) fn processes(shared: &Shared) -> ProcessCounts {
    let TableCounts { dropped, outside, ghosts, strangers } = shared.processes().counts();
    ProcessCounts { dropped, outside, ghosts, strangers }
}

/// What was counted at hooks so far, with what their watches were; one that cannot be read is left out.
pub(super) fn counts(
    hooks: &[String],
    watches: &[WatchCount],
    counters: &Counters,
) -> Vec<HookCount> {
    let own = |hook: &String| {
        let slot = Hook::from_name(hook)?.id();
        let total = |counter| counters.total(slot, counter).ok();
        Some((total(Counter::Seen)?, total(Counter::Denied)?))
    };
    together(hooks, own, watches)
}

/// Each hook once: the calls that one of its programs saw, and the denials of all of them.
fn together(
    hooks: &[String],
    own: impl Fn(&String) -> Option<(u64, u64)>,
    watches: &[WatchCount],
) -> Vec<HookCount> {
    let names: BTreeSet<&String> = hooks.iter().collect();
    let count = |hook: &String| {
        let of_hook = watches.iter().filter(|watch| watch.hook == *hook);
        let of_watches = of_hook.map(|watch| (watch.seen, watch.denied));
        let (seen, denied) = own(hook).into_iter().chain(of_watches).reduce(
            |(seen, denied), (also_seen, also_denied)| (seen.max(also_seen), denied + also_denied),
        )?;
        Some(HookCount { hook: hook.clone(), seen, denied })
    };
    names.into_iter().filter_map(count).collect()
}

/// What was counted at watches so far, in the order of their slots; one that cannot be read is left out.
pub(super) fn watch_counts(watches: &ToldWatches, counters: &Counters) -> Vec<WatchCount> {
    let slots: BTreeMap<u16, &ToldWatch> =
        watches.iter().map(|(slot, told)| (*slot, told)).collect();
    let count = |(slot, told): (u16, &ToldWatch)| -> Option<WatchCount> {
        let total = |counter| counters.total(slot, counter).ok();
        // Each call that it matched has one record, or found no room for it.
        let records =
            [Counter::Forwarded, Counter::Verdicts, Counter::LostTelemetry, Counter::LostVerdicts];
        Some(WatchCount {
            plugin: told.plugin.clone(),
            hook: told.hook.clone(),
            watch: told.text.clone(),
            seen: total(Counter::Seen)?,
            matched: records.into_iter().map(total).sum::<Option<u64>>()?,
            denied: total(Counter::Denied)?,
            audited: total(Counter::Audited)?,
            errors: total(Counter::Errors)?,
        })
    };
    slots.into_iter().filter_map(count).collect()
}

fn hook_summary(
    shared: &Shared,
    UsedSlot { slot, hook }: &UsedSlot,
    counters: &Counters,
) -> Result<HookSummary, MapError> {
    let slot = *slot;
    let total = |counter| counters.total(slot, counter);
    let counted = |counted| shared.hook_counts.read(slot, counted);
    let (undecoded, rings) =
        (counted(Counted::Undecoded), [Counter::LostTelemetry, Counter::LostVerdicts]);
    let lost = counters.each(slot, rings)?;
    let sum = |at: fn(&[u64; 2]) -> u64| lost.iter().map(at).sum::<u64>();
    let (lost_telemetry, lost_verdicts) = (sum(|row| row[0]), sum(|row| row[1]));
    let by_cpu = (0..).zip(lost.iter().map(|row| row.iter().sum()));
    Ok(HookSummary {
        hook: hook.clone(),
        seen: total(Counter::Seen)?,
        delivered: counted(Counted::Delivered),
        filtered: total(Counter::Filtered)?,
        lost: lost_telemetry + lost_verdicts + undecoded,
        lost_telemetry,
        lost_verdicts,
        undecoded,
        too_long: counted(Counted::TooLong),
        lost_by_cpu: by_cpu.filter(|(_, lost)| *lost > 0).collect(),
        missed: counted(Counted::Missed),
        cut: counted(Counted::Cut),
        lost_marks: total(Counter::LostMark)?,
        lost_exempt: total(Counter::LostExempt)?,
        lost_labels: total(Counter::LostLabel)?,
        skipped: total(Counter::SkippedNull)?
            + total(Counter::SkippedField)?
            + total(Counter::SkippedRead)?,
        denied: total(Counter::Denied)?,
        audited: total(Counter::Audited)?,
        errors: total(Counter::Errors)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_counts_what_its_watches_did() {
        let watch = |hook: &str, seen, denied| {
            let (hook, plugin) = (hook.to_owned(), "administrator".to_owned());
            WatchCount { plugin, hook, seen, denied, ..WatchCount::default() }
        };
        let watches =
            [watch("file_open", 9, 2), watch("file_open", 30, 1), watch("inode_getattr", 4, 4)];
        // A hook with watches stands in the list once for each program.
        let hooks = ["file_open", "inode_getattr", "file_open", "task_kill", "file_open"];
        let own = |hook: &String| match hook.as_str() {
            "file_open" => Some((12, 5)),
            "task_kill" => Some((1, 0)),
            _ => None,
        };
        let found = together(&hooks.map(str::to_owned), own, &watches);
        let found: Vec<_> =
            found.iter().map(|row| (row.hook.as_str(), row.seen, row.denied)).collect();
        assert_eq!(found, [("file_open", 30, 8), ("inode_getattr", 4, 4), ("task_kill", 1, 0)]);
    }
}
