//! Where the fields of names and attributes are found, without a mount.

use krsi_host_abi::hook::Hook;

use super::Shape::{Dentry, Inode, Number, Text};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::InodeUnlink,
        &[
            field("file", Inode, &["dentry.d_inode"]),
            field("parent", Inode, &["dir"]),
            field("path", Dentry, &["dentry"]),
        ],
    )
    .file("file"),
    row(
        Hook::InodeRename,
        &[
            field("file", Inode, &["old_dentry.d_inode"]),
            field("replaced", Inode, &["new_dentry.d_inode"]),
            field("path", Dentry, &["old_dentry"]),
            field("new_path", Dentry, &["new_dentry"]),
        ],
    )
    .file("file")
    .and("replaced"),
    row(
        Hook::InodeMkdir,
        &[
            field("parent", Inode, &["dir"]),
            field("path", Dentry, &["dentry"]),
            field("mode", Number, &["mode"]),
        ],
    )
    .file("parent"),
    row(
        Hook::InodeRmdir,
        &[
            field("file", Inode, &["dentry.d_inode"]),
            field("parent", Inode, &["dir"]),
            field("path", Dentry, &["dentry"]),
        ],
    )
    .file("file"),
    row(
        Hook::InodeSymlink,
        &[
            field("parent", Inode, &["dir"]),
            field("path", Dentry, &["dentry"]),
            field("target", Text, &["old_name"]),
        ],
    )
    .file("parent"),
    row(
        Hook::InodeLink,
        &[
            field("file", Inode, &["old_dentry.d_inode"]),
            field("source", Dentry, &["old_dentry"]),
            field("parent", Inode, &["dir"]),
            field("path", Dentry, &["new_dentry"]),
        ],
    )
    .file("file"),
    row(
        Hook::InodeSetattr,
        &[
            field("file", Inode, &["dentry.d_inode"]),
            field("path", Dentry, &["dentry"]),
            field("valid", Number, &["attr.ia_valid"]),
            field("mode", Number, &["attr.ia_mode"]),
            field("uid", Number, &["attr.ia_uid.val"]),
            field("gid", Number, &["attr.ia_gid.val"]),
            field("size", Number, &["attr.ia_size"]),
        ],
    )
    .file("file"),
    row(
        Hook::InodeMknod,
        &[
            field("parent", Inode, &["dir"]),
            field("path", Dentry, &["dentry"]),
            field("mode", Number, &["mode"]),
            field("device", Number, &["dev"]),
        ],
    )
    .file("parent"),
    row(
        Hook::InodeSetxattr,
        &[
            field("file", Inode, &["dentry.d_inode"]),
            field("path", Dentry, &["dentry"]),
            field("name", Text, &["name"]),
            field("size", Number, &["size"]),
            field("flags", Number, &["flags"]),
        ],
    )
    .file("file"),
];
