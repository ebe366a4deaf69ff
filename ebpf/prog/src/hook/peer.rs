//! Where a message goes: the address that it names, or the peer that its socket is connected to.

use krsi_host_abi::capture::ABSENT;
use krsi_host_abi::spec::peer;

use super::address::{self, AF_INET, AF_INET6, AF_UNSPEC};
use super::state::State;
use crate::capture::{self, Skip};
use crate::spec::{self, Row};
use crate::{global, offset};

/// `SOCK_STREAM` of `include/linux/net.h`.
const STREAM: u16 = 1;
/// `SOCK_DGRAM` of the same.
const DATAGRAM: u16 = 2;

/// Words of a `struct sockaddr` of `AF_INET` or `AF_INET6`: family, port and IPv4 address, then the IPv6 address.
pub type Words = [u64; 3];

/// Address of what the message names; 0 if its socket's peer is what counts: without a name, for a stream that is
/// connected (`tcp_sendmsg` looks at no name), and for a datagram of IPv6 to a name without a family
/// (`udpv6_sendmsg`).
#[inline(always)]
pub fn named(row: Row, state: &State) -> Result<u64, Skip> {
    let name: u64 = state.pointer(row.arg())?.load_at(row.last());
    if name == 0 {
        return Ok(0);
    }
    let socket = state.pointer(0)?;
    let kind: u16 = socket.load(&offset::SOCKET_TYPE)?;
    let sock = match socket.ptr(&offset::SOCKET_SK) {
        Ok(sock) => sock,
        Err(Skip::Null) => return Ok(name),
        Err(skip) => return Err(skip),
    };
    let family: u16 = sock.load_at(row.offset(peer::FAMILY));
    let port: u16 = sock.load_at(row.offset(peer::PORT));
    let is_inet = family == AF_INET || family == AF_INET6;
    if kind == STREAM && is_inet && port != 0 {
        return Ok(0);
    }
    if kind == DATAGRAM && family == AF_INET6 && capture::probe::<u16>(name)? == AF_UNSPEC {
        return Ok(0);
    }
    Ok(name)
}

/// What the socket is connected to.
#[inline(always)]
pub fn connected(row: Row, state: &State) -> Result<Words, Skip> {
    let sock = state.pointer(0)?.ptr(&offset::SOCKET_SK)?;
    let family: u16 = sock.load_at(row.offset(peer::FAMILY));
    let port: u16 = sock.load_at(row.offset(peer::PORT));
    let head = u64::from(family) | u64::from(port) << 16;
    let words = if family == AF_INET {
        let address: u32 = sock.load_at(row.offset(peer::INET));
        [head | u64::from(address) << 32, 0, 0]
    } else if family == AF_INET6 && row.offset(peer::INET6) != ABSENT as usize {
        let [high, low]: [u64; 2] =
            capture::probe(sock.address() + row.offset(peer::INET6) as u64)?;
        [head, high, low]
    } else {
        return Err(Skip::Null);
    };
    let [head, high, low] = words;
    if head >> 16 | high | low == 0 { Err(Skip::Null) } else { Ok(words) }
}

/// Makes the peer the object of the call. Answers zero.
#[inline(never)]
pub fn object(state: &mut State) -> u32 {
    match connected(Row::new(spec::object_capture() as usize), state) {
        Ok(words) => address::set(words, &mut state.traits.object),
        Err(Skip::Null) => {}
        Err(_) => state.traits.object.set_unread(),
    }
    state.traits.object.forget(&state.call);
    state.values.unknown_zero() as u32
}

/// Family of the peer, and its port in host order from bit 16 on.
#[inline(always)]
pub fn port(row: Row, state: &State) -> Result<u64, Skip> {
    let [head, ..] = connected(row, state)?;
    Ok(head & 0xffff | u64::from(u16::from_be((head >> 16) as u16)) << 16)
}

/// Bytes of a `struct sockaddr_in6`.
pub const LEN: u16 = 28;

/// Writes the peer as a `struct sockaddr` into a room.
#[inline(always)]
pub fn write<const R: usize>(row: Row, state: &State, room: *mut [u8; R]) -> Result<(), Skip> {
    const { assert!(R >= 32) };
    let [head, high, low] = connected(row, state)?;
    capture::put(room.cast::<[u64; 4]>(), [head, high, low, global::written(0)]);
    Ok(())
}
