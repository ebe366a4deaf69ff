//! Bodies of the task family: fork and exit.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::deny::ProcessKey;

/// A new process; the header names its parent.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Fork {
    /// The process that was created.
    pub child: ProcessKey,
}

/// The last thread of a process ended.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Exit {
    /// `task->exit_code` as `wait(2)` encodes it.
    pub code: u32,
    /// Padding, zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Fork>() == 16);
const _: () = assert!(size_of::<Exit>() == 8);
