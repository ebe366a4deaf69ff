//! The record room: what plugins were called with and what came back, as a file that can be played again.
//!
//! Nothing here knows Wasm or the kernel: a tape is written where a plugin is called, and read by whoever plays it.
//! The format is drawn in `block.rs`; why it is so: docs/adr/0027-recordings.md.

mod block;
mod entry;
mod file;
mod reader;
mod recorder;
mod redact;
mod slot;
mod tape;

pub use entry::{Failing, Head, Opened, TapeCause};
pub(crate) use entry::{RecordEntry, Streamed, TapedAct, TapedAnswer, TapedCall, TapedLine};
pub(crate) use file::RecordError;
pub(crate) use reader::{Damage, RecordingError, RecordingReader};
pub(crate) use recorder::Recorded;
pub use recorder::{FlightOptions, Options, Recorder};
pub use slot::RecorderSlot;
pub(crate) use tape::Tape;
pub use tape::TapedOutcome;
