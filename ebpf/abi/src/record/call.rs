//! The body of every hook without a layout of its own: the values that its captures read.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::spec::CAPTURES;

/// Bits of a value of a text capture.
///
/// ```text
/// 0        16       32       48
/// | offset | length | flags  | 0 |      offset counted from the end of the body
/// ```
pub mod text_value {
    /// Bits before the length.
    pub const LEN_SHIFT: u32 = 16;
    /// Bits before the flags.
    pub const FLAG_SHIFT: u32 = 32;
    /// Flag: the kernel had more than fits.
    pub const TRUNCATED: u64 = 1;
    /// Flag: names from the leaf upwards, each ended by NUL, to be reversed and joined by `/`.
    pub const UPWARDS: u64 = 2;
    /// Flag: within one mount only; the mount's own place is not known.
    pub const WITHIN_MOUNT: u64 = 4;
}

/// Captures of a call, as the template read them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Call {
    /// One value a capture: the number, or a text's [`text_value`].
    pub values: [u64; CAPTURES],
    /// Captures that were read, as bits.
    pub read: u32,
    /// Captures whose pointers were NULL on the way, as bits.
    pub null: u32,
}

const _: () = assert!(size_of::<Call>() == 8 * CAPTURES + 8);
