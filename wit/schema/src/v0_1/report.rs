//! What the host reports beside events: batch start, outcomes, losses, ticks.

use alloc::borrow::Cow;

use serde::{Deserialize, Serialize};

/// First record of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStart {
    /// Schema of all that follows.
    pub schema: u16,
    /// Time of the batch, nanoseconds of `CLOCK_BOOTTIME`; the plugin's only clock.
    pub boot_ns: u64,
    /// What to add to a `boot_ns` to get nanoseconds since the Unix epoch.
    pub unix_offset_ns: i64,
}

/// Why an action was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The manifest did not ask for it, or the operator did not grant it.
    NotGranted,
    /// A field is out of its range.
    Invalid,
    /// Another action of this plugin that is in force has the same token.
    TokenInUse,
    /// No rule of this plugin has that token.
    UnknownRule,
    /// The process is not there (any more).
    UnknownProcess,
    /// The plugin has as many rules as it may.
    TooManyRules,
    /// The key carries as many rules as it can.
    KeyFull,
    /// The kernel's map has no room; what is in force stays.
    MapFull,
    /// This kernel cannot enforce it.
    Unsupported,
    /// The kernel refused the update.
    Kernel,
    /// The plugin's scope does not reach so far.
    OutOfScope,
}

/// The answer to an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome<'a> {
    /// Token of the action.
    pub token: u32,
    /// Rule that is now in force, for `deny` and `allow`.
    pub rule_id: Option<u64>,
    /// Why it was refused; `None` when it was done.
    pub refusal: Option<Refusal>,
    /// More about a refusal, for the log.
    #[serde(borrow)]
    pub detail: Cow<'a, str>,
}

/// Where records were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LostWhere {
    /// A kernel ring was full.
    Ring,
    /// A record could not be decoded or was too long for a frame.
    Decode,
    /// This plugin's queue was full.
    Queue,
    /// This plugin failed in a batch.
    Plugin,
}

/// Records that never reached the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Place at which the records were lost.
    pub place: LostWhere,
    /// Records that were lost since the last report.
    pub records: u64,
}

/// Time has passed: [`BatchStart::boot_ns`] of this batch says how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {}
