//! Destinations: normalised, and which one covers which.
//!
//! The kernel's trie finds only the longest prefix, so the entry of a destination also carries the
//! rules of those that cover it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use krsi_host_abi::deny::{NETWORK_FIXED_BITS, NetworkKey};

/// `AF_INET` of `include/linux/socket.h`.
const AF_INET: u16 = 2;
/// `AF_INET6` of `include/linux/socket.h`.
const AF_INET6: u16 = 10;
/// Bits of `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

/// An address prefix and a port, in the order of which those that one covers stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Destination {
    family: u16,
    /// Host byte order, 0 for every port.
    port: u16,
    /// From the left, an IPv4 address in the first 32 bits; bits beyond the prefix are zero.
    address: u128,
    prefix: u8,
}

impl Destination {
    /// The destination that the kernel looks up for an address; `None` when the prefix is longer
    /// than the address. IPv4-mapped prefixes become IPv4, as the hook sees them.
    pub(super) fn new(address: IpAddr, prefix: u8, port: u16) -> Option<Self> {
        let (family, bits, prefix, width) = match address {
            IpAddr::V4(v4) => (AF_INET, u128::from(v4.to_bits()) << 96, prefix, 32),
            IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), prefix.checked_sub(MAPPED_BITS)) {
                (Some(v4), Some(rest)) => (AF_INET, u128::from(v4.to_bits()) << 96, rest, 32),
                _ => (AF_INET6, v6.to_bits(), prefix, 128),
            },
        };
        (prefix <= width).then(|| Self { family, port, address: bits & mask(prefix), prefix })
    }

    /// This destination and all that cover it, the longest prefix first.
    pub(super) fn covering(self) -> impl Iterator<Item = Self> {
        (0..=self.prefix).rev().map(move |prefix| Self {
            address: self.address & mask(prefix),
            prefix,
            ..self
        })
    }

    /// Whether it is about every port.
    pub(super) const fn is_any_port(self) -> bool {
        self.port == 0
    }

    /// Whether every address of `other` is one of this.
    pub(super) const fn covers(self, other: Self) -> bool {
        self.family == other.family
            && self.port == other.port
            && self.prefix <= other.prefix
            && other.address & mask(self.prefix) == self.address
    }

    /// The last destination that this one could cover, in order.
    pub(super) const fn last(self) -> Self {
        Self { address: self.address | !mask(self.prefix), prefix: u8::MAX, ..self }
    }

    /// The key of the trie.
    pub(super) fn key(self) -> NetworkKey {
        NetworkKey {
            prefix_bits: NETWORK_FIXED_BITS + u32::from(self.prefix),
            family: self.family,
            port_be: self.port.to_be(),
            address: self.address.to_be_bytes(),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.address.to_be_bytes();
        let address = match self.family {
            AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(self.address)),
        };
        match self.port {
            0 => write!(f, "{address}/{} any port", self.prefix),
            port => write!(f, "{address}/{} port {port}", self.prefix),
        }
    }
}

const fn mask(prefix: u8) -> u128 {
    match 128u32.saturating_sub(prefix as u32) {
        128 => 0,
        shift => u128::MAX << shift,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(address: &str, prefix: u8, port: u16) -> Option<Destination> {
        Destination::new(address.parse().unwrap(), prefix, port)
    }

    #[test]
    fn one_destination_has_one_key() {
        assert_eq!(to("10.1.2.3", 8, 1), to("10.0.0.0", 8, 1));
        assert_eq!(to("::ffff:10.1.2.3", 104, 1), to("10.0.0.0", 8, 1));
        assert_ne!(to("::ffff:10.1.2.3", 95, 1), to("10.0.0.0", 0, 1));
        assert_eq!(to("::1", 0, 0), to("::", 0, 0));
        assert!(to("10.0.0.0", 33, 0).is_none());
        assert!(to("::", 129, 0).is_none() && to("::ffff:1.2.3.4", 129, 0).is_none());
        let key = to("10.1.2.3", 32, 443).unwrap().key();
        assert_eq!((key.prefix_bits, key.family, key.port_be), (64, AF_INET, 443u16.to_be()));
        assert_eq!(key.address[..5], [10, 1, 2, 3, 0]);
    }

    #[test]
    fn the_covered_stand_between_a_destination_and_its_last() {
        let all = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/32", "11.0.0.0/8"];
        let all = all.map(|text| {
            let (address, prefix) = text.split_once('/').unwrap();
            to(address, prefix.parse().unwrap(), 0).unwrap()
        });
        for one in all {
            for other in all {
                let covers = other.covering().any(|cover| cover == one);
                assert_eq!(one.covers(other), covers, "{one} {other}");
                assert!(!covers || (one <= other && other <= one.last()));
            }
        }
        assert_eq!(all[1].to_string(), "10.0.0.0/8 any port");
    }
}
