//! Counters and counts → the summary that closes a run.

use std::sync::atomic::Ordering;

use krsi_host_abi::counter::Counter;
use krsi_host_abi::hook::Hook;

use super::clock;
use super::left_out::UsedSlot;
use super::shared::Shared;
use super::steward::Ended;
use super::tally::Counted;
use crate::enrich::TableCounts;
use crate::kernel::map::{Counters, MapError};
use crate::loss::Loss;
use crate::output::{HookCount, HookSummary, ProcessCounts, Summary};

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
        lost: Loss::ALL.map(|loss| (loss.name(), shared.losses.count(loss))).to_vec(),
        rules: shared.rules.load(Ordering::Relaxed),
        map_full: shared.map_full.load(Ordering::Relaxed),
        processes: processes(shared),
        backend: shared.backend(),
        missed: shared.tally.total(Counted::Missed),
        delay_p50_ns,
        delay_p99_ns,
    })
}

/// What was counted of processes so far.
pub(super) fn processes(shared: &Shared) -> ProcessCounts {
    let TableCounts { dropped, outside, ghosts, strangers } = shared.processes().counts();
    ProcessCounts { dropped, outside, ghosts, strangers }
}

/// What was counted at hooks so far; one that cannot be read is left out.
pub(super) fn counts(hooks: &[impl AsRef<str>], counters: &Counters) -> Vec<HookCount> {
    let count = |name: &str| -> Option<HookCount> {
        let hook = Hook::from_name(name)?;
        let total = |counter| counters.total(hook.id(), counter).ok();
        let (seen, denied) = (total(Counter::Seen)?, total(Counter::Denied)?);
        Some(HookCount { hook: name.to_owned(), seen, denied })
    };
    hooks.iter().filter_map(|name| count(name.as_ref())).collect()
}

fn hook_summary(
    shared: &Shared,
    UsedSlot { slot, hook }: &UsedSlot,
    counters: &Counters,
) -> Result<HookSummary, MapError> {
    let slot = *slot;
    let total = |counter| counters.total(slot, counter);
    let counted = |counted| shared.tally.read(slot, counted);
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
        skipped: total(Counter::SkippedNull)?
            + total(Counter::SkippedField)?
            + total(Counter::SkippedRead)?,
        denied: total(Counter::Denied)?,
        audited: total(Counter::Audited)?,
        errors: total(Counter::Errors)?,
    })
}
