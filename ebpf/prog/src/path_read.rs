//! Result of reading a path.

use crate::skip::Skip;

/// `ENAMETOOLONG` of `include/uapi/asm-generic/errno.h`.
const ENAMETOOLONG: i64 = 36;

/// Result of reading a path.
pub enum PathRead {
    /// The path stands in the buffer: its length in bytes, without the NUL.
    Whole(u16),
    /// Its names stand in the buffer from the leaf upwards, each ended by NUL; true when the root
    /// was not reached.
    Upwards(u16, bool),
    /// The path does not fit into the buffer.
    TooLong,
}

impl PathRead {
    /// From what the kernel answered: a length with the NUL, or a negative errno.
    #[inline(always)]
    pub fn resolved(len: i64) -> Result<Self, Skip> {
        if len == -ENAMETOOLONG {
            Ok(PathRead::TooLong)
        } else if len <= 0 {
            Err(Skip::Read)
        } else {
            Ok(PathRead::Whole((len - 1) as u16))
        }
    }
}
