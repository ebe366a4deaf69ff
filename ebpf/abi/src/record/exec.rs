//! Bodies of the exec family: `bprm_check_security` and `bprm_committed_creds`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Text;
use crate::deny::FileKey;

/// Bits of [`Exec::flags`].
pub mod exec_flag {
    /// Anonymous file of `memfd_create`: unlinked, on the kernel's own tmpfs mount.
    pub const MEMFD: u32 = 1 << 0;
    /// The executable has no name left (`i_nlink == 0`).
    pub const DELETED: u32 = 1 << 1;
}

/// An executable about to run, or running.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Exec {
    /// The executable; of a script, the interpreter once it is committed.
    pub file: FileKey,
    /// Resolved path, mount aware.
    pub path: Text,
    /// argv, NUL separated; empty in `bprm_check_security`.
    pub argv: Text,
    /// Number of arguments, `bprm->argc`.
    pub argc: u32,
    /// Bits of [`exec_flag`].
    pub flags: u32,
}

const _: () = assert!(size_of::<Exec>() == 40);
