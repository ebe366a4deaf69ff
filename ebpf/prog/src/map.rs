//! Every map of the object, with who writes it, and the few ways programs use them.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use krsi_host_abi::counter::{COUNTERS, Counter};
use krsi_host_abi::deny::{
    Bounds, Digest, Entry, FileKey, LABELS as LABEL_COUNT, LabelRules, Labels, Membership,
    NetworkKey, OWNERS, ProcessKey, bounds,
};
use krsi_host_abi::filter::{Filter, Rate, SeenKey};
use krsi_host_abi::hook::HOOK_SLOTS;
use krsi_host_abi::path::PathKey;
use krsi_host_abi::proof::Proof;
use krsi_host_abi::record::PATH_LONG;
use krsi_host_abi::spec::ROOMS;

use crate::global;

/// Flags word per hook slot. Written by the host; read first in every call, and so without a look-up.
#[unsafe(link_section = ".data.flags")]
#[unsafe(no_mangle)]
static mut FLAGS: [u64; HOOK_SLOTS] = [0; HOOK_SLOTS];
/// A number of its own for the time between two changes of leases and marks. Written by the host, before a
/// change and, of marks, after it.
#[unsafe(link_section = ".data.changes")]
#[unsafe(no_mangle)]
static mut CHANGES: u64 = 0;
/// Whom the leases of each owner concern at all. Written by the host.
#[unsafe(link_section = ".data.bounds")]
#[unsafe(no_mangle)]
static mut BOUNDS: [Bounds; OWNERS] = [Bounds { id: 0, kind: bounds::NONE, level: 0 }; OWNERS];
/// Rules of the labels themselves. Written by the host.
#[unsafe(link_section = ".data.labels")]
#[unsafe(no_mangle)]
static mut LABEL_RULES: LabelRules =
    LabelRules { live: 0, dropped_at_exec: 0, refused_when_full: 0, full_rule: 0 };
/// Labels of processes. Written here; the host has a program of its own write for it.
#[map]
static LABELS: HashMap<ProcessKey, Labels> = HashMap::with_max_entries(65536, 0);
/// What a process is given before its first label. Never written.
#[map]
static NO_LABELS: Array<Labels> = Array::with_max_entries(1, 0);
/// Labels that an exec will give, as bits, by the address of the task that executes.
#[map]
static WAITING: HashMap<u64, u64> = HashMap::with_max_entries(4096, 0);
/// Counters per hook slot and CPU. Written here, read by the host.
#[map]
static COUNTS: PerCpuArray<[u64; COUNTERS]> = PerCpuArray::with_max_entries(HOOK_SLOTS as u32, 0);
/// Denials and audits; small, because a flood of telemetry cannot reach it.
#[map]
pub static VERDICTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
/// Everything else; the host may set another size.
#[map]
pub static TELEMETRY: RingBuf = RingBuf::with_byte_size(1 << 22, 0);
/// Leases by destination. Written by the host.
#[map]
static NETWORK: LpmTrie<[u8; 20], Entry> = LpmTrie::with_max_entries(16384, 0);
/// Stands for the leases by destination in a program that sleeps and is about none: the kernel lets no
/// such program look into a trie. Never filled.
#[map]
static NOWHERE: HashMap<NetworkKey, Entry> = HashMap::with_max_entries(1, 0);
/// What the last proof of life had hashed: its algorithm, or a negative errno. Read by the host.
#[map]
static HASHED: Array<i64> = Array::with_max_entries(1, 0);
/// Room for a path and a name, by thread: more threads than these are never in a program at a time.
#[map]
static SCRATCH: HashMap<u64, Scratch> = HashMap::with_max_entries(128, 0);
/// Room for the same, of each CPU: for whoever is in a program there alone.
#[map]
static ROOM: PerCpuArray<CpuRoom<Scratch>> = PerCpuArray::with_max_entries(1, 0);
/// What a thread's room is filled with. Never written.
#[map]
static BLANK: Array<Scratch> = Array::with_max_entries(1, 0);
/// Room for the texts that a watch refuses by, by thread, of each CPU, and blank: as for paths.
#[map]
static TEXTS_OF_THREAD: HashMap<u64, Texts> = HashMap::with_max_entries(64, 0);
#[map]
static TEXTS: PerCpuArray<CpuRoom<Texts>> = PerCpuArray::with_max_entries(1, 0);
#[map]
static NO_TEXTS: Array<Texts> = Array::with_max_entries(1, 0);
/// Processes that no rule refuses, by their start in ticks: bits of `exempt`. Those that run at the start
/// are written by the host, the rest here.
#[map]
static EXEMPT: HashMap<ProcessKey, u64> = HashMap::with_max_entries(4096, 0);
/// Executables that make whoever runs them exempt, by the key of a file that the host holds: bits of `exempt`.
/// Written by the host.
#[map]
static EXEMPT_FILE: HashMap<FileKey, u64> = HashMap::with_max_entries(256, 0);
/// Real user ids for whom executables count. Written by the host.
#[map]
static EXEMPT_UID: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);
/// Cgroups in which they count. Written by the host.
#[map]
static EXEMPT_CGROUP: HashMap<u64, u64> = HashMap::with_max_entries(64, 0);
/// What the program that proves the backend saw.
#[map]
static PROOF: Array<Proof> = Array::with_max_entries(1, 0);
/// Filter of each hook slot. Written by the host.
#[unsafe(link_section = ".data.filter")]
#[unsafe(no_mangle)]
static mut FILTER: [Filter; HOOK_SLOTS] = [Filter::NONE; HOOK_SLOTS];
/// What was seen lately; evicting one only means that it is seen again.
#[map]
static SEEN: LruHashMap<SeenKey, u64> = LruHashMap::with_max_entries(16384, 0);
/// Records of this second by process and hook; evicting one only forgives a process.
#[map]
static RATE: LruHashMap<SeenKey, Rate> = LruHashMap::with_max_entries(8192, 0);
/// Lineages of marked processes. Written by the host, inherited and removed here.
#[map]
static MEMBER: HashMap<ProcessKey, Membership> = HashMap::with_max_entries(65536, 0);
/// Hits by rule id: opened and closed by the host, counted here.
#[map]
static HITS: HashMap<u64, u64> = HashMap::with_max_entries(65536, 0);

/// Bytes for a path, a slash and a name.
pub const SCRATCH_LEN: usize = PATH_LONG + 264;
/// Room for a path, a slash and a name.
pub type Scratch = [u8; SCRATCH_LEN];

/// Texts of a call, as long as they may be.
pub type Texts = [[u8; PATH_LONG]; ROOMS];

/// Room of a CPU.
#[repr(C)]
struct CpuRoom<T> {
    /// Programs that have claimed it and not let go.
    claims: u64,
    bytes: T,
}

/// The flags word of a hook slot; 0 when nothing is wanted.
#[inline(always)]
pub fn flags(slot: u32) -> u64 {
    if slot as usize >= HOOK_SLOTS {
        return 0;
    }
    // SAFETY: `slot` is within the words, which are always readable.
    unsafe { core::ptr::read_volatile((&raw const FLAGS).cast::<u64>().add(slot as usize)) }
}

/// Whom the leases of an owner concern at all.
#[inline(always)]
pub fn bounds_of(owner: u16) -> Bounds {
    let at = usize::from(owner) & (OWNERS - 1);
    // SAFETY: the index is within the bounds, which are always readable.
    unsafe { core::ptr::read_volatile((&raw const BOUNDS).cast::<Bounds>().add(at)) }
}

/// Whether there are such bounds.
#[inline(always)]
pub fn is_bounded(owner: u8) -> bool {
    let at = usize::from(owner) & (OWNERS - 1);
    // SAFETY: as in `bounds_of`.
    let kind = unsafe { &raw const (*(&raw const BOUNDS).cast::<Bounds>().add(at)).kind };
    // SAFETY: the same.
    unsafe { core::ptr::read_volatile(kind) != bounds::NONE }
}

/// What stands for the leases and marks as they are now. The same number before and after reading says that
/// what was read belonged to the keys that were asked for.
#[inline(always)]
pub fn changes() -> u64 {
    // SAFETY: a word that is always readable, and that the host writes at once.
    unsafe { core::ptr::read_volatile(&raw const CHANGES) }
}

/// The counters of a hook slot on this CPU.
#[derive(Clone, Copy)]
pub struct Counts(*mut u64);

/// Finds the counters of a hook slot: once a call.
#[inline(always)]
pub fn counts(slot: u32) -> Option<Counts> {
    COUNTS.get_ptr_mut(slot).map(|row| Counts(row.cast()))
}

impl Counts {
    /// Adds one. Atomic, because an LSM program can be preempted by another task on its CPU.
    #[inline(always)]
    pub fn add(self, counter: Counter) {
        // SAFETY: the row is a live map value of `COUNTERS` words and `counter` is below that.
        unsafe { add(self.0.add(counter as usize), 1) };
    }

    /// Zero, as a number that the verifier knows nothing about. What is xored with it is the same, and
    /// forgotten by the verifier: paths that differ only in it are gone through once, not each.
    #[inline(always)]
    pub fn unknown_zero(self) -> u64 {
        // SAFETY: the row is a live map value of `COUNTERS` words; the last one is no counter's.
        unsafe { core::ptr::read_volatile(self.0.add(COUNTERS - 1)) }
    }
}

/// Adds one to the hits of a rule.
#[inline(always)]
pub fn hit(rule_id: u64) {
    if let Some(hits) = HITS.get_ptr_mut(rule_id) {
        // SAFETY: the pointer is a live map value, aligned to 8.
        unsafe { add(hits, 1) };
    }
}

/// BPF's atomic add. The target declares no compare-and-swap, so `AtomicU64` lacks `fetch_add`.
///
/// # Safety
/// `word` must be a live, aligned map value.
#[inline(always)]
unsafe fn add(word: *mut u64, what: u64) {
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, what) };
}

macro_rules! leases {
    ($($(#[$doc:meta])* $map:ident, $look_up:ident($key:ident: $given:ty) in $kept:ty, $entries:expr;)*) => {$(
        $(#[$doc])*
        #[map]
        static $map: HashMap<$kept, Entry> = HashMap::with_max_entries($entries, 0);

        $(#[$doc])*
        #[inline(always)]
        pub fn $look_up($key: $given) -> Option<&'static Entry> {
            // SAFETY: memory of a map stays readable. An element that was replaced is used again for another
            // key, while it is read here: whoever reads asks `changes` before and after.
            unsafe { $map.get($key) }
        }
    )*};
}

// Written by the host: a map of each kind of key, and its look-up.
leases! {
    /// Leases by process.
    PROCESS, process(key: &ProcessKey) in ProcessKey, 8192;
    /// Leases by lineage id.
    LINEAGE, lineage(id: u64) in u64, 4096;
    /// Leases by file.
    FILE, file(key: &FileKey) in FileKey, 16384;
    /// Leases by cgroup id.
    CGROUP, cgroup(id: u64) in u64, 4096;
    /// Leases by path prefix.
    PATH, path(key: &PathKey) in PathKey, 4096;
    /// Leases by digest of an executable.
    DIGEST, digest(key: &Digest) in Digest, 4096;
    /// Leases of a whole hook, by slot; an array's elements would be written where they are read.
    HOOK, hook(slot: u32) in u32, HOOK_SLOTS as u32;
    /// Leases of what cannot be read of a hook, by slot.
    ON_ERROR, on_error(slot: u32) in u32, HOOK_SLOTS as u32;
}

/// Whether a file has leases: its inode number, then its device and generation.
#[inline(always)]
pub fn is_file(words: &[u64; 3]) -> bool {
    // SAFETY: a `FileKey` is 16 bytes: the first two words.
    file(unsafe { &*words.as_ptr().cast::<FileKey>() }).is_some()
}

/// Whether a destination has leases that name its port: the words of a [`NetworkKey`].
#[inline(always)]
pub fn is_destination(words: &[u64; 3]) -> bool {
    // SAFETY: a `NetworkKey` is 24 bytes, as three words are.
    network(unsafe { &*words.as_ptr().cast::<NetworkKey>() }).is_some()
}

/// Tells the host what became of a file that was to be hashed.
#[inline(always)]
pub fn count_hashed(answer: i64) {
    // Without room for it the host takes it that nothing was hashed.
    let _kept = HASHED.set(0, answer, 0);
}

/// Room of a CPU or a thread, until it is let go of.
pub struct Lent<T> {
    /// Address of the room.
    pub bytes: *mut T,
    /// Claims of the CPU's room; NULL when it is the thread's.
    claims: *mut u64,
}

/// Lends room for a path: the CPU's, or the thread's when a program that was preempted there has that one.
#[inline(always)]
pub fn lend(thread: &u64) -> Option<Lent<Scratch>> {
    if let Some(lent) = claim() {
        return Some(lent);
    }
    let bytes = of_thread(&SCRATCH, thread, BLANK.get(0)?)?;
    Some(Lent { bytes, claims: core::ptr::null_mut() })
}

/// The CPU's room for a path, if nobody has it.
#[inline(always)]
pub fn claim() -> Option<Lent<Scratch>> {
    of_cpu(ROOM.get_ptr_mut(0)?)
}

/// Lends room for texts, in the same way.
#[inline(always)]
pub fn lend_texts(thread: &u64) -> Option<Lent<Texts>> {
    if let Some(lent) = of_cpu(TEXTS.get_ptr_mut(0)?) {
        return Some(lent);
    }
    let bytes = of_thread(&TEXTS_OF_THREAD, thread, NO_TEXTS.get(0)?)?;
    Some(Lent { bytes, claims: core::ptr::null_mut() })
}

/// A CPU's room, if nobody has it. Programs stay on their CPU, but are preempted there: whoever
/// comes while there is another claim sees at least two, so two never have it at once.
#[inline(always)]
fn of_cpu<T>(room: *mut CpuRoom<T>) -> Option<Lent<T>> {
    // SAFETY: the pointer is a live map value; only addresses are taken.
    let (claims, bytes) = unsafe { (&raw mut (*room).claims, &raw mut (*room).bytes) };
    // SAFETY: a live, aligned map value.
    unsafe {
        add(claims, 1);
        if core::ptr::read_volatile(claims) == 1 {
            return Some(Lent { bytes, claims });
        }
        add(claims, u64::MAX);
    }
    None
}

/// Room of a thread, until it lets go of it.
#[inline(always)]
fn of_thread<T>(rooms: &HashMap<u64, T>, thread: &u64, blank: &T) -> Option<*mut T> {
    if rooms.insert(thread, blank, 0).is_err() {
        return None;
    }
    rooms.get_ptr_mut(thread)
}

impl Lent<Scratch> {
    /// Gives the room back.
    #[inline(always)]
    pub fn let_go(self, thread: &u64) {
        give_back(self.claims, &SCRATCH, thread);
    }
}

impl Lent<Texts> {
    /// Gives the room back.
    #[inline(always)]
    pub fn let_go(self, thread: &u64) {
        give_back(self.claims, &TEXTS_OF_THREAD, thread);
    }
}

#[inline(always)]
fn give_back<T>(claims: *mut u64, rooms: &HashMap<u64, T>, thread: &u64) {
    if claims.is_null() {
        // It is there, or there is nothing to give back.
        let _gone = rooms.remove(thread);
    } else {
        // SAFETY: a live, aligned map value.
        unsafe { add(claims, u64::MAX) };
    }
}

/// Why no rule refuses a process, by its start in ticks; 0 for one that rules refuse.
#[inline(always)]
pub fn exempt(key: &ProcessKey) -> u64 {
    // SAFETY: a value is one word, which is read at once.
    unsafe { EXEMPT.get(key) }.map_or(0, global::anew)
}

/// Notes why no rule refuses a process; false when the map is full.
#[inline(always)]
pub fn set_exempt(key: &ProcessKey, why: u64) -> bool {
    EXEMPT.insert(key, why, 0).is_ok()
}

/// Lets rules refuse a process.
#[inline(always)]
pub fn end_exempt(key: &ProcessKey) {
    // Few processes are exempt.
    let _absent = EXEMPT.remove(key);
}

/// What an executable makes of those who run it, by the key of a file that the host holds.
#[inline(always)]
pub fn exempt_file(key: &FileKey) -> u64 {
    // SAFETY: a value is one word, which is read at once.
    unsafe { EXEMPT_FILE.get(key) }.map_or(0, global::anew)
}

/// The same of a file whose key lies where that of a process did: its number, its device.
#[inline(always)]
pub fn exempt_file_at(place: &ProcessKey) -> u64 {
    // SAFETY: both keys are a word and two halves of one.
    exempt_file(unsafe { &*core::ptr::from_ref(place).cast::<FileKey>() })
}

/// Whether executables count for a user.
#[inline(always)]
pub fn is_exempt_uid(uid: &u32) -> bool {
    // SAFETY: only whether it is there matters.
    unsafe { EXEMPT_UID.get(uid) }.is_some()
}

/// Whether executables count in a cgroup.
#[inline(always)]
pub fn is_exempt_cgroup(id: &u64) -> bool {
    // SAFETY: only whether it is there matters.
    unsafe { EXEMPT_CGROUP.get(id) }.is_some()
}

/// Counts a call of the thread that proves a backend, and keeps its file.
#[inline(always)]
pub fn prove(thread: u64, file: impl FnOnce() -> Option<FileKey>) {
    let Some(proof) = PROOF.get_ptr_mut(0) else { return };
    // SAFETY: a live map value. Who comes here is one thread of the host's, which waits for nobody.
    let proof = unsafe { &mut *proof };
    if proof.thread != thread {
        return;
    }
    proof.calls += 1;
    if let Some(key) = file() {
        proof.file.ino = key.ino;
        proof.file.dev = key.dev;
        proof.file.generation = key.generation;
    }
}

/// Filter of a hook.
#[inline(always)]
pub fn filter(slot: u32) -> Option<&'static Filter> {
    if slot as usize >= HOOK_SLOTS {
        return None;
    }
    // SAFETY: `slot` is within the filters, which are always readable; what the host writes meanwhile is
    // numbers, of which any will do.
    Some(unsafe { &*global::unknown((&raw const FILTER).cast::<Filter>().add(slot as usize)) })
}

/// Whether something is seen for the first time in a while; it is seen now.
#[inline(always)]
pub fn is_new(key: &SeenKey) -> bool {
    // SAFETY: only whether it is there matters.
    if unsafe { SEEN.get(key) }.is_some() {
        return false;
    }
    // A full map evicts; a failure means that it is seen again.
    let _kept = SEEN.insert(key, 1, 0);
    true
}

/// Counts a record of a process in this second; whether it is within `most`.
#[inline(always)]
pub fn within_rate(key: &SeenKey, second: u64, most: u64) -> bool {
    if let Some(rate) = RATE.get_ptr_mut(key) {
        // SAFETY: a live map value; a race loses a count, which only forgives a record.
        let rate = unsafe { &mut *rate };
        if rate.second != second {
            rate.second = second;
            rate.records = 0;
        }
        rate.records += 1;
        return rate.records <= most;
    }
    let _kept = RATE.insert(key, Rate { second, records: 1 }, 0);
    most > 0
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
pub fn membership(key: &ProcessKey) -> Option<&'static Membership> {
    // SAFETY: as with leases: whoever reads asks `changes` before and after.
    unsafe { MEMBER.get(key) }
}

/// A map's value, if it is not NULL. Whoever calls has got it from a map in the same call.
#[inline(always)]
pub fn value<T>(pointer: *const T) -> Option<&'static T> {
    // SAFETY: a map's value stays readable until the program ends, and the verifier refuses a pointer
    // to anything shorter.
    unsafe { pointer.as_ref() }
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

/// Rules of the labels themselves.
#[inline(always)]
pub fn label_rules() -> LabelRules {
    // SAFETY: always readable; each word is written by the host at once.
    unsafe { core::ptr::read_volatile(&raw const LABEL_RULES) }
}

/// Labels of a process, as bits.
#[inline(always)]
pub fn labels(process: &ProcessKey) -> u64 {
    // SAFETY: memory of a map stays readable. The element of a process that calls is not used again for another.
    unsafe { LABELS.get(process) }.map_or(0, bits)
}

/// Labels as bits.
#[inline(always)]
fn bits(labels: &Labels) -> u64 {
    let words = core::ptr::from_ref(labels).cast::<[u64; LABEL_COUNT / 8]>();
    macro_rules! gathered {
        ($($at:literal)*) => {
            0 $(| {
                // SAFETY: the labels are as many bytes, aligned to a word.
                let word = unsafe { core::ptr::read_volatile((&raw const (*words)[$at])) };
                // The lowest bits of eight bytes, side by side.
                (word & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56 << ($at * 8)
            })*
        };
    }
    gathered!(0 1 2 3 4 5 6 7)
}

/// Where the labels of a process are written; made if it has none and `make` says so.
#[inline(always)]
pub fn labelled(process: &ProcessKey, make: bool) -> Option<*mut Labels> {
    if let Some(labels) = LABELS.get_ptr_mut(process) {
        return Some(labels);
    }
    if make {
        // What another thread made meanwhile stays.
        let _there = LABELS.insert(process, NO_LABELS.get(0)?, BPF_NOEXIST);
    }
    LABELS.get_ptr_mut(process)
}

/// `BPF_NOEXIST` of `include/uapi/linux/bpf.h`: what is there is not replaced.
const BPF_NOEXIST: u64 = 1;

/// Writes a label, 0 or 1.
#[inline(always)]
pub fn set_label(labels: *mut Labels, at: u64, has: u8) {
    let at = at as usize & (LABEL_COUNT - 1);
    // SAFETY: a live map value, and `at` is within it.
    unsafe { core::ptr::write_volatile((&raw mut (*labels).has).cast::<u8>().add(at), has) };
}

/// Hands the labels of a process on; false when there is no room.
#[inline(always)]
pub fn inherit_labels(parent: &ProcessKey, child: &ProcessKey) -> bool {
    // SAFETY: as in `labels`.
    match unsafe { LABELS.get(parent) } {
        // An element whose labels have all gone is no reason for another.
        Some(labels) if bits(labels) != 0 => LABELS.insert(child, labels, 0).is_ok(),
        _ => true,
    }
}

/// Forgets the labels of a process.
#[inline(always)]
pub fn unlabel(process: &ProcessKey) {
    // A process without labels is the usual case.
    let _absent = LABELS.remove(process);
}

/// Labels that an exec of a task will give, as bits.
#[inline(always)]
pub fn waiting(task: &u64) -> u64 {
    // SAFETY: only the task itself writes its element.
    unsafe { WAITING.get(task) }.copied().unwrap_or(0)
}

/// Has labels wait for the end of a task's exec; false when there is no room.
#[inline(always)]
pub fn wait(task: &u64, labels: u64) -> bool {
    WAITING.insert(task, labels, 0).is_ok()
}

/// Forgets what waited for the end of a task's exec.
#[inline(always)]
pub fn end_wait(task: &u64) {
    // That nothing waits is the usual case.
    let _absent = WAITING.remove(task);
}
