//! Programs of the socket family.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::deny::{NETWORK_FIXED_BITS, NetworkKey};
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::Connect;

use crate::capture::{self, Ptr, Skip};
use crate::emit::{self, Fill, NoTail, Room};
use crate::filter;
use crate::offset;
use crate::verdict::{self, Object};

/// `AF_INET` of `include/linux/socket.h`.
const AF_INET: u16 = 2;
/// `AF_INET6` of `include/linux/socket.h`.
const AF_INET6: u16 = 10;
/// Least address length that the kernel takes for IPv4 (`sizeof(struct sockaddr_in)`).
const LEN_INET: u64 = 16;
/// Least address length that the kernel takes for IPv6 (`SIN6_LEN_RFC2133`).
const LEN_INET6: u64 = 24;

/// `security_socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`.
/// A skipped capture allows.
#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let Some(call) = filter::enter(Hook::SocketConnect) else { return 0 };
    match destination(&ctx) {
        Ok(connect) => {
            let decision = verdict::decide(&call, object(&connect));
            emit::account(&call, &decision);
            emit::emit(&call, &decision, |room: &Room<Connect, NoTail>| {
                room.write(connect);
                Ok(Fill::Done)
            });
            decision.answer()
        }
        Err(skip) => {
            filter::skip(call.hook, skip);
            0
        }
    }
}

#[inline(always)]
fn destination(ctx: &LsmContext) -> Result<Connect, Skip> {
    let socket = Ptr::arg::<0>(ctx)?;
    let address = Ptr::arg::<1>(ctx)?;
    let len = capture::number::<2>(ctx) & 0xffff_ffff;
    let kind: u16 = socket.load(&offset::SOCKET_TYPE)?;
    // `sk` is NULL for a socket that is being torn down.
    let protocol = match socket.ptr(&offset::SOCKET_SK) {
        Ok(sock) => sock.load(&offset::SOCK_SK_PROTOCOL)?,
        Err(Skip::Null) => 0,
        Err(skip) => return Err(skip),
    };
    let family = if len < 2 { 0 } else { u16::from_ne_bytes(capture::kernel_bytes(address)?) };
    let mut connect = Connect { address: [0; 16], family, port_be: 0, protocol, kind };
    if family == AF_INET && len >= LEN_INET {
        let [_, _, p, q, a, b, c, d] = capture::kernel_bytes(address)?;
        connect.port_be = u16::from_ne_bytes([p, q]);
        connect.address = v4([a, b, c, d]);
    } else if family == AF_INET6 && len >= LEN_INET6 {
        six(&mut connect, address)?;
    }
    Ok(connect)
}

/// Fills in an IPv6 destination; an IPv4-mapped one becomes IPv4, so that rules cannot be evaded.
#[inline(always)]
fn six(connect: &mut Connect, address: Ptr) -> Result<(), Skip> {
    let bytes: [u8; 24] = capture::kernel_bytes(address)?;
    let [_, _, p, q, _, _, _, _, ip @ ..] = bytes;
    connect.port_be = u16::from_ne_bytes([p, q]);
    match ip {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
            connect.family = AF_INET;
            connect.address = v4([a, b, c, d]);
        }
        ip => connect.address = ip,
    }
    Ok(())
}

#[inline(always)]
fn v4([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[inline(always)]
fn object(connect: &Connect) -> Object {
    let bits = match connect.family {
        AF_INET => 32,
        AF_INET6 => 128,
        _ => return Object::None,
    };
    Object::Network(NetworkKey {
        prefix_bits: NETWORK_FIXED_BITS + bits,
        family: connect.family,
        port_be: connect.port_be,
        address: connect.address,
    })
}
