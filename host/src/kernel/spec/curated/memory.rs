//! Where the fields of mappings are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Inode, Number, Path};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::MmapFile,
        &[
            field("file", Inode, &["file.f_inode", "file__nullable.f_inode"]),
            field("path", Path, &["file.f_path", "file__nullable.f_path"]),
            field("requested", Number, &["reqprot", "prot"]),
            field("protection", Number, &["prot"]),
            field("flags", Number, &["flags"]),
        ],
    )
    .file("file"),
    row(
        Hook::FileMprotect,
        &[
            field("file", Inode, &["vma.vm_file.f_inode"]),
            field("path", Path, &["vma.vm_file.f_path"]),
            field("vm_start", Number, &["vma.vm_start"]),
            field("vm_end", Number, &["vma.vm_end"]),
            field("vm_flags", Number, &["vma.vm_flags"]),
            field("requested", Number, &["reqprot"]),
            field("protection", Number, &["prot"]),
        ],
    )
    .file("file"),
];
