//! One plugin's tape, as the plugin's thread writes it: a call and its answer at a time.

use std::borrow::Cow;

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::Record;

use super::entry::{Failing, RecordEntry, TapedAct, TapedAnswer, TapedCall, TapedLine};
use super::recorder::Recorder;

/// The tape of one instance of a plugin.
pub struct Tape {
    recorder: Recorder,
    tape: u32,
    next: u64,
    boot_ns: u64,
}

/// What came of a call, for the tape.
#[derive(Clone, Copy, Debug)]
pub enum TapedOutcome<'a> {
    /// The call is written for whoever plays the tape; the plugin was not called.
    Unmade,
    /// The call returned these bytes, or none.
    Returned(&'a [u8]),
    /// The call refused, in these words.
    Refused(&'a str),
    /// The call failed, of this cause and in these words.
    Failed(Failing, &'a str),
}

impl Tape {
    pub(super) const fn new(recorder: Recorder, tape: u32, boot_ns: u64) -> Self {
        Self { recorder, tape, next: 0, boot_ns }
    }

    /// Whether nothing more is taken.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.recorder.is_over()
    }

    /// Writes a call of `init`.
    pub fn init(
        &mut self,
        config: &[u8],
        seed: u64,
        outcome: TapedOutcome<'_>,
        log: (Vec<TapedLine>, u64),
    ) {
        self.write(TapedCall {
            act: TapedAct::Init,
            input: config.into(),
            seed,
            ..of(outcome, log)
        });
    }

    /// Writes a call of `restore`.
    pub(crate) fn restore(
        &mut self,
        from: &str,
        state: &[u8],
        outcome: TapedOutcome<'_>,
        log: (Vec<TapedLine>, u64),
    ) {
        self.write(TapedCall {
            act: TapedAct::Restore,
            input: state.into(),
            from: from.into(),
            ..of(outcome, log)
        });
    }

    /// Writes a call of `handle` with a batch.
    pub fn handle(&mut self, batch: &[u8], outcome: TapedOutcome<'_>, log: (Vec<TapedLine>, u64)) {
        self.boot_ns = time_of(batch);
        self.write(TapedCall { act: TapedAct::Handle, input: batch.into(), ..of(outcome, log) });
    }

    /// Writes a call of `snapshot`.
    pub(crate) fn snapshot(&mut self, outcome: TapedOutcome<'_>, log: (Vec<TapedLine>, u64)) {
        self.write(TapedCall { act: TapedAct::Snapshot, ..of(outcome, log) });
    }

    /// A call that does not fit is a gap, also in the numbers of the tape's calls.
    fn write(&mut self, call: TapedCall<'_>) {
        let Self { tape, next: number, boot_ns, .. } = *self;
        self.next += 1;
        self.recorder.write(&RecordEntry::Call(TapedCall { tape, number, boot_ns, ..call }));
    }
}

fn of<'a>(outcome: TapedOutcome<'a>, (log, log_more): (Vec<TapedLine>, u64)) -> TapedCall<'a> {
    let call = TapedCall { log, log_more, ..TapedCall::default() };
    match outcome {
        TapedOutcome::Unmade => call,
        TapedOutcome::Returned(output) => {
            TapedCall { answer: TapedAnswer::Returned, output: output.into(), ..call }
        }
        TapedOutcome::Refused(text) => {
            TapedCall { answer: TapedAnswer::Refused, text: Cow::Borrowed(text), ..call }
        }
        TapedOutcome::Failed(failing, text) => {
            TapedCall { answer: TapedAnswer::Failed, failing, text: Cow::Borrowed(text), ..call }
        }
    }
}

/// Time of a batch, from its start, which is the same in every schema.
pub(super) fn time_of(batch: &[u8]) -> u64 {
    let first = Frames::new(batch).next().and_then(Result::ok);
    match first.map(|frame| Record::decode(&frame)) {
        Some(Ok(Record::BatchStart(start))) => start.boot_ns,
        _ => 0,
    }
}
