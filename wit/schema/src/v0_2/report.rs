//! What the host reports beside events: batch start, outcomes, losses, ticks.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::hook::Hook;
use crate::codec::{CodecError, Decode, Encode, Reader, choice, number, signed};
use crate::{composite, words};

/// First record of a batch. Its kind and its first three fields are the same in every schema, so that whoever
/// holds a batch can tell what it is written in: numbers in base 128, as schema 0.1 has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchStart {
    /// Schema of all that follows.
    pub schema: u16,
    /// Time of the batch, nanoseconds of `CLOCK_BOOTTIME`; the plugin's only clock.
    pub boot_ns: u64,
    /// What to add to a `boot_ns` to get nanoseconds since the Unix epoch.
    pub unix_offset_ns: i64,
}

impl BatchStart {
    pub(super) fn encode_fields(&self, out: &mut Vec<u8>) {
        number(self.schema.into(), out);
        number(self.boot_ns, out);
        signed(self.unix_offset_ns, out);
    }

    pub(super) fn decode_fields(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let schema = u16::try_from(from.number()?).map_err(|_| CodecError::Malformed)?;
        Ok(Self { schema, boot_ns: from.number()?, unix_offset_ns: from.signed()? })
    }
}

words! {
    /// Why an action was refused.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Refusal ("refusal" else Other) {
        /// The manifest did not ask for it, or the operator did not grant it.
        NotGranted = 0,
        /// A field is out of its range.
        Invalid = 1,
        /// Another action of this plugin that is in force has the same token.
        TokenInUse = 2,
        /// No rule of this plugin has that token.
        UnknownRule = 3,
        /// The process is not there (any more).
        UnknownProcess = 4,
        /// The plugin has as many rules as it may.
        TooManyRules = 5,
        /// The key carries as many rules as it can.
        KeyFull = 6,
        /// The kernel's map has no room; what is in force stays.
        MapFull = 7,
        /// This host or this kernel does not have it.
        Unsupported = 8,
        /// The kernel refused the update.
        Kernel = 9,
        /// The plugin's scope does not reach so far.
        OutOfScope = 10,
        /// For a reason that this version has no word for; the detail says it.
        #[default]
        Other = 11,
        /// The call asks for more than one call may.
        TooMany = 12,
    }
}

composite! {
    /// The answer to an action.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Outcome<'a> {
        /// Token of the action.
        pub token: u32,
        /// Rule that is now in force, for `deny` and `allow`.
        pub rule_id: Option<u64>,
        /// Why it was refused; `None` when it was done.
        pub refusal: Option<Refusal>,
        /// More about a refusal, for the log.
        pub detail: Cow<'a, str>,
    }
}

words! {
    /// Where records were lost.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum LostWhere ("place of loss" else Elsewhere) {
        /// The kernel's ring of telemetry was full.
        Ring = 0,
        /// A record could not be decoded or was too long for a frame.
        Decode = 1,
        /// This plugin's queue was full.
        Queue = 2,
        /// This plugin failed in a batch.
        Plugin = 3,
        /// The kernel's ring of denials and audits was full; the verdicts themselves stood.
        Verdicts = 4,
        /// The kernel did not run the program, as it ran on that CPU already (`recursion_misses`):
        /// there was neither a record nor a verdict.
        Recursion = 5,
        /// A place that this version has no word for.
        #[default]
        Elsewhere = 6,
    }
}

/// Kind of the records that were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LostOf {
    /// Records of any hook that the plugin sees, or of what a later version tells apart.
    #[default]
    Any,
    /// Records of the hook with this id; [`LostOf::hook`] names it.
    Hook(u16),
    /// Records of this plugin's own watch, by its place in the manifest's list.
    Watch(u16),
}

impl Encode for LostOf {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            LostOf::Any => choice(out, 0, |_| ()),
            LostOf::Hook(id) => choice(out, 1, |out| id.encode(out)),
            LostOf::Watch(index) => choice(out, 2, |out| index.encode(out)),
        }
    }
}

impl Decode<'_> for LostOf {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (number, mut fields) = (from.number()?, from.sized()?);
        Ok(match number {
            1 => LostOf::Hook(fields.field()?),
            2 => LostOf::Watch(fields.field()?),
            _ => LostOf::Any,
        })
    }
}

impl LostOf {
    /// The hook, if there is one that this version knows.
    #[must_use]
    pub const fn hook(self) -> Option<Hook> {
        match self {
            LostOf::Hook(id) => Hook::from_id(id),
            LostOf::Any | LostOf::Watch(_) => None,
        }
    }
}

composite! {
    /// Records that never reached the plugin. Losses of a hook are counted for the whole system,
    /// whatever the plugin's scope and filters.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Lost {
        /// Place at which the records were lost.
        pub place: LostWhere,
        /// Records that were lost since the last report of the same place and hook.
        pub records: u64,
        /// Hook or watch whose records were lost.
        pub of: LostOf,
    }
}

composite! {
    /// Time has passed: [`BatchStart::boot_ns`] of this batch says how much.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Tick {}
}
