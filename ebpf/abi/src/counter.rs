//! Counters the kernel keeps per hook and CPU, and the reasons for a skipped capture.

/// One column of the counter map's row of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Calls in which somebody wanted something.
    Seen = 0,
    /// Records put on the telemetry ring.
    Forwarded = 1,
    /// Calls that ended without a record by rule: exempt process, thread, hook without subscriber.
    Filtered = 2,
    /// Records that found the telemetry ring full.
    LostTelemetry = 3,
    /// Records put on the verdict ring.
    Verdicts = 4,
    /// Records that found the verdict ring full; the verdict itself stood.
    LostVerdicts = 5,
    /// Calls refused.
    Denied = 6,
    /// Calls that an audit lease would have refused.
    Audited = 7,
    /// Pointers that were NULL where the hook needed one: no record, no file or network key.
    SkippedNull = 8,
    /// Structure fields that this kernel does not have.
    SkippedField = 9,
    /// Arguments that could not be read.
    SkippedRead = 10,
    /// Lineage marks that found no room on fork.
    LostMark = 11,
    /// Calls whose object a rule could not be checked against: the on-error verdict answers.
    Errors = 12,
    /// Calls that the witness saw come to an end.
    Witnessed = 13,
    /// Calls that the witness saw refused, by any LSM.
    WitnessedRefused = 14,
    /// Processes that are exempt from rules, and found no room to be noted as that.
    LostExempt = 15,
    /// Labels that found no room.
    LostLabel = 16,
}

/// Columns of a row; the last is never counted in.
pub const COUNTERS: usize = 18;

/// Every counter with the name that the summary shows.
pub const NAMES: &[(Counter, &str)] = &[
    (Counter::Seen, "seen"),
    (Counter::Forwarded, "forwarded"),
    (Counter::Filtered, "filtered"),
    (Counter::LostTelemetry, "lost_telemetry"),
    (Counter::Verdicts, "verdicts"),
    (Counter::LostVerdicts, "lost_verdicts"),
    (Counter::Denied, "denied"),
    (Counter::Audited, "audited"),
    (Counter::SkippedNull, "skipped_null"),
    (Counter::SkippedField, "skipped_field"),
    (Counter::SkippedRead, "skipped_read"),
    (Counter::LostMark, "lost_mark"),
    (Counter::Errors, "errors"),
    (Counter::Witnessed, "witnessed"),
    (Counter::WitnessedRefused, "witnessed_refused"),
    (Counter::LostExempt, "lost_exempt"),
    (Counter::LostLabel, "lost_label"),
];
