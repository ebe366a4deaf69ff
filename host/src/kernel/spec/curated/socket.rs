//! Where the fields of sockets are found.

use krsi_host_abi::hook::Hook;

use super::Shape::{Number, SockAddr};
use super::{CuratedRow, field, row};

pub(super) const ROWS: &[CuratedRow] = &[
    row(
        Hook::SocketCreate,
        &[
            field("family", Number, &["family"]),
            field("kind", Number, &["type"]),
            field("protocol", Number, &["protocol"]),
            field("for_kernel", Number, &["kern"]),
        ],
    ),
    row(
        Hook::SocketBind,
        &[
            field("address", SockAddr, &["address"]),
            field("family", Number, &["sock.sk.__sk_common.skc_family"]),
            field("kind", Number, &["sock.type"]),
            field("protocol", Number, &["sock.sk.sk_protocol"]),
        ],
    )
    .network("address"),
    row(
        Hook::SocketListen,
        &[
            field("family", Number, &["sock.sk.__sk_common.skc_family"]),
            field("kind", Number, &["sock.type"]),
            field("protocol", Number, &["sock.sk.sk_protocol"]),
            field("port", Number, &["sock.sk.__sk_common.skc_num"]),
            field("backlog", Number, &["backlog"]),
        ],
    ),
    row(
        Hook::SocketAccept,
        &[
            field("family", Number, &["sock.sk.__sk_common.skc_family"]),
            field("kind", Number, &["sock.type"]),
            field("protocol", Number, &["sock.sk.sk_protocol"]),
            field("port", Number, &["sock.sk.__sk_common.skc_num"]),
        ],
    ),
    row(
        Hook::SocketSendmsg,
        &[
            field("address", SockAddr, &["peer", "msg.msg_name"]),
            field("family", Number, &["sock.sk.__sk_common.skc_family"]),
            field("kind", Number, &["sock.type"]),
            field("protocol", Number, &["sock.sk.sk_protocol"]),
            field("size", Number, &["size"]),
        ],
    )
    .network("address"),
];
