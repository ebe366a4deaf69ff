//! A `struct sockaddr` of the kernel → family, port, address; an IPv4-mapped address is IPv4.

use crate::capture::{self, Skip};
use crate::filter::Call;
use crate::global;
use crate::object::Object;

/// `AF_UNSPEC` of `include/linux/socket.h`.
pub const AF_UNSPEC: u16 = 0;
/// `AF_INET` of `include/linux/socket.h`.
pub const AF_INET: u16 = 2;
/// `AF_INET6` of `include/linux/socket.h`.
pub const AF_INET6: u16 = 10;
/// Least address length that the kernel takes for IPv4 (`sizeof(struct sockaddr_in)`).
const LEN_INET: u64 = 16;
/// Least address length that the kernel takes for IPv6 (`SIN6_LEN_RFC2133`).
const LEN_INET6: u64 = 24;
/// Second word of an address below `::ffff:0:0/96`, but for the IPv4 address in its upper half.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// `IPPROTO_TCP` of `include/uapi/linux/in.h`.
const TCP: u32 = 6;
/// `IPPROTO_MPTCP`: TCP on several ways.
const MPTCP: u32 = 262;
/// `IPPROTO_SMC`: shared memory, or TCP where the other side does not have it.
const SMC: u32 = 256;

/// The protocol that a rule names for a socket's (`sk_protocol`).
#[inline(always)]
pub fn named(protocol: u32) -> u32 {
    if protocol == MPTCP || protocol == SMC { TCP } else { protocol }
}

/// What an address without a family is to the kernel.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum Unspecified {
    /// No address: a connect to it ends a connection.
    Nothing = 0,
    /// IPv4: `inet_bind`, `udp_sendmsg` and `raw_sendmsg` take it for that.
    Inet = 1,
}

/// Reads an address of `len` bytes; what is too short for its family has neither
/// port nor address, and counts as not read.
#[inline(always)]
pub fn read(
    (from, len): (u64, u64),
    unspecified: Unspecified,
    call: &Call,
    object: &mut Object,
) -> Result<(), Skip> {
    // The address goes through memory: a global function takes no kernel pointer for a number.
    let failed = krsi_address(&from, len, unspecified as u64, call.facts.unknown_zero(), object);
    if failed == 0 { Ok(()) } else { Err(Skip::Read) }
}

/// Reads an address; not 0 when it cannot be read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_address(
    from: &u64,
    len: u64,
    unspecified: u64,
    zero: u64,
    out: &mut Object,
) -> u32 {
    let (Some(from), Some(object)) = (global::seen(from), global::seen_mut(out)) else { return 1 };
    let is_inet = unspecified == Unspecified::Inet as u64;
    u32::from(fill(*from, len, is_inet, object).is_err()) ^ zero as u32
}

/// Words are little-endian: family, port, then an IPv4 address or a flow label.
#[inline(always)]
fn fill(from: u64, len: u64, is_inet: bool, object: &mut Object) -> Result<(), Skip> {
    let mut family: u16 = if len < 2 { AF_UNSPEC } else { capture::probe(from)? };
    if is_inet && family == AF_UNSPEC && len >= LEN_INET {
        family = AF_INET;
    }
    if family == AF_INET && len >= LEN_INET {
        let head: u64 = capture::probe(from)?;
        object.set_address(family, (head >> 16) as u16, [head >> 32, 0]);
    } else if family == AF_INET6 && len >= LEN_INET6 {
        set_inet6(capture::probe(from)?, object);
    } else {
        object.set_family(family);
        // Too short for what it says it is, or to say anything.
        if len < 2 || family == AF_INET || family == AF_INET6 {
            object.set_unread();
        }
    }
    Ok(())
}

#[inline(always)]
fn set_inet6([head, high, low]: [u64; 3], object: &mut Object) {
    let port_be = (head >> 16) as u16;
    // An IPv4-mapped address becomes IPv4, so that rules cannot be evaded.
    if high == 0 && low as u32 == MAPPED {
        object.set_address(AF_INET, port_be, [low >> 32, 0]);
    } else {
        object.set_address(AF_INET6, port_be, [high, low]);
    }
}

/// Makes the words of a `struct sockaddr` of `AF_INET` or `AF_INET6` the object.
#[inline(always)]
pub fn set(words: [u64; 3], object: &mut Object) {
    let [head, ..] = words;
    if head as u16 == AF_INET {
        object.set_address(AF_INET, (head >> 16) as u16, [head >> 32, 0]);
    } else {
        set_inet6(words, object);
    }
}

const _: () = assert!(cfg!(target_endian = "little"));
