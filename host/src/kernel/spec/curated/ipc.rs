//! Where the fields of keys and System V IPC objects are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Number, Text};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::KeyAlloc,
        &[
            field("kind", Text, &["key.type.name", "key.index_key.type.name"]),
            field("description", Text, &["key.description", "key.index_key.description"]),
            field("uid", Number, &["key.uid.val"]),
            field("flags", Number, &["flags"]),
        ],
    ),
    row(
        Hook::KeyPermission,
        &[field("need", Number, &["need_perm", "perm"]), field("uid", Number, &["cred.uid.val"])],
    ),
    row(
        Hook::IpcPermission,
        &[
            field("key", Number, &["ipcp.key"]),
            field("id", Number, &["ipcp.id"]),
            field("uid", Number, &["ipcp.uid.val"]),
            field("mode", Number, &["ipcp.mode"]),
            field("wanted", Number, &["flag"]),
        ],
    ),
    row(
        Hook::ShmShmat,
        &[
            field("key", Number, &["perm.key", "shp.key"]),
            field("id", Number, &["perm.id", "shp.id"]),
            field("uid", Number, &["perm.uid.val", "shp.uid.val"]),
            field("flags", Number, &["shmflg"]),
        ],
    ),
    row(
        Hook::MsgQueueMsgsnd,
        &[
            field("key", Number, &["perm.key", "msq.key"]),
            field("id", Number, &["perm.id", "msq.id"]),
            field("uid", Number, &["perm.uid.val", "msq.uid.val"]),
            field("kind", Number, &["msg.m_type"]),
            field("size", Number, &["msg.m_ts"]),
            field("flags", Number, &["msqflg"]),
        ],
    ),
    row(
        Hook::SemSemop,
        &[
            field("key", Number, &["perm.key", "sma.key"]),
            field("id", Number, &["perm.id", "sma.id"]),
            field("uid", Number, &["perm.uid.val", "sma.uid.val"]),
            field("operations", Number, &["nsops"]),
            field("alters", Number, &["alter"]),
        ],
    ),
];
