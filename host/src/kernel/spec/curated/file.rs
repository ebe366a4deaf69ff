//! Where the fields of open files in use are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Inode, Number, Path};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[row(
    Hook::FilePermission,
    &[
        field("file", Inode, &["file.f_inode"]),
        field("path", Path, &["file.f_path"]),
        field("mask", Number, &["mask"]),
        field("flags", Number, &["file.f_flags"]),
    ],
)
.file("file")];
