//! A `struct sockaddr` of the kernel → family, port, address; an IPv4-mapped address is IPv4.

use crate::capture::{self, Skip};

/// `AF_INET` of `include/linux/socket.h`.
pub const AF_INET: u16 = 2;
/// `AF_INET6` of `include/linux/socket.h`.
pub const AF_INET6: u16 = 10;
/// Least address length that the kernel takes for IPv4 (`sizeof(struct sockaddr_in)`).
const LEN_INET: u64 = 16;
/// Least address length that the kernel takes for IPv6 (`SIN6_LEN_RFC2133`).
const LEN_INET6: u64 = 24;

/// An address.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Name {
    /// Address family; 0 when there is none.
    pub family: u16,
    /// Port in network byte order; 0 for families without ports.
    pub port_be: u16,
    /// Address in network byte order; IPv4 in the first four bytes.
    pub address: [u8; 16],
}

/// Reads an address of `len` bytes; what is too short for its family has neither port nor address.
#[inline(always)]
pub fn read(from: u64, len: u64) -> Result<Name, Skip> {
    let mut name = Name { family: 0, port_be: 0, address: [0; 16] };
    // SAFETY: `name` is ours to write.
    let failed = unsafe { krsi_address(from, len, &mut name) };
    if failed == 0 { Ok(name) } else { Err(Skip::Read) }
}

/// Reads an address; not 0 when it cannot be read.
///
/// # Safety
/// `out` is NULL or writable.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn krsi_address(from: u64, len: u64, out: *mut Name) -> u32 {
    // SAFETY: as the caller promises.
    let Some(name) = (unsafe { out.as_mut() }) else { return 1 };
    u32::from(fill(from, len, name).is_err())
}

#[inline(always)]
fn fill(from: u64, len: u64, name: &mut Name) -> Result<(), Skip> {
    let family: u16 = if len < 2 { 0 } else { capture::probe(from)? };
    name.family = family;
    if family == AF_INET && len >= LEN_INET {
        let [_, _, p, q, a, b, c, d]: [u8; 8] = capture::probe(from)?;
        name.port_be = u16::from_ne_bytes([p, q]);
        name.address = v4([a, b, c, d]);
    } else if family == AF_INET6 && len >= LEN_INET6 {
        let bytes: [u8; 24] = capture::probe(from)?;
        let [_, _, p, q, _, _, _, _, ip @ ..] = bytes;
        name.port_be = u16::from_ne_bytes([p, q]);
        // An IPv4-mapped address becomes IPv4, so that rules cannot be evaded.
        match ip {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
                name.family = AF_INET;
                name.address = v4([a, b, c, d]);
            }
            ip => name.address = ip,
        }
    }
    Ok(())
}

#[inline(always)]
fn v4([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
