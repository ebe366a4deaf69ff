//! The framing of batches, action lists and manifests: length, kind, body.
//!
//! ```text
//! | u32 length of body | u16 kind | body … | u32 length | u16 kind | body … |
//! ```
//! Little endian. A reader skips kinds it does not know and ignores bytes after the fields it
//! knows, so a later version may add both. Bodies of schema 0.1 are postcard, later ones of
//! [`crate::codec`].

use alloc::vec::Vec;

use serde::Serialize;

use crate::codec::{CodecError, Reader};

/// Bytes before a frame's body.
pub const FRAME_HEADER: usize = 6;
/// Largest body: what a reader refuses to believe beyond.
pub const MAX_BODY: usize = 1 << 20;

/// Why a list of frames could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end inside a frame.
    #[error("frame at byte {at} is cut off")]
    Cut {
        /// Position of the frame.
        at: usize,
    },
    /// A length beyond [`MAX_BODY`].
    #[error("frame at byte {at} claims {len} bytes, at most {MAX_BODY} are allowed")]
    TooLong {
        /// Position of the frame.
        at: usize,
        /// Bytes that the frame's head claims.
        len: usize,
    },
    /// The body is not what its kind says.
    #[error("frame of kind {kind} at byte {at} does not decode")]
    Body {
        /// Position of the frame.
        at: usize,
        /// Kind of the frame.
        kind: u16,
    },
    /// The body says something that this version does not know and must not leave out.
    #[error("{what} {number} is not known to this version")]
    Unknown {
        /// Kind of the word, as messages name it.
        what: &'static str,
        /// Number of the word.
        number: u64,
    },
}

/// A frame of a list; its body is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Position in the list, for error messages.
    pub at: usize,
    /// Number of the frame's kind.
    pub kind: u16,
    /// Bytes after the frame's head.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A reader of the body.
    #[must_use]
    pub const fn reader(&self) -> Reader<'a> {
        Reader::new(self.body)
    }

    /// Takes the body from its reader, ignoring a tail that a later version appended.
    ///
    /// # Errors
    /// What `take` says, with the frame's place.
    pub fn read<T>(
        &self,
        take: impl FnOnce(&mut Reader<'a>) -> Result<T, CodecError>,
    ) -> Result<T, FrameError> {
        take(&mut self.reader()).map_err(|error| match error {
            CodecError::Malformed => FrameError::Body { at: self.at, kind: self.kind },
            CodecError::Unknown { what, number } => FrameError::Unknown { what, number },
        })
    }

    /// Decodes the body of schema 0.1, ignoring a tail that a later version appended.
    ///
    /// # Errors
    /// [`FrameError::Body`] when the body does not hold a `T`.
    pub fn decode<T: serde::Deserialize<'a>>(&self) -> Result<T, FrameError> {
        postcard::take_from_bytes(self.body)
            .map(|(value, _tail)| value)
            .map_err(|_| FrameError::Body { at: self.at, kind: self.kind })
    }
}

/// Iterates over the frames of a list; ends after the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// Reads `bytes` from the start.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn fail(&mut self, error: FrameError) -> Option<Result<Frame<'a>, FrameError>> {
        self.at = self.bytes.len();
        Some(Err(error))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let Some((header, rest)) = rest.split_first_chunk::<FRAME_HEADER>() else {
            return self.fail(FrameError::Cut { at });
        };
        let [a, b, c, d, e, f] = *header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > MAX_BODY {
            return self.fail(FrameError::TooLong { at, len });
        }
        let Some(body) = rest.get(..len) else { return self.fail(FrameError::Cut { at }) };
        self.at = at + FRAME_HEADER + len;
        Some(Ok(Frame { at, kind: u16::from_le_bytes([e, f]), body }))
    }
}

/// Appends one frame of schema 0.1 to `out`.
///
/// # Errors
/// [`FrameError::TooLong`] when the body is longer than [`MAX_BODY`], [`FrameError::Body`] when
/// `value` cannot be serialised; `out` is then as before.
pub fn push<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    kind: u16,
    value: &T,
) -> Result<(), FrameError> {
    let at = out.len();
    let mut written = Ok(());
    write(out, kind, |out| written = postcard::serialize_with_flavor(value, Append(out)))?;
    written.map_err(|_| {
        out.truncate(at);
        FrameError::Body { at, kind }
    })
}

/// Appends one frame to `out`, whose body `body` appends.
///
/// # Errors
/// [`FrameError::TooLong`] when the body is longer than [`MAX_BODY`]; `out` is then as before.
pub fn write(
    out: &mut Vec<u8>,
    kind: u16,
    body: impl FnOnce(&mut Vec<u8>),
) -> Result<(), FrameError> {
    let at = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    body(out);
    let len = out.len() - at - FRAME_HEADER;
    let Some(size) = u32::try_from(len).ok().filter(|_| len <= MAX_BODY) else {
        out.truncate(at);
        return Err(FrameError::TooLong { at, len });
    };
    if let Some(header) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<FRAME_HEADER>) {
        let ([a, b, c, d], [e, f]) = (size.to_le_bytes(), kind.to_le_bytes());
        *header = [a, b, c, d, e, f];
    }
    Ok(())
}

/// Postcard output that appends to a vector in place.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn frames_round_trip_and_a_tail_is_ignored() {
        let mut out = Vec::new();
        push(&mut out, 7, &(1u32, 2u8)).unwrap();
        push(&mut out, 9, &3u64).unwrap();
        let frames: Vec<_> = Frames::new(&out).map(Result::unwrap).collect();
        assert_eq!(frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(frames[0].decode::<u32>(), Ok(1));
        assert_eq!(frames[1].decode::<(u64, u64)>(), Err(FrameError::Body { at: 8, kind: 9 }));
    }

    #[test]
    fn a_cut_or_lying_frame_is_an_error_and_ends_the_list() {
        let mut out = Vec::new();
        push(&mut out, 7, &[1u8, 2, 3]).unwrap();
        for cut in 1..out.len() {
            let all: Vec<_> = Frames::new(&out[..cut]).collect();
            assert_eq!(all, vec![Err(FrameError::Cut { at: 0 })]);
        }
        let lie = [0xff; 8];
        let all: Vec<_> = Frames::new(&lie).collect();
        assert_eq!(all, vec![Err(FrameError::TooLong { at: 0, len: 0xffff_ffff })]);
    }
}
