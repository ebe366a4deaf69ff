//! Baselines of `socket_connect`, for IPv4.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::Connect;

use crate::read::{self, Ptr, offset};
use crate::{record, rule};

/// `socket_connect` with an empty program.
#[lsm(hook = "socket_connect")]
pub fn connect_bare(_: LsmContext) -> i32 {
    0
}

/// `socket_connect` with one look-up of the caller.
#[lsm(hook = "socket_connect")]
pub fn connect_process(_: LsmContext) -> i32 {
    rule::process()
}

/// `socket_connect` with one look-up of the destination.
#[lsm(hook = "socket_connect")]
pub fn connect_object(ctx: LsmContext) -> i32 {
    rule::network(&ctx)
}

/// `socket_connect` with a record of it.
#[lsm(hook = "socket_connect")]
pub fn connect_record(ctx: LsmContext) -> i32 {
    let (Some(socket), Some(address)) = (Ptr::arg::<0>(&ctx), Ptr::arg::<1>(&ctx)) else {
        return 0;
    };
    record::submit::<Connect, 0>(Hook::SocketConnect, |body, _| {
        let [f, g, p, q, a, b, c, d, ..] = read::address(address)?;
        let connect = Connect {
            address: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            family: u16::from_ne_bytes([f, g]),
            port_be: u16::from_ne_bytes([p, q]),
            protocol: socket.ptr(&offset::SOCKET_SK)?.load(&offset::SOCK_SK_PROTOCOL),
            kind: socket.load(&offset::SOCKET_TYPE),
        };
        record::write(body, connect);
        Some(())
    });
    0
}
