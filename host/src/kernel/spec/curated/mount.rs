//! Where the fields of mounts are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Inline, Number, Path, Text};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::SbMount,
        &[
            field("device", Text, &["dev_name"]),
            field("path", Path, &["path"]),
            field("filesystem", Text, &["type"]),
            field("flags", Number, &["flags"]),
        ],
    ),
    row(
        Hook::SbUmount,
        &[
            field("device", Number, &["mnt.mnt_sb.s_dev"]),
            field("filesystem", Text, &["mnt.mnt_sb.s_type.name"]),
            field("name", Inline, &["mnt.mnt_sb.s_id"]),
            field("flags", Number, &["flags"]),
        ],
    ),
    row(Hook::MoveMount, &[field("from", Path, &["from_path"]), field("to", Path, &["to_path"])]),
    row(
        Hook::SbPivotroot,
        &[field("put_old", Path, &["old_path"]), field("new_root", Path, &["new_path"])],
    ),
];
