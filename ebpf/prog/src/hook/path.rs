//! The path of a record: in full, or what is left of it, and whether the filter wants it.

use krsi_host_abi::record::{Text, text_flag};

use crate::capture::{Ptr, Skip};
use crate::emit::{Fill, Wanted};
use crate::filter::{self, Call, Traits};
use crate::resolve::{self, PathRead};

/// Result of writing a path.
pub enum Outcome {
    /// The path was written into the record's tail.
    Text(Text),
    /// The record ends here.
    Fill(Fill),
}

/// Writes the path of a file into `room`. A walked path is never matched against a filter's prefix:
/// it is forwarded, and the reader of the record decides.
#[inline(always)]
pub fn capture<const P: usize>(
    call: &Call,
    wanted: &Wanted,
    traits: &Traits,
    file: Ptr,
    room: *mut [u8; P],
    last: bool,
) -> Result<Outcome, Skip> {
    let text = match resolve::path(file, room)? {
        PathRead::Whole(len) => {
            if wanted.by_path() && !filter::path_passes(call, traits, room) {
                return Ok(Outcome::Fill(Fill::Unwanted));
            }
            Text { offset: 0, len, flags: 0, pad: 0 }
        }
        PathRead::Upwards(len, cut) => {
            let flags = text_flag::UPWARDS | if cut { text_flag::TRUNCATED } else { 0 };
            Text { offset: 0, len, flags, pad: 0 }
        }
        PathRead::TooLong if last => {
            let len = resolve::last_component(file, room)?;
            Text { offset: 0, len, flags: text_flag::TRUNCATED, pad: 0 }
        }
        PathRead::TooLong => return Ok(Outcome::Fill(Fill::TooLong)),
    };
    Ok(Outcome::Text(text))
}
