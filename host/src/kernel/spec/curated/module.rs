//! Where the fields of what reaches into the kernel itself are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Bytes, Inline, Inode, Number, Path, Text};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::KernelReadFile,
        &[
            field("file", Inode, &["file.f_inode"]),
            field("path", Path, &["file.f_path"]),
            field("purpose", Number, &["id"]),
            field("contents", Number, &["contents"]),
        ],
    )
    .file("file"),
    row(
        Hook::KernelLoadData,
        &[field("purpose", Number, &["id"]), field("contents", Number, &["contents"])],
    ),
    row(Hook::KernelModuleRequest, &[field("name", Text, &["kmod_name"])]),
    row(
        Hook::Bpf,
        &[
            field("command", Number, &["cmd"]),
            field("size", Number, &["size"]),
            field("from_kernel", Number, &["kernel"]),
        ],
    ),
    row(
        Hook::BpfProg,
        &[
            field("id", Number, &["prog.aux.id"]),
            field("kind", Number, &["prog.type"]),
            field("name", Inline, &["prog.aux.name"]),
            field("tag", Bytes(8), &["prog.tag"]),
        ],
    ),
    row(
        Hook::BpfMap,
        &[
            field("id", Number, &["map.id"]),
            field("kind", Number, &["map.map_type"]),
            field("name", Inline, &["map.name"]),
            field("mode", Number, &["fmode"]),
        ],
    ),
    row(
        Hook::PerfEventOpen,
        &[
            field("purpose", Number, &["type"]),
            field("kind", Number, &["attr.type"]),
            field("config", Number, &["attr.config"]),
        ],
    ),
    row(Hook::LockedDown, &[field("reason", Number, &["what"])]),
    row(
        Hook::Settime,
        &[field("seconds", Number, &["ts.tv_sec"]), field("nanoseconds", Number, &["ts.tv_nsec"])],
    ),
    row(Hook::Syslog, &[field("action", Number, &["type"])]),
];
