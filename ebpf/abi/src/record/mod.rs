//! The record on the rings: header, hook body, string tail.
//!
//! ```text
//! 0              120            120+body        120+body+tail_short or tail_long
//! | Header       | body of hook | path bytes … | argv bytes … |
//! ```
//! A reservation has one of two sizes (short and long tail), because a ring reservation must have
//! a size the verifier knows; a body says where its strings lie and how long they are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::deny::ProcessKey;
use crate::spec::ROOMS;

mod call;
mod exec;
mod file;
mod socket;
mod task;

pub use call::{Call, text_value};
pub use exec::{Exec, exec_flag};
pub use file::FileOpen;
pub use socket::Connect;
pub use task::{Exit, Fork};

/// Bytes of `comm` in the kernel (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
/// Path room of a short record.
pub const PATH_SHORT: usize = 256;
/// Path room of a long record (`PATH_MAX`).
pub const PATH_LONG: usize = 4096;
/// argv room of a short exec record.
pub const ARGV_SHORT: usize = 2048;
/// argv room of a long exec record; what does not fit is cut and flagged.
pub const ARGV_LONG: usize = 4096;

/// Bytes that the kernel puts before each record on a ring (`BPF_RINGBUF_HDR_SZ`).
const RING_HEADER: usize = 8;
/// The longest reservation: a call whose every text has a long path's room.
pub const RECORD_MAX: usize = size_of::<Header>() + size_of::<Call>() + ROOMS * PATH_LONG;
/// The smallest ring that holds the longest record, a power of two as the kernel wants it.
pub const RING_MIN: usize = (RECORD_MAX + RING_HEADER).next_power_of_two();

/// Verdict on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Nothing to say: telemetry.
    None = 0,
    /// Refused with `errno`.
    Denied = 1,
    /// Would have been refused: an audit lease applied.
    Audited = 2,
}

/// First bytes of every record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Header {
    /// Layout version of the record, [`crate::ABI_VERSION`].
    pub abi: u16,
    /// Id of the hook, [`crate::hook::Hook::id`], or the slot of a watch.
    pub hook: u16,
    /// CPU the hook ran on.
    pub cpu: u32,
    /// `CLOCK_BOOTTIME` of the call.
    pub boot_ns: u64,
    /// The calling process.
    pub process: ProcessKey,
    /// Real parent of the calling process.
    pub parent: ProcessKey,
    /// Calling thread.
    pub tid: u32,
    /// `current_uid()` in the initial user namespace.
    pub uid: u32,
    /// `current_gid()` in the initial user namespace.
    pub gid: u32,
    /// Inode number of the mount namespace; 0 when unknown.
    pub mount_ns: u32,
    /// Id of the cgroup in the unified hierarchy.
    pub cgroup_id: u64,
    /// Rule that decided; 0 without one.
    pub rule_id: u64,
    /// Errno of the verdict, positive.
    pub errno: u16,
    /// Number of the [`Verdict`].
    pub verdict: u8,
    /// Owner slot of the rule.
    pub owner: u8,
    /// Padding, zero.
    pub pad: u32,
    /// Labels that the calling process had before the call, as bits.
    pub labels: u64,
    /// Labels that the call gave it, as bits; at the beginning of an exec, those that it gives if it succeeds.
    pub given: u64,
    /// Thread name, NUL padded.
    pub comm: [u8; COMM_LEN],
}

/// A string in a record's tail.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Text {
    /// First byte, counted from the end of the body.
    pub offset: u16,
    /// Bytes, without a final NUL.
    pub len: u16,
    /// Bits of [`text_flag`].
    pub flags: u16,
    /// Padding, zero.
    pub pad: u16,
}

/// Bits of [`Text::flags`].
pub mod text_flag {
    /// The kernel had more than fits, or could not resolve it in full.
    pub const TRUNCATED: u16 = 1;
    /// Names from the leaf upwards, each ended by NUL: to be reversed and joined by `/`.
    pub const UPWARDS: u16 = 2;
}

const _: () = assert!(
    size_of::<Header>() + size_of::<Exec>() + PATH_LONG + ARGV_LONG <= RECORD_MAX,
    "an exec takes less than a call"
);
const _: () = assert!(RING_MIN == 32768);
const _: () = assert!(size_of::<Header>() == 120);
const _: () = assert!(size_of::<Text>() == 8);
