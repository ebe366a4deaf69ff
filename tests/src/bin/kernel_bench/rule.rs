//! Rules that are in force and concern nobody here: a look-up in their maps misses.

use krsi_host_abi::deny::{
    Entry, FileKey, Lease, Mode, NETWORK_FIXED_BITS, NetworkKey, ProcessKey, SLOTS, Subject,
};
use zerocopy::{Immutable, IntoBytes};

/// `AF_INET` of `include/linux/socket.h`.
const AF_INET: u16 = 2;
/// The port that the worker connects to.
const PORT: u16 = 9;
/// `EPERM` of `include/uapi/asm-generic/errno-base.h`.
const EPERM: u16 = 1;

/// A process that there is not: its start time is that of the kernel.
pub const fn stranger(number: u32) -> ProcessKey {
    ProcessKey { start_boot_ns: 1, tgid: number, pad: 0 }
}

/// A file of a device that there is not.
pub const fn file(number: u32) -> FileKey {
    FileKey { ino: number as u64, dev: u32::MAX, generation: 0 }
}

/// A neighbour of the destination: the trie is walked as far as can be before it misses.
pub const fn destination(number: u32) -> NetworkKey {
    let mut address = [0; 16];
    let [a, b, c, d] = (0x7f00_0002 + number).to_be_bytes();
    [address[0], address[1], address[2], address[3]] = [a, b, c, d];
    NetworkKey {
        prefix_bits: NETWORK_FIXED_BITS + 32,
        family: AF_INET,
        port_be: PORT.to_be(),
        address,
    }
}

/// A rule that refuses every hook.
pub fn entry() -> Entry {
    let mut entry = Entry { slots: [Lease::default(); SLOTS] };
    entry.slots[0] = Lease {
        hooks: [u64::MAX; 2],
        expires_boot_ns: 0,
        rule_id: 1,
        subject_id: 0,
        errno: EPERM,
        mode: Mode::Enforce as u8,
        subject: Subject::Any as u8,
        owner: 0,
        ..Lease::default()
    };
    entry
}

/// The bytes of a key or an entry of `N` bytes.
pub fn bytes<const N: usize>(value: &(impl IntoBytes + Immutable)) -> [u8; N] {
    let mut out = [0; N];
    for (slot, byte) in out.iter_mut().zip(value.as_bytes()) {
        *slot = *byte;
    }
    out
}
