//! Where the fields of an exec's stages are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Inode, Number, Path, Text};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::BprmCredsForExec,
        &[
            field("file", Inode, &["bprm.file.f_inode"]),
            field("path", Path, &["bprm.file.f_path"]),
            field("name", Text, &["bprm.filename"]),
            field("interpreter", Text, &["bprm.interp"]),
            field("argc", Number, &["bprm.argc"]),
            field("envc", Number, &["bprm.envc"]),
        ],
    )
    .file("file"),
    row(
        Hook::BprmCredsFromFile,
        &[
            field("file", Inode, &["file.f_inode"]),
            field("path", Path, &["file.f_path"]),
            field("name", Text, &["bprm.filename"]),
            field("euid", Number, &["bprm.cred.euid.val"]),
            field("egid", Number, &["bprm.cred.egid.val"]),
        ],
    )
    .file("file"),
    row(
        Hook::BprmCommittingCreds,
        &[
            field("file", Inode, &["bprm.file.f_inode"]),
            field("path", Path, &["bprm.file.f_path"]),
            field("name", Text, &["bprm.filename"]),
            field("interpreter", Text, &["bprm.interp"]),
            field("euid", Number, &["bprm.cred.euid.val"]),
            field("egid", Number, &["bprm.cred.egid.val"]),
        ],
    ),
];
