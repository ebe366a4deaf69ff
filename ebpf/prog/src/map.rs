//! Every map of the object, with who writes it, and the few ways programs use them.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf};
use krsi_host_abi::counter::{COUNTERS, Counter};
use krsi_host_abi::deny::{Entry, FileKey, Membership, NetworkKey, ProcessKey};
use krsi_host_abi::hook::{HOOK_SLOTS, Hook};

/// Flags word per hook id. Written by the host; read first in every call.
#[map]
static FLAGS: Array<u64> = Array::with_max_entries(HOOK_SLOTS as u32, 0);
/// Counters per hook id and CPU. Written here, read by the host.
#[map]
static COUNTS: PerCpuArray<[u64; COUNTERS]> = PerCpuArray::with_max_entries(HOOK_SLOTS as u32, 0);
/// Denials and audits; small, because a flood of telemetry cannot reach it.
#[map]
pub static VERDICTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
/// Everything else; the host may set another size.
#[map]
pub static TELEMETRY: RingBuf = RingBuf::with_byte_size(1 << 22, 0);
/// Leases by process. Written by the host.
#[map]
static PROCESS: HashMap<ProcessKey, Entry> = HashMap::with_max_entries(8192, 0);
/// Leases by lineage id. Written by the host.
#[map]
static LINEAGE: HashMap<u64, Entry> = HashMap::with_max_entries(4096, 0);
/// Leases by file. Written by the host.
#[map]
static FILE: HashMap<FileKey, Entry> = HashMap::with_max_entries(16384, 0);
/// Leases by destination. Written by the host.
#[map]
static NETWORK: LpmTrie<[u8; 20], Entry> = LpmTrie::with_max_entries(16384, 0);
/// Lineages of marked processes. Written by the host, inherited and removed here.
#[map]
static MEMBER: HashMap<ProcessKey, Membership> = HashMap::with_max_entries(65536, 0);
/// Hits by rule id: opened and closed by the host, counted here.
#[map]
static HITS: HashMap<u64, u64> = HashMap::with_max_entries(65536, 0);

/// The flags word of a hook; 0 when nothing is wanted.
#[inline(always)]
pub fn flags(hook: Hook) -> u64 {
    FLAGS.get(u32::from(hook.id())).copied().unwrap_or(0)
}

/// Adds one to a counter of a hook. Atomic, because an LSM program can be preempted by another
/// task on its CPU.
#[inline(always)]
pub fn count(hook: Hook, counter: Counter) {
    let Some(row) = COUNTS.get_ptr_mut(u32::from(hook.id())) else { return };
    // SAFETY: the row is a live map value of `COUNTERS` words and `counter` is below that.
    unsafe { add_one(row.cast::<u64>().add(counter as usize)) };
}

/// Adds one to the hits of a rule.
#[inline(always)]
pub fn hit(rule_id: u64) {
    if let Some(hits) = HITS.get_ptr_mut(rule_id) {
        // SAFETY: the pointer is a live map value, aligned to 8.
        unsafe { add_one(hits) };
    }
}

/// BPF's atomic add. The target declares no compare-and-swap, so `AtomicU64` lacks `fetch_add`.
///
/// # Safety
/// `word` must be a live, aligned map value.
#[inline(always)]
unsafe fn add_one(word: *mut u64) {
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, 1) };
}

/// Leases of a process.
#[inline(always)]
pub fn process(key: &ProcessKey) -> Option<&'static Entry> {
    // SAFETY: values are replaced as a whole, never written in place.
    unsafe { PROCESS.get(key) }
}

/// Leases of a lineage.
#[inline(always)]
pub fn lineage(id: u64) -> Option<&'static Entry> {
    // SAFETY: values are replaced as a whole, never written in place.
    unsafe { LINEAGE.get(id) }
}

/// Leases of a file.
#[inline(always)]
pub fn file(key: &FileKey) -> Option<&'static Entry> {
    // SAFETY: values are replaced as a whole, never written in place.
    unsafe { FILE.get(key) }
}

/// Leases of the longest prefix that holds `key`.
#[inline(always)]
pub fn network(key: &NetworkKey) -> Option<&'static Entry> {
    // SAFETY: `NetworkKey` and `Key<[u8; 20]>` are both 24 bytes: the prefix, then 20 bytes of data.
    let key = unsafe { &*core::ptr::from_ref(key).cast::<Key<[u8; 20]>>() };
    NETWORK.get(key)
}

/// Lineages of a process.
#[inline(always)]
pub fn membership(key: &ProcessKey) -> Option<Membership> {
    // SAFETY: values are replaced as a whole, never written in place.
    unsafe { MEMBER.get(key) }.copied()
}

/// Marks a process; false when the map is full.
#[inline(always)]
pub fn mark(key: &ProcessKey, membership: &Membership) -> bool {
    MEMBER.insert(key, membership, 0).is_ok()
}

/// Forgets the marks of a process.
#[inline(always)]
pub fn unmark(key: &ProcessKey) {
    // A process without marks is the usual case.
    let _absent = MEMBER.remove(key);
}
