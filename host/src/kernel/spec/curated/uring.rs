//! Where the fields of io_uring are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Inode, Number, Path};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::UringOverrideCreds,
        &[field("uid", Number, &["new.uid.val"]), field("euid", Number, &["new.euid.val"])],
    )
    .since("5.16"),
    row(Hook::UringSqpoll, &[]).since("5.16"),
    row(
        Hook::UringCmd,
        &[
            field("file", Inode, &["ioucmd.file.f_inode"]),
            field("path", Path, &["ioucmd.file.f_path"]),
            field("command", Number, &["ioucmd.cmd_op"]),
        ],
    )
    .since("6.0"),
];
