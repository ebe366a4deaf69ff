//! The two clocks of a run.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, nanoseconds of `CLOCK_BOOTTIME`: the clock of records, leases and batches.
pub(super) fn boot_ns() -> u64 {
    u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

/// What to add to a boot time to get nanoseconds since the Unix epoch.
pub(super) fn unix_offset_ns() -> i64 {
    nanoseconds(clock_gettime(ClockId::Realtime)) - nanoseconds(clock_gettime(ClockId::Boottime))
}

/// A boot time as nanoseconds since the Unix epoch.
pub(super) fn unix_ns(boot_ns: u64) -> i64 {
    i64::try_from(boot_ns).unwrap_or(i64::MAX).saturating_add(unix_offset_ns())
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
