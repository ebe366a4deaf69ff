//! What the program that proves a backend tells: that it was called, and for which file.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::deny::FileKey;

/// The one value of the map `PROOF`. The host writes the thread, the program the rest.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Proof {
    /// The thread whose calls count, as `bpf_get_current_pid_tgid` tells it; 0 for nobody's.
    pub thread: u64,
    /// Calls of that thread so far.
    pub calls: u64,
    /// The file of its last call, as programs see it; zero when that could not be read.
    pub file: FileKey,
}

const _: () = assert!(size_of::<Proof>() == 32);
