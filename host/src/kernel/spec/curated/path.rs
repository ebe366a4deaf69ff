//! Where the fields of the `path_*` hooks are found: names made, moved and removed, and the attributes of a file by its
//! path. The last place is that of the `inode_*` hook that is attached instead.

use krsi_host_abi::hook::Hook;

use super::Shape::{Dentry, Inode, Number, Path, Text};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::PathUnlink,
        &[
            field("file", Inode, &["dentry.d_inode"]),
            field("folder", Path, &["dir"]),
            field("name", Text, &["dentry.d_name.name"]),
            field("parent", Inode, &["dir.dentry.d_inode", "dir"]),
        ],
    )
    .file("file")
    .or(Hook::InodeUnlink),
    row(
        Hook::PathRename,
        &[
            field("file", Inode, &["old_dentry.d_inode"]),
            field("replaced", Inode, &["new_dentry.d_inode"]),
            field("folder", Path, &["old_dir"]),
            field("name", Text, &["old_dentry.d_name.name"]),
            field("new_folder", Path, &["new_dir"]),
            field("new_name", Text, &["new_dentry.d_name.name"]),
            field("flags", Number, &["flags"]),
        ],
    )
    .file("file")
    .and("replaced")
    .or(Hook::InodeRename),
    row(
        Hook::PathMkdir,
        &[
            field("parent", Inode, &["dir.dentry.d_inode", "dir"]),
            field("folder", Path, &["dir"]),
            field("name", Text, &["dentry.d_name.name"]),
            field("mode", Number, &["mode"]),
        ],
    )
    .file("parent")
    .or(Hook::InodeMkdir),
    row(
        Hook::PathRmdir,
        &[
            field("file", Inode, &["dentry.d_inode"]),
            field("folder", Path, &["dir"]),
            field("name", Text, &["dentry.d_name.name"]),
            field("parent", Inode, &["dir.dentry.d_inode", "dir"]),
        ],
    )
    .file("file")
    .or(Hook::InodeRmdir),
    row(
        Hook::PathSymlink,
        &[
            field("parent", Inode, &["dir.dentry.d_inode", "dir"]),
            field("folder", Path, &["dir"]),
            field("name", Text, &["dentry.d_name.name"]),
            field("target", Text, &["old_name"]),
        ],
    )
    .file("parent")
    .or(Hook::InodeSymlink),
    row(
        Hook::PathLink,
        &[
            field("file", Inode, &["old_dentry.d_inode"]),
            field("source", Dentry, &["old_dentry"]),
            field("folder", Path, &["new_dir"]),
            field("name", Text, &["new_dentry.d_name.name"]),
        ],
    )
    .file("file")
    .or(Hook::InodeLink),
    row(
        Hook::PathChmod,
        &[
            field("file", Inode, &["path.dentry.d_inode", "dentry.d_inode"]),
            field("path", Path, &["path"]),
            field("mode", Number, &["mode", "attr.ia_mode"]),
        ],
    )
    .file("file")
    .or_attributes(0, 1),
    row(
        Hook::PathChown,
        &[
            field("file", Inode, &["path.dentry.d_inode", "dentry.d_inode"]),
            field("path", Path, &["path"]),
            field("uid", Number, &["uid.val", "uid", "attr.ia_uid.val"]),
            field("gid", Number, &["gid.val", "gid", "attr.ia_gid.val"]),
        ],
    )
    .file("file")
    .or_attributes(1, 2),
    row(
        Hook::PathTruncate,
        &[
            field("file", Inode, &["path.dentry.d_inode", "dentry.d_inode"]),
            field("path", Path, &["path"]),
        ],
    )
    .file("file")
    .or_attributes(3, 1),
    row(
        Hook::PathMknod,
        &[
            field("parent", Inode, &["dir.dentry.d_inode", "dir"]),
            field("folder", Path, &["dir"]),
            field("name", Text, &["dentry.d_name.name"]),
            field("mode", Number, &["mode"]),
            field("device", Number, &["dev"]),
        ],
    )
    .file("parent")
    .or(Hook::InodeMknod),
];
