//! The rule maps, of the same kinds, keys and values as ours, and one look-up in each.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{HashMap, LpmTrie};
use krsi_host_abi::deny::{Entry, FileKey, NetworkKey, ProcessKey};

use crate::read::{self, Ptr};

/// Rules on processes; the driver chooses the number of entries.
#[map]
static PROCESS: HashMap<ProcessKey, Entry> = HashMap::with_max_entries(8192, 0);
/// Rules on files; the driver chooses the number of entries.
#[map]
static FILE: HashMap<FileKey, Entry> = HashMap::with_max_entries(16384, 0);
/// Rules on destinations; the driver chooses the number of entries.
#[map]
static NETWORK: LpmTrie<[u8; 20], Entry> = LpmTrie::with_max_entries(16384, 0);

/// Looks the caller up; refuses it if it is there.
#[inline(always)]
pub fn process() -> i32 {
    let Some(key) = read::current().and_then(read::process_key) else { return 0 };
    // SAFETY: values are replaced as a whole, never written in place.
    found(unsafe { PROCESS.get(&key) })
}

/// Looks a file up.
#[inline(always)]
pub fn file(file: Ptr) -> i32 {
    let Some(key) = read::file_key(file) else { return 0 };
    // SAFETY: values are replaced as a whole, never written in place.
    found(unsafe { FILE.get(&key) })
}

/// Looks the destination of a connect up.
#[inline(always)]
pub fn network(ctx: &impl EbpfContext) -> i32 {
    let Some([f, g, p, q, a, b, c, d, ..]) = Ptr::arg::<1>(ctx).and_then(read::address) else {
        return 0;
    };
    let key = NetworkKey {
        prefix_bits: 64,
        family: u16::from_ne_bytes([f, g]),
        port_be: u16::from_ne_bytes([p, q]),
        address: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    // SAFETY: `NetworkKey` and `Key<[u8; 20]>` are both 24 bytes: the prefix, then 20 bytes of data.
    let key = unsafe { &*core::ptr::from_ref(&key).cast::<Key<[u8; 20]>>() };
    found(NETWORK.get(key))
}

#[inline(always)]
fn found(entry: Option<&Entry>) -> i32 {
    if entry.is_some() { -1 } else { 0 }
}
