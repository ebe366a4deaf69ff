//! Counters and counts → the summary that closes a run.

use std::sync::atomic::Ordering;

use krsi_host_abi::counter::Counter;
use krsi_host_abi::hook::Hook;

use super::clock;
use super::shared::Shared;
use super::steward::Ended;
use crate::kernel::map::{Counters, MapError};
use crate::loss::Loss;
use crate::output::{HookSummary, Summary};

/// The host's last word.
pub(super) fn summary(
    shared: &Shared,
    counters: &Counters,
    ended: &Ended,
) -> Result<Summary, MapError> {
    let rows: Result<Vec<HookSummary>, MapError> =
        ended.hooks.iter().map(|hook| hook_summary(shared, *hook, counters)).collect();
    let (delay_p50_ns, delay_p99_ns) = shared.percentiles();
    Ok(Summary {
        unix_ns: clock::unix_ns(clock::boot_ns()),
        hooks: rows?,
        plugins: ended.plugins.clone(),
        lost: Loss::ALL.map(|loss| (loss.name(), shared.losses.count(loss))).to_vec(),
        rules: shared.rules.load(Ordering::Relaxed),
        delay_p50_ns,
        delay_p99_ns,
    })
}

fn hook_summary(shared: &Shared, hook: Hook, counters: &Counters) -> Result<HookSummary, MapError> {
    let total = |counter| counters.total(hook, counter);
    let (delivered, undecoded) = shared.read(hook);
    Ok(HookSummary {
        hook: hook.name(),
        seen: total(Counter::Seen)?,
        delivered,
        filtered: total(Counter::Filtered)?,
        lost: total(Counter::LostTelemetry)? + total(Counter::LostVerdicts)? + undecoded,
        skipped: total(Counter::SkippedNull)?
            + total(Counter::SkippedField)?
            + total(Counter::SkippedRead)?,
        denied: total(Counter::Denied)?,
        audited: total(Counter::Audited)?,
    })
}
