//! Schema 0.2: every curated hook, watches, keys of rules by cgroup, path, digest and hook; it can grow.
//!
//! Every composite carries its length ([`crate::codec`]). A later version appends fields, alternatives
//! and kinds; it never changes what is there. Records never carry a kernel pointer.

mod action;
mod call;
mod event;
mod filter;
mod hook;
mod key;
mod label;
pub mod manifest;
mod process;
pub mod record;
mod report;
mod running;
mod sample;

pub use action::{
    Action, Alert, AlertEvidence, Allow, Deny, Evidence, IfUnread, Kill, Metric, MetricKind,
    Revoke, Rule, RuleMode, Severity, Subject,
};
pub use call::{
    Address, Call, Content, ContentState, FieldRow, Kind, Text, TextFlags, Value, Watch, Why,
};
pub use event::{
    Body, Connect, Event, EventLabels, Exec, ExecFlags, Exit, FileOpen, Fork, Meta, Verdict,
};
pub use filter::{Condition, Filter};
pub use hook::{Hook, HookSet};
pub use key::{IfUnresolved, KeyKind, KeyKinds, RuleKey};
pub use label::{Label, LabelExec, LabelFull, LabelRule, LabelTest, SetLabel};
pub use manifest::{Manifest, ManifestFault, OnStop};
pub use process::{Argv, FileKey, Gone, Process, ProcessKey, Whose};
pub use record::RecordError;
pub use report::{BatchStart, Lost, LostOf, LostWhere, Outcome, Refusal, Tick};
pub use running::{Running, RunningEnd, ToldRunning};
pub use sample::{AskSamples, Sample, SampleState};

pub use crate::v0_1::INIT_TOKEN;

use alloc::vec::Vec;

use crate::Schema;
use crate::codec::Composite;
use crate::frame::{Frame, FrameError, write};

/// The schema of this module, 0.2.
pub const SCHEMA: Schema = Schema::V0_2;

/// Kinds of frames in a batch. But for the batch start, none is a kind of schema 0.1: a reader that is
/// given the wrong schema knows nothing, instead of reading something else.
pub mod kind {
    pub use crate::v0_1::kind::BATCH_START;

    /// [`super::Process`]: before the first record that refers to it.
    pub const PROCESS: u16 = 0x202;
    /// [`super::Gone`]: a described process ended.
    pub const GONE: u16 = 0x203;
    /// [`super::Outcome`]: answer to an action of an earlier batch.
    pub const OUTCOME: u16 = 0x204;
    /// [`super::Lost`]: records that could not be delivered.
    pub const LOST: u16 = 0x205;
    /// [`super::Tick`]: time has passed.
    pub const TICK: u16 = 0x206;
    /// A call that one of the plugin's own watches saw: [`super::Meta`], then [`super::Watch`].
    pub const WATCH: u16 = 0x207;
    /// [`super::Running`]: a process that ran when the plugin started.
    pub const RUNNING: u16 = 0x208;
    /// [`super::RunningEnd`]: the last of these.
    pub const RUNNING_END: u16 = 0x209;
    /// [`super::Sample`]: a process at a moment, as its plugin asked.
    pub const SAMPLE: u16 = 0x20a;
    /// Events start here, `EVENT + hook id`: [`super::Meta`], then what the hook has.
    pub const EVENT: u16 = 0x300;
}

/// A record of a batch.
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
    /// A process that runs already: [`kind::RUNNING`].
    Running(Running<'a>),
    /// The end of what runs already: [`kind::RUNNING_END`].
    RunningEnd(RunningEnd),
    /// A sample of a process that was asked for; see [`kind::SAMPLE`].
    Sample(Sample<'a>),
    /// A kind of a later version: skipped.
    Unknown(u16),
}

/// A record that is to be written.
#[derive(Clone, Copy, Debug)]
pub enum RecordRef<'r, 'a> {
    /// See [`kind::BATCH_START`].
    BatchStart(BatchStart),
    /// See [`kind::PROCESS`].
    Process(&'r Process<'a>),
    /// See [`kind::GONE`].
    Gone(Gone),
    /// See [`kind::OUTCOME`].
    Outcome(&'r Outcome<'a>),
    /// See [`kind::LOST`].
    Lost(Lost),
    /// See [`kind::TICK`].
    Tick(Tick),
    /// A hook was called, or a watch saw a call.
    Event(&'r Event<'a>),
    /// A process that runs already: [`kind::RUNNING`].
    Running(&'r Running<'a>),
    /// The end of what runs already: [`kind::RUNNING_END`].
    RunningEnd(RunningEnd),
    /// A sample of a process that was asked for; see [`kind::SAMPLE`].
    Sample(&'r Sample<'a>),
}

impl<'a> Record<'a> {
    /// Decodes one frame.
    ///
    /// # Errors
    /// When the body is not what the kind says.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, FrameError> {
        Ok(match frame.kind {
            kind::BATCH_START => Record::BatchStart(frame.read(BatchStart::decode_fields)?),
            kind::PROCESS => Record::Process(frame.read(Process::decode_fields)?),
            kind::GONE => Record::Gone(frame.read(Gone::decode_fields)?),
            kind::OUTCOME => Record::Outcome(frame.read(Outcome::decode_fields)?),
            kind::LOST => Record::Lost(frame.read(Lost::decode_fields)?),
            kind::TICK => Record::Tick(frame.read(Tick::decode_fields)?),
            kind::WATCH => Record::Event(Event::decode_watch(frame)?),
            kind::RUNNING => Record::Running(frame.read(Running::decode_fields)?),
            kind::RUNNING_END => Record::RunningEnd(frame.read(RunningEnd::decode_fields)?),
            kind::SAMPLE => Record::Sample(frame.read(Sample::decode_fields)?),
            other => match other.checked_sub(kind::EVENT).and_then(Hook::from_id) {
                Some(hook) => Record::Event(Event::decode(hook, frame)?),
                None => Record::Unknown(other),
            },
        })
    }

    /// The record to be written again; none for what is not known.
    #[must_use]
    pub const fn by_ref(&self) -> Option<RecordRef<'_, 'a>> {
        Some(match self {
            Record::BatchStart(start) => RecordRef::BatchStart(*start),
            Record::Process(process) => RecordRef::Process(process),
            Record::Gone(gone) => RecordRef::Gone(*gone),
            Record::Outcome(outcome) => RecordRef::Outcome(outcome),
            Record::Lost(lost) => RecordRef::Lost(*lost),
            Record::Tick(tick) => RecordRef::Tick(*tick),
            Record::Event(event) => RecordRef::Event(event),
            Record::Running(running) => RecordRef::Running(running),
            Record::RunningEnd(end) => RecordRef::RunningEnd(*end),
            Record::Sample(sample) => RecordRef::Sample(sample),
            Record::Unknown(_) => return None,
        })
    }
}

impl RecordRef<'_, '_> {
    /// Appends the record to a batch of this schema.
    ///
    /// # Errors
    /// When it is longer than a frame can be.
    pub fn push(self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            RecordRef::BatchStart(start) => {
                write(out, kind::BATCH_START, |out| start.encode_fields(out))
            }
            RecordRef::Process(process) => {
                write(out, kind::PROCESS, |out| process.encode_fields(out))
            }
            RecordRef::Gone(gone) => write(out, kind::GONE, |out| gone.encode_fields(out)),
            RecordRef::Outcome(outcome) => {
                write(out, kind::OUTCOME, |out| outcome.encode_fields(out))
            }
            RecordRef::Lost(lost) => write(out, kind::LOST, |out| lost.encode_fields(out)),
            RecordRef::Tick(tick) => write(out, kind::TICK, |out| tick.encode_fields(out)),
            RecordRef::Event(event) => event.push(out),
            RecordRef::Running(running) => {
                write(out, kind::RUNNING, |out| running.encode_fields(out))
            }
            RecordRef::RunningEnd(end) => {
                write(out, kind::RUNNING_END, |out| end.encode_fields(out))
            }
            RecordRef::Sample(sample) => write(out, kind::SAMPLE, |out| sample.encode_fields(out)),
        }
    }
}

#[cfg(test)]
mod tests;
