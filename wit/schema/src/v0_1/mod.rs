//! Schema 0.1: the records of a batch.
//!
//! Frozen once released. Fields are only appended to bodies that end a frame; enums only grow at
//! their end. Kernel pointers never stand in a record, only what user space could have learnt.

mod action;
mod event;
mod process;
mod report;

pub use action::{
    Action, ActionKind, Alert, Allow, Deny, Kill, Metric, MetricKind, Revoke, Rule, RuleKey,
    Severity, Subject,
};
pub use event::{
    Body, Connect, Event, Exec, ExecFlags, Exit, FileOpen, Fork, Hook, HookSet, Meta, Verdict,
};
pub use process::{Argv, FileKey, Gone, Process, ProcessKey};
pub use report::{BatchStart, Lost, LostWhere, Outcome, Refusal, Tick};

use alloc::vec::Vec;

use crate::frame::{Frame, FrameError, push};

/// Tokens from here on belong to the actions of `init`. When a new version of a plugin takes over,
/// rules with such a token that its own `init` does not issue again are withdrawn; all others stay.
pub const INIT_TOKEN: u32 = 1 << 31;

/// Kinds of frames in a batch.
pub mod kind {
    /// [`super::BatchStart`]: always the first frame.
    pub const BATCH_START: u16 = 1;
    /// [`super::Process`]: before the first record that refers to it.
    pub const PROCESS: u16 = 2;
    /// [`super::Gone`]: a described process ended.
    pub const GONE: u16 = 3;
    /// [`super::Outcome`]: answer to an action of an earlier batch.
    pub const OUTCOME: u16 = 4;
    /// [`super::Lost`]: records that could not be delivered.
    pub const LOST: u16 = 5;
    /// [`super::Tick`]: time has passed.
    pub const TICK: u16 = 6;
    /// Events start here: `EVENT + hook id`.
    pub const EVENT: u16 = 256;
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
    /// A hook was called.
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
            kind::LOST => Record::Lost(frame.decode()?),
            kind::TICK => Record::Tick(frame.decode()?),
            other => match other.checked_sub(kind::EVENT).and_then(Hook::from_id) {
                Some(hook) => Record::Event(Event::decode(hook, frame)?),
                None => Record::Unknown(other),
            },
        })
    }

    /// Appends the record to a batch; nothing for what is not known.
    ///
    /// # Errors
    /// When it is longer than a frame can be.
    pub fn push(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Record::BatchStart(start) => push(out, kind::BATCH_START, start),
            Record::Process(process) => push(out, kind::PROCESS, process),
            Record::Gone(gone) => push(out, kind::GONE, gone),
            Record::Outcome(outcome) => push(out, kind::OUTCOME, outcome),
            Record::Lost(lost) => push(out, kind::LOST, lost),
            Record::Tick(tick) => push(out, kind::TICK, tick),
            Record::Event(event) => event.push(out),
            Record::Unknown(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
