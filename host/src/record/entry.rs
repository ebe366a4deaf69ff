//! What a recording holds: its head, tapes that are opened, calls with their answers, batches, gaps, the end.
//!
//! ```text
//! | u32 length of body | u16 kind | body … |
//! ```
//! Bodies are composites of the schema's codec: a later version appends fields, and kinds; a reader skips both.

use std::borrow::Cow;

use krsi_plugin_schema::codec::{CodecError, Composite, Reader};
use krsi_plugin_schema::{composite, words};

/// Bytes before an entry's body.
const ENTRY_HEAD: usize = 6;

composite! {
    /// Machine, boot and hooks that a recording is of.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Head {
        /// Version of the krsi-host that wrote it.
        pub krsi_host: String,
        /// Release of the kernel.
        pub kernel: String,
        /// Boot that times are of.
        pub boot_id: String,
        /// Time of its start, nanoseconds of `CLOCK_BOOTTIME`.
        pub boot_ns: u64,
        /// What to add to a boot time to get nanoseconds since the Unix epoch.
        pub unix_offset_ns: i64,
        /// Schema of the stream's batches.
        pub schema: u16,
        /// Names of the hooks that were attached when it began.
        pub hooks: Vec<String>,
        /// Whether names, arguments and texts are tokens, and contents are left out.
        pub redacted: bool,
    }
}

words! {
    /// Why a tape begins.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum TapeCause ("cause of a tape" else Other) {
        /// The plugin came, and starts anew.
        #[default]
        Started = 0,
        /// The plugin failed, and was started from its last checkpoint.
        Restarted = 1,
        /// A version took over from the one before.
        TookOver = 2,
        /// It ran already when the recording began: the first calls were made for the tape, and not of the plugin.
        Joined = 3,
        /// A cause of a later version.
        Other = 255,
    }
}

composite! {
    /// An instance of a plugin whose calls follow: who it is, and what it may use.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Opened {
        /// Number of the tape.
        pub tape: u32,
        /// Name of the plugin.
        pub plugin: String,
        /// Version of the plugin.
        pub version: String,
        /// SHA-256 of its file, hexadecimal.
        pub sha256: String,
        /// Contract of the plugin.
        pub contract: String,
        /// Schema of its batches.
        pub schema: u16,
        /// Why the tape begins.
        pub cause: TapeCause,
        /// Limit of linear memory, bytes.
        pub memory_bytes: u64,
        /// Limit of a table's elements.
        pub table_elements: u64,
        /// Limit of the native stack, bytes.
        pub stack_bytes: u64,
        /// Limit of what a call returns, bytes.
        pub output_bytes: u64,
        /// Limit of a snapshot, bytes.
        pub state_bytes: u64,
        /// Limit of a line of the log, bytes.
        pub log_line_bytes: u64,
    }
}

words! {
    /// Which function of a plugin is called.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum TapedAct ("call" else Other) {
        /// `init`: the input is the configuration, `seed` goes with it.
        #[default]
        Init = 0,
        /// `restore`: the input is the state, `from` the version that wrote it.
        Restore = 1,
        /// `handle`: the input is the batch.
        Handle = 2,
        /// `snapshot`: there is no input.
        Snapshot = 3,
        /// A function of a later contract.
        Other = 255,
    }
}

words! {
    /// What came back of a call.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum TapedAnswer ("answer" else Other) {
        /// The call was not made of the plugin: there is nothing to compare with.
        #[default]
        Unmade = 0,
        /// The call returned the recorded output.
        Returned = 1,
        /// The plugin refused; the text says why.
        Refused = 2,
        /// The call failed; the text says how.
        Failed = 3,
        /// An answer of a later version.
        Other = 255,
    }
}

words! {
    /// What made a call fail.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Failing ("failure" else Machine) {
        /// The call did not fail.
        #[default]
        Nothing = 0,
        /// A trap: the same input makes it again.
        Trap = 1,
        /// The call wanted more of something than it may have; the same input does so again.
        Limit = 2,
        /// The call returned more than it may; the same input does so again.
        Output = 3,
        /// Time or the machine decided: a deadline, the native stack. Not repeated.
        Machine = 4,
    }
}

composite! {
    /// A line that a plugin logged during a call.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct TapedLine {
        /// 0 error, 1 warning, 2 information, 3 for whoever looks for a fault.
        pub level: u8,
        /// The words of the line.
        pub text: String,
    }
}

composite! {
    /// A call of a plugin, and what came of it.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct TapedCall<'a> {
        /// Number of the tape.
        pub tape: u32,
        /// Number of the call on its tape, from 0 on.
        pub number: u64,
        /// Time of the batch; of other calls that of the batch before.
        pub boot_ns: u64,
        /// Which function of the plugin was called.
        pub act: TapedAct,
        /// Bytes that the function was given.
        pub input: Cow<'a, [u8]>,
        /// Version that wrote the state that `restore` is given.
        pub from: Cow<'a, str>,
        /// Seed that `init` is given.
        pub seed: u64,
        /// Kind of the answer: returned, refused, failed, or no call was made.
        pub answer: TapedAnswer,
        /// Bytes that the call returned.
        pub output: Cow<'a, [u8]>,
        /// Reason of a refusal or a failure.
        pub text: Cow<'a, str>,
        /// Cause of a failure.
        pub failing: Failing,
        /// Lines that it logged.
        pub log: Vec<TapedLine>,
        /// Lines beyond those that are kept of one call.
        pub log_more: u64,
    }
}

composite! {
    /// A batch of the host's own stream: all that its hooks saw, in the newest schema.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Streamed<'a> {
        /// Time of the batch.
        pub boot_ns: u64,
        /// Events in the batch.
        pub records: u32,
        /// Frames, a batch start first.
        pub batch: Cow<'a, [u8]>,
    }
}

composite! {
    /// Entries that did not reach the file, for the recorder was too slow.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Gap {
        /// Entries that are missing.
        pub entries: u64,
        /// Length of these entries together, bytes.
        pub bytes: u64,
    }
}

/// Why a recording ends.
pub(crate) mod ended {
    /// Somebody stopped the recording.
    pub(crate) const STOPPED: &str = "stopped";
    /// The recording is the content of a flight recorder.
    pub(crate) const DUMPED: &str = "what the flight recorder held";
    /// The recording reached `--record-mib`.
    pub(crate) const FULL: &str = "full";
}

composite! {
    /// The end of a recording that was ended in order.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Closing {
        /// Why: a word of [`ended`].
        pub why: String,
    }
}

/// An entry of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RecordEntry<'a> {
    /// See [`Head`].
    Head(Head),
    /// See [`Opened`].
    Opened(Opened),
    /// A call of a plugin and what came back.
    Call(TapedCall<'a>),
    /// See [`Streamed`].
    Streamed(Streamed<'a>),
    /// See [`Gap`].
    Gap(Gap),
    /// See [`Closing`].
    Closing(Closing),
    /// A kind of a later version.
    Unknown(u16),
}

impl<'a> RecordEntry<'a> {
    const fn kind(&self) -> u16 {
        match self {
            RecordEntry::Head(_) => 1,
            RecordEntry::Opened(_) => 2,
            RecordEntry::Call(_) => 3,
            RecordEntry::Streamed(_) => 4,
            RecordEntry::Gap(_) => 5,
            RecordEntry::Closing(_) => 6,
            RecordEntry::Unknown(kind) => *kind,
        }
    }

    /// Time of the entry, nanoseconds of `CLOCK_BOOTTIME`, where it has one.
    pub(super) const fn boot_ns(&self) -> Option<u64> {
        match self {
            RecordEntry::Head(head) => Some(head.boot_ns),
            RecordEntry::Call(call) => Some(call.boot_ns),
            RecordEntry::Streamed(batch) => Some(batch.boot_ns),
            RecordEntry::Opened(_)
            | RecordEntry::Gap(_)
            | RecordEntry::Closing(_)
            | RecordEntry::Unknown(_) => None,
        }
    }

    /// Appends the entry to some bytes.
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; ENTRY_HEAD]);
        match self {
            RecordEntry::Head(head) => head.encode_fields(out),
            RecordEntry::Opened(opened) => opened.encode_fields(out),
            RecordEntry::Call(call) => call.encode_fields(out),
            RecordEntry::Streamed(batch) => batch.encode_fields(out),
            RecordEntry::Gap(gap) => gap.encode_fields(out),
            RecordEntry::Closing(end) => end.encode_fields(out),
            RecordEntry::Unknown(_) => {}
        }
        let length = u32::try_from(out.len() - at - ENTRY_HEAD).unwrap_or(u32::MAX);
        let head = length.to_le_bytes().into_iter().chain(self.kind().to_le_bytes());
        out.iter_mut().skip(at).zip(head).for_each(|(to, from)| *to = from);
    }

    /// Takes the first entry of some bytes; what follows it.
    ///
    /// # Errors
    /// When the bytes are no entry.
    pub(super) fn take(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), CodecError> {
        let (head, rest) = bytes.split_first_chunk::<ENTRY_HEAD>().ok_or(CodecError::Malformed)?;
        let [a, b, c, d, e, f] = *head;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d]));
        let (body, rest) = length
            .ok()
            .and_then(|length| rest.split_at_checked(length))
            .ok_or(CodecError::Malformed)?;
        let mut from = Reader::new(body);
        let entry = match u16::from_le_bytes([e, f]) {
            1 => RecordEntry::Head(Head::decode_fields(&mut from)?),
            2 => RecordEntry::Opened(Opened::decode_fields(&mut from)?),
            3 => RecordEntry::Call(TapedCall::decode_fields(&mut from)?),
            4 => RecordEntry::Streamed(Streamed::decode_fields(&mut from)?),
            5 => RecordEntry::Gap(Gap::decode_fields(&mut from)?),
            6 => RecordEntry::Closing(Closing::decode_fields(&mut from)?),
            kind => RecordEntry::Unknown(kind),
        };
        Ok((entry, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_follow_each_other_and_unknown_ones_are_stepped_over() {
        let call = TapedCall {
            tape: 3,
            number: 9,
            act: TapedAct::Handle,
            input: Cow::Borrowed(&[1; 300]),
            answer: TapedAnswer::Returned,
            output: Cow::Borrowed(b"out"),
            log: vec![TapedLine { level: 2, text: "hm".into() }],
            ..TapedCall::default()
        };
        let entries = [
            RecordEntry::Head(Head {
                kernel: "6.12".into(),
                hooks: vec!["a".into()],
                ..Head::default()
            }),
            RecordEntry::Unknown(900),
            RecordEntry::Call(call),
            RecordEntry::Gap(Gap { entries: 2, bytes: 70_000 }),
            RecordEntry::Closing(Closing { why: ended::FULL.into() }),
        ];
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.push(&mut bytes));
        let mut rest = bytes.as_slice();
        for entry in &entries {
            let (taken, after) = RecordEntry::take(rest).unwrap();
            assert_eq!(taken, *entry);
            rest = after;
        }
        assert!(rest.is_empty());
        for cut in 1..ENTRY_HEAD {
            assert!(RecordEntry::take(&bytes[..cut]).is_err());
        }
    }
}
