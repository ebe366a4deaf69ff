//! Where the fields of tasks and credentials are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Inline, Number};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::PtraceAccessCheck,
        &[
            field("target_tgid", Number, &["child.tgid"]),
            field("target_start_boot_ns", Number, &["child.group_leader.start_boottime"]),
            field("target_comm", Inline, &["child.comm"]),
            field("mode", Number, &["mode"]),
        ],
    ),
    row(
        Hook::PtraceTraceme,
        &[
            field("tracer_tgid", Number, &["parent.tgid"]),
            field("tracer_start_boot_ns", Number, &["parent.group_leader.start_boottime"]),
            field("tracer_comm", Inline, &["parent.comm"]),
        ],
    ),
    row(
        Hook::TaskKill,
        &[
            field("target_tgid", Number, &["p.tgid"]),
            field("target_start_boot_ns", Number, &["p.group_leader.start_boottime"]),
            field("target_comm", Inline, &["p.comm"]),
            field("signal", Number, &["sig"]),
        ],
    ),
    row(
        Hook::TaskFixSetuid,
        &[
            field("uid", Number, &["old.uid.val"]),
            field("euid", Number, &["old.euid.val"]),
            field("new_uid", Number, &["new.uid.val"]),
            field("new_euid", Number, &["new.euid.val"]),
            field("new_suid", Number, &["new.suid.val"]),
            field("flags", Number, &["flags"]),
        ],
    ),
    row(
        Hook::Capset,
        &[
            field("effective", Number, &["new.cap_effective.val", "new.cap_effective.cap[0]"]),
            field("effective_high", Number, &["new.cap_effective.cap[1]"]),
            field("permitted", Number, &["new.cap_permitted.val", "new.cap_permitted.cap[0]"]),
            field("permitted_high", Number, &["new.cap_permitted.cap[1]"]),
            field(
                "inheritable",
                Number,
                &["new.cap_inheritable.val", "new.cap_inheritable.cap[0]"],
            ),
            field("inheritable_high", Number, &["new.cap_inheritable.cap[1]"]),
        ],
    ),
    row(
        Hook::Capable,
        &[
            field("capability", Number, &["cap"]),
            field("options", Number, &["opts"]),
            field("user_ns", Number, &["ns.ns.inum"]),
        ],
    ),
    row(
        Hook::UsernsCreate,
        &[field("uid", Number, &["cred.uid.val"]), field("euid", Number, &["cred.euid.val"])],
    )
    .since("6.1"),
    row(Hook::TaskAlloc, &[field("clone_flags", Number, &["clone_flags"])]),
    row(
        Hook::TaskFree,
        &[
            field("tgid", Number, &["task.tgid"]),
            field("tid", Number, &["task.pid"]),
            field("comm", Inline, &["task.comm"]),
        ],
    ),
];
