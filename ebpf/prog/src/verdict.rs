//! The verdict: process, lineage, cgroup, file, path, network, hook, in this order; the first deny in force
//! denies.
//!
//! A map is looked up only when the flags word says that it holds a rule for this hook.

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{
    Entry, FileKey, Lease, MAX_ERRNO, Membership, Mode, NETWORK_FIXED_BITS, NetworkKey, ProcessKey,
    Subject, bits_of, flag,
};
use krsi_host_abi::path::{PATHLESS, PathKey, UNRESOLVED};
use krsi_host_abi::record::Verdict;

use crate::filter::{Call, Facts};
use crate::hook::AF_INET;
use crate::{capture, global, map, offset};

/// What a call came to.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Decision {
    /// Rule that decided, 0 without one.
    pub rule_id: u64,
    /// Errno, then the owner slot of the rule, then the verdict, from the lowest bit: one word, so
    /// that it is forgotten by the verifier at once.
    word: u64,
    /// Owners whose later denies an `allow` lifted.
    lifted: u64,
}

impl Decision {
    /// No rule applies.
    #[inline(always)]
    pub fn none(call: &Call) -> Self {
        let zero = call.facts.unknown_zero();
        Self { rule_id: zero, word: zero, lifted: zero }
    }

    /// Makes it what a rule decides.
    #[inline(always)]
    pub fn set(&mut self, rule_id: u64, errno: u16, owner: u8, verdict: Verdict) {
        self.rule_id = rule_id;
        self.word = u64::from(errno) | u64::from(owner) << 16 | (verdict as u64) << 24;
    }

    /// Errno, positive.
    #[inline(always)]
    pub fn errno(&self) -> u16 {
        self.word as u16
    }

    /// Owner slot of the rule.
    #[inline(always)]
    pub fn owner(&self) -> u8 {
        (self.word >> 16) as u8
    }

    /// What is answered.
    #[inline(always)]
    pub fn verdict(&self) -> Verdict {
        match (global::anew(&self.word) >> 24) as u8 {
            0 => Verdict::None,
            1 => Verdict::Denied,
            _ => Verdict::Audited,
        }
    }

    /// Whether a rule applies.
    #[inline(always)]
    pub fn is_made(&self) -> bool {
        global::anew(&self.word) >> 24 != 0
    }

    /// Whether the call is refused.
    #[inline(always)]
    pub fn is_denied(&self) -> bool {
        global::anew(&self.word) >> 24 == Verdict::Denied as u64
    }

    /// Forgets what was allowed.
    #[inline(always)]
    pub fn lift_nothing(&mut self, facts: &Facts) {
        self.lifted = facts.unknown_zero();
    }

    /// Lets the verifier forget what was decided.
    #[inline(always)]
    pub fn forget(&mut self, facts: &Facts) {
        self.word ^= facts.unknown_zero();
        self.rule_id ^= facts.unknown_zero();
    }

    /// The hook's return value: 0 or a negative errno.
    ///
    /// The verifier must see [-4095, 0]. It bounds a mask and a subtraction; 6.12 forgets all about
    /// a negation, so the compiler may not see that the minuend is zero.
    #[inline(always)]
    pub fn answer(&self) -> i32 {
        if self.is_denied() && offset::can_deny() {
            (offset::zero() - i64::from(self.errno() & MAX_ERRNO)) as i32
        } else {
            0
        }
    }
}

/// The object of a call. All its bytes are always written: a variant's unused ones would be a
/// register that nothing was put into, which the verifier refuses to see copied.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Object {
    kind: u64,
    words: [u64; 3],
    /// Its path, as far as rules know of it.
    pub path: PathKey,
}

/// Nothing that a rule could name.
const NOTHING: u64 = 0;
/// A file.
const FILE: u64 = 1;
/// A destination.
const NETWORK: u64 = 2;
/// What a rule could name, but cannot be read.
const UNREAD: u64 = 3;

impl Object {
    /// Nothing that a rule could name.
    #[inline(always)]
    pub fn none(call: &Call) -> Self {
        let zero = call.facts.unknown_zero();
        let path = PathKey { hash: zero, len: PATHLESS ^ zero as u32, pad: zero as u32 };
        Self { kind: zero, words: [zero, zero, zero], path }
    }

    /// Makes it a file.
    #[inline(always)]
    pub fn set_file(&mut self, ino: u64, dev: u64) {
        self.words[0] = ino;
        self.words[1] = dev;
        self.kind = FILE;
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

    /// Its identity in two words.
    #[inline(always)]
    pub fn words(&self) -> (u64, u64) {
        let [a, b, c] = self.words;
        if self.kind == NETWORK { (b, c ^ a) } else { (a, b) }
    }

    #[inline(always)]
    fn file_key(&self) -> FileKey {
        let [ino, dev, _] = self.words;
        FileKey { ino, dev: dev as u32, pad: 0 }
    }

    #[inline(always)]
    fn network_key(&self) -> NetworkKey {
        NetworkKey {
            prefix_bits: self.words[0] as u32,
            family: self.family(),
            port_be: self.port_be(),
            address: self.address(),
        }
    }
}

/// Decides a call. One whose object could not be read is refused by what names no object, and by a
/// rule that says so.
#[inline(always)]
pub fn decide(call: &Call, object: &Object) -> Decision {
    let mut decision = Decision::none(call);
    decide_into(call, object, &mut decision);
    decision
}

/// The same, in place.
#[inline(always)]
pub fn decide_into(call: &Call, object: &Object, decision: &mut Decision) {
    if call.wants(flag::RULES) && may_apply(call, object) {
        krsi_decide(&call.facts, object, decision);
        decision.forget(&call.facts);
    }
}

/// Whether there is anything to decide. Most calls have no rule: their keys are looked up where they
/// lie, and only a hit pays for the function that decides.
#[inline(always)]
fn may_apply(call: &Call, object: &Object) -> bool {
    call.wants(flag::RULES & !(flag::PROCESS | flag::FILE))
        || call.wants(flag::PROCESS) && map::process(&call.facts.process).is_some()
        || call.wants(flag::FILE)
            && (object.kind == UNREAD || object.kind == FILE && map::is_file(&object.words))
}

/// Those that need the object of a call.
const OBJECTS: u64 = flag::FILE | flag::PATH | flag::NETWORK;

/// Whether no rule concerns the caller.
#[inline(always)]
pub fn is_exempt(facts: &Facts) -> bool {
    // Kernels before 6.2 take a key from the stack only.
    let process = facts.process.in_ticks();
    facts.wants(flag::EXEMPT) && map::is_exempt(&process)
}

/// Decides, and counts what it decides.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_decide(facts: &Facts, object: &Object, out: &mut Decision) -> u32 {
    let (Some(facts), Some(object), Some(out)) =
        (global::seen(facts), global::seen(object), global::seen_mut(out))
    else {
        return 0;
    };
    // Kernels before 6.2 take a key from the stack only, of which there is little: one place for two.
    let mut process = facts.process.in_ticks();
    if facts.wants(flag::EXEMPT) && map::is_exempt(&process) {
        return 0;
    }
    process = facts.process;
    let before = global::anew(&out.rule_id);
    Walk { facts, members: members(facts, &process), process, decision: out }.run(object);
    out.forget(facts);
    if facts.wants(OBJECTS) && (object.kind == UNREAD || object.path.len == UNRESOLVED) {
        unread(facts, object, out);
    }
    // Nothing applies, or only what was decided, and counted, by another object of the call.
    if global::anew(&out.rule_id) == before {
        return 0;
    }
    let counter = if out.is_denied() { Counter::Denied } else { Counter::Audited };
    map::hit(out.rule_id);
    if let Some(counts) = map::counts(facts.slot) {
        counts.add(counter);
    }
    0
}

/// Only a rule that says so refuses a call whose object could not be read; of an unresolved path its
/// own rules have said.
#[inline(always)]
fn unread(facts: &Facts, object: &Object, out: &mut Decision) {
    if let Some(counts) = map::counts(facts.slot) {
        counts.add(Counter::Errors);
    }
    if out.is_made() || object.kind != UNREAD || !facts.wants(flag::ERROR_RULE) {
        return;
    }
    let Some(lease) = map::on_error(facts.slot) else { return };
    if lease.rule_id == 0 {
        return;
    }
    let enforced = lease.mode == Mode::Enforce as u8 && !facts.wants(flag::AUDIT_ONLY);
    let verdict = if enforced { Verdict::Denied } else { Verdict::Audited };
    out.set(lease.rule_id, lease.errno, lease.owner as u8, verdict);
}

#[inline(always)]
fn members(facts: &Facts, process: &ProcessKey) -> Option<&'static Membership> {
    if facts.wants(flag::LINEAGE | flag::MEMBERSHIP) { map::membership(process) } else { None }
}

struct Walk<'d> {
    facts: &'d Facts,
    process: ProcessKey,
    members: Option<&'static Membership>,
    decision: &'d mut Decision,
}

impl Walk<'_> {
    #[inline(always)]
    fn run(&mut self, object: &Object) {
        let call = self.facts;
        if call.wants(flag::PROCESS) && self.entry(map::process(&self.process)) {
            return;
        }
        if call.wants(flag::LINEAGE) && self.lineage() {
            return;
        }
        if call.wants(flag::CGROUP) && self.entry(map::cgroup(capture::cgroup_id())) {
            return;
        }
        if object.kind == FILE
            && call.wants(flag::FILE)
            && self.entry(map::file(&object.file_key()))
        {
            return;
        }
        if call.wants(flag::PATH) {
            let key = object.path;
            if self.entry(map::path(&key)) {
                return;
            }
        }
        let denied = if object.kind == NETWORK && call.wants(flag::NETWORK) {
            let mut key = object.network_key();
            self.entry(map::network(&key)) || {
                key.port_be = 0;
                self.entry(map::network(&key))
            }
        } else {
            false
        };
        if !denied && call.wants(flag::HOOK) {
            self.entry(map::hook(call.slot));
        }
    }

    #[inline(always)]
    fn lineage(&mut self) -> bool {
        let Some(Membership { lineages: [a, b, c, d] }) = self.members.copied() else {
            return false;
        };
        (a != 0 && self.entry(map::lineage(a)))
            || (b != 0 && self.entry(map::lineage(b)))
            || (c != 0 && self.entry(map::lineage(c)))
            || (d != 0 && self.entry(map::lineage(d)))
    }

    /// Applies the leases of one key; true when the call is denied.
    #[inline(always)]
    fn entry(&mut self, entry: Option<&Entry>) -> bool {
        let Some(entry) = entry else { return false };
        let members = self.members.map_or(core::ptr::null(), core::ptr::from_ref);
        krsi_entry(self.facts, entry, members, self.decision) != 0
    }
}

/// Applies the leases of one key; 1 when the call is denied.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_entry(
    facts: &Facts,
    entry: &Entry,
    members: *const Membership,
    out: &mut Decision,
) -> u32 {
    let (Some(facts), Some(entry), Some(decision)) =
        (global::seen(facts), global::seen(entry), global::seen_mut(out))
    else {
        return 0;
    };
    let members = map::value(members);
    let mut leases = Leases { bits: bits_of(facts.slot), facts, members, decision };
    let Entry { slots: [a, b, c, d] } = entry;
    let denied = leases.lease(a) || leases.lease(b) || leases.lease(c) || leases.lease(d);
    u32::from(denied) ^ facts.unknown_zero() as u32
}

/// The leases of one key, as they are applied.
struct Leases<'d> {
    bits: [u64; 2],
    facts: &'d Facts,
    members: Option<&'d Membership>,
    decision: &'d mut Decision,
}

impl Leases<'_> {
    #[inline(always)]
    fn lease(&mut self, lease: &Lease) -> bool {
        let [low, high] = lease.hooks;
        let [low_bit, high_bit] = self.bits;
        if low & low_bit == 0 && high & high_bit == 0 || !self.concerns(lease) {
            return false;
        }
        if lease.expires_boot_ns != 0 && lease.expires_boot_ns <= capture::boot_ns() {
            return false;
        }
        let owner = 1u64 << (lease.owner & 63);
        if lease.mode == Mode::Off as u8 {
            return false;
        }
        if lease.mode == Mode::Allow as u8 {
            self.decision.lifted |= owner;
            return false;
        }
        if self.decision.lifted & owner != 0 {
            return false;
        }
        let denies = lease.mode == Mode::Enforce as u8 && !self.facts.wants(flag::AUDIT_ONLY);
        let verdict = if denies { Verdict::Denied } else { Verdict::Audited };
        // An audit never hides a denial that follows.
        if denies || !self.decision.is_made() {
            self.decision.set(lease.rule_id, lease.errno, lease.owner as u8, verdict);
            self.decision.forget(self.facts);
        }
        denies
    }

    #[inline(always)]
    fn concerns(&self, lease: &Lease) -> bool {
        if lease.subject != Subject::Lineage as u8 {
            return lease.subject == Subject::Any as u8;
        }
        let id = lease.subject_id;
        let Some(Membership { lineages: [a, b, c, d] }) = self.members.copied() else {
            return false;
        };
        id != 0 && (id == a || id == b || id == c || id == d)
    }
}
