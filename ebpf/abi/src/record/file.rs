//! Bodies of the file family: `file_open`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Text;
use crate::deny::FileKey;

/// A file that is being opened.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FileOpen {
    /// The file that is being opened.
    pub file: FileKey,
    /// Resolved path, mount aware.
    pub path: Text,
    /// `file->f_flags` (`O_*` of `include/uapi/asm-generic/fcntl.h`).
    pub flags: u32,
    /// Type and permission bits of the file, `inode->i_mode`.
    pub mode: u32,
}

const _: () = assert!(size_of::<FileOpen>() == 32);
