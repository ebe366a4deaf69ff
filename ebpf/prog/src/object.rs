//! Object of a call, in the words of rule keys: a file, a destination, a path.

use krsi_host_abi::deny::{FileKey, NETWORK_FIXED_BITS, NetworkKey};
use krsi_host_abi::frozen::objects;
use krsi_host_abi::path::{PATHLESS, PathKey};

use crate::call::Call;
use crate::hook::AF_INET;
use crate::{global, map, offset};

/// The object of a call. All its bytes are always written: a variant's unused ones would be a
/// register that nothing was put into, which the verifier refuses to see copied.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Object {
    kind: u64,
    words: [u64; 3],
    /// Path of the object, as far as rules know of it.
    pub path: PathKey,
}

/// Nothing that a rule could name.
const NOTHING: u64 = 0;
/// A file.
const FILE: u64 = 1;
/// A destination.
const NETWORK: u64 = 2;
/// An object that a rule could name, and that cannot be read.
const UNREAD: u64 = 3;

impl Object {
    /// Nothing that a rule could name.
    #[inline(always)]
    pub fn none(call: &Call) -> Self {
        let zero = call.facts.unknown_zero();
        let path = PathKey { hash: zero, len: PATHLESS ^ zero as u32, pad: zero as u32 };
        Self { kind: zero, words: [zero, zero, zero], path }
    }

    /// Lets the verifier forget what it is.
    #[inline(always)]
    pub fn forget(&mut self, call: &Call) {
        let zero = call.facts.unknown_zero();
        self.kind ^= zero;
        for word in &mut self.words {
            *word ^= zero;
        }
        self.path.hash ^= zero;
        self.path.len ^= zero as u32;
    }

    /// Makes it a file: its inode number, its device and generation.
    #[inline(always)]
    pub fn set_file(&mut self, ino: u64, place: u64) {
        self.words[0] = ino;
        self.words[1] = place;
        self.kind = FILE;
    }

    /// Notes whether the file, if it is one, is being executed: not 0. It is a number, so that the verifier
    /// need not go through both ways.
    #[inline(always)]
    pub fn set_executed(&mut self, executed: u64) {
        self.words[2] = executed;
    }

    /// Makes it a destination: an address of `AF_INET` or `AF_INET6`, in network byte order.
    #[inline(always)]
    pub fn set_address(&mut self, family: u16, port_be: u16, address: [u64; 2]) {
        let bits = if family == AF_INET { 32 } else { 128 };
        let fixed = u64::from(NETWORK_FIXED_BITS + bits);
        let [high, low] = address;
        self.words = [fixed | u64::from(family) << 32 | u64::from(port_be) << 48, high, low];
        self.kind = NETWORK;
    }

    /// Makes it nothing that a rule could name.
    #[inline(always)]
    pub fn set_nothing(&mut self) {
        self.kind = NOTHING;
    }

    /// Makes it one that a rule could name, but that cannot be read.
    #[inline(always)]
    pub fn set_unread(&mut self) {
        self.kind = UNREAD;
    }

    /// Notes the family of an address that no rule can name.
    #[inline(always)]
    pub fn set_family(&mut self, family: u16) {
        self.words[0] = u64::from(family) << 32;
    }

    /// Family of the address.
    #[inline(always)]
    pub fn family(&self) -> u16 {
        (self.words[0] >> 32) as u16
    }

    /// Port in network byte order; 0 for families without ports.
    #[inline(always)]
    pub fn port_be(&self) -> u16 {
        (self.words[0] >> 48) as u16
    }

    /// Address in network byte order; IPv4 in the first four bytes.
    #[inline(always)]
    pub fn address(&self) -> [u8; 16] {
        let [_, high, low] = self.words;
        let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) =
            (high.to_ne_bytes(), low.to_ne_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// Whether it is a file.
    #[inline(always)]
    pub fn is_file(&self) -> bool {
        offset::is_about(objects::FILE) && self.kind == FILE
    }

    /// Whether it is a file that is being executed.
    #[inline(always)]
    pub fn is_executed(&self) -> bool {
        self.is_file() && global::anew(&self.words[2]) != 0
    }

    /// Whether it is a destination.
    #[inline(always)]
    pub fn is_network(&self) -> bool {
        offset::is_about(objects::NETWORK) && self.kind == NETWORK
    }

    /// Whether it is one that a rule could name, but that cannot be read.
    #[inline(always)]
    pub fn is_unread(&self) -> bool {
        self.kind == UNREAD
    }

    /// Whether it is a file with leases of its own.
    #[inline(always)]
    pub fn has_file_rule(&self) -> bool {
        self.is_file() && map::is_file(&self.words)
    }

    /// Whether it is a destination with leases that name its port, or one that stands for another.
    #[inline(always)]
    pub fn has_port_rule(&self) -> bool {
        self.is_network() && (self.is_unspecified() || map::is_destination(&self.words))
    }

    /// Whether its address is `0.0.0.0` or `::`.
    #[inline(always)]
    pub fn is_unspecified(&self) -> bool {
        let [_, high, low] = self.words;
        high | low == 0
    }

    /// Identity of the object in two words.
    #[inline(always)]
    pub fn words(&self) -> (u64, u64) {
        let [a, b, c] = self.words;
        if self.kind == NETWORK { (b, c ^ a) } else { (a, b) }
    }

    /// The file that it is.
    #[inline(always)]
    pub fn file_key(&self) -> FileKey {
        let [ino, place, _] = self.words;
        FileKey::of(ino, place)
    }

    /// The loopback addresses that the kernel goes to when told to go to an unspecified one: it is IPv4's
    /// for a socket of IPv6, too, that is bound to an IPv4-mapped address.
    #[inline(always)]
    pub fn loopback_key(&self, family: u16) -> NetworkKey {
        let is_inet = family == AF_INET;
        let (bits, first, last) = if is_inet { (32, 127, 0) } else { (128, 0, 1) };
        let address = [first, 0, 0, u8::from(is_inet), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let prefix_bits = NETWORK_FIXED_BITS + bits;
        NetworkKey { prefix_bits, family, port_be: self.port_be(), address }
    }

    /// The destination that it is.
    #[inline(always)]
    pub fn network_key(&self) -> NetworkKey {
        NetworkKey {
            prefix_bits: self.words[0] as u32,
            family: self.family(),
            port_be: self.port_be(),
            address: self.address(),
        }
    }
}
