//! Bodies of the socket family: `socket_connect`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A socket that is being connected.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Connect {
    /// Address in network byte order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Address family of `sockaddr`; an IPv4-mapped IPv6 address is reported as IPv4.
    pub family: u16,
    /// Port in network byte order; 0 for families without ports.
    pub port_be: u16,
    /// `sk->sk_protocol` (`IPPROTO_*`).
    pub protocol: u16,
    /// `sock->type` (`SOCK_*`).
    pub kind: u16,
}

const _: () = assert!(size_of::<Connect>() == 24);
