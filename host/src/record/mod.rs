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

pub use entry::{
    Act, Answer, Call, Cause, Closing, Entry, Failing, Gap, Head, LogLine, Opened, Streamed, ended,
};
pub use file::{RecordError, create};
pub use reader::{Damage, ReadError, Recording};
pub use recorder::{Options, Recorded, Recorder};
pub use slot::RecorderSlot;
pub use tape::{Outcome, Tape};
