//! Schema 0.2: every curated hook, a plugin's own watches, and keys of rules by cgroup, path, digest and hook.
//!
//! Bodies of schema 0.1 that did not grow are its own types, byte for byte: what a reader of 0.1
//! knows it reads, and the actions it writes are actions of this schema. Nothing that would grow may
//! grow but at its end; records never carry a kernel pointer.

mod action;
mod call;
mod event;
mod hook;
pub mod record;
mod report;

pub use action::{Action, Allow, Deny, IfUnread, IfUnresolved, Rule, RuleKey, RuleMode};
pub use call::{Address, Call, FieldRow, Kind, Text, TextFlags, Value, Watch, Why};
pub use event::{Body, Event};
pub use hook::{Hook, HookSet};
pub use record::RecordError;
pub use report::{Lost, LostOf, LostWhere};

pub use crate::v0_1::{
    ActionKind, Alert, Argv, BatchStart, Connect, Exec, ExecFlags, Exit, FileKey, FileOpen, Fork,
    Gone, INIT_TOKEN, Kill, Meta, Metric, MetricKind, Outcome, Process, ProcessKey, Refusal,
    Revoke, Severity, Subject, Tick, Verdict,
};

use crate::frame::{Frame, FrameError};

/// Number of this schema in a manifest and in [`BatchStart`].
pub const SCHEMA: u16 = 2;

/// Kinds of frames in a batch.
pub mod kind {
    pub use crate::v0_1::kind::{BATCH_START, EVENT, GONE, LOST, OUTCOME, PROCESS, TICK};

    /// A call that one of the plugin's own watches saw: [`super::Meta`], then [`super::Watch`].
    pub const WATCH: u16 = 7;
}

/// A decoded frame of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// See [`kind::BATCH_START`].
    BatchStart(BatchStart),
    /// See [`kind::PROCESS`].
    Process(Process<'a>),
    /// See [`kind::GONE`].
    Gone(Gone),
    /// See [`kind::OUTCOME`].
    Outcome(Outcome<'a>),
    /// See [`kind::LOST`].
    Lost(Lost),
    /// See [`kind::TICK`].
    Tick(Tick),
    /// A hook was called, or a watch saw a call.
    Event(Event<'a>),
    /// A kind of a later version: skipped.
    Unknown(u16),
}

impl<'a> Record<'a> {
    /// Decodes one frame.
    ///
    /// # Errors
    /// When the body is not what the kind says.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, FrameError> {
        Ok(match frame.kind {
            kind::BATCH_START => Record::BatchStart(frame.decode()?),
            kind::PROCESS => Record::Process(frame.decode()?),
            kind::GONE => Record::Gone(frame.decode()?),
            kind::OUTCOME => Record::Outcome(frame.decode()?),
            kind::LOST => Record::Lost(Lost::decode(frame)?),
            kind::TICK => Record::Tick(frame.decode()?),
            kind::WATCH => Record::Event(Event::decode_watch(frame)?),
            other => match other.checked_sub(kind::EVENT).and_then(Hook::from_id) {
                Some(hook) => Record::Event(Event::decode(hook, frame)?),
                None => Record::Unknown(other),
            },
        })
    }
}

#[cfg(test)]
mod tests;
