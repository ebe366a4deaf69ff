//! The verdict: process, lineage, cgroup, file, network, hook, in this order; the first deny in force
//! denies.
//!
//! A map is looked up only when the flags word says that it holds a rule for this hook.

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{
    Entry, FileKey, LINEAGES, Lease, MAX_ERRNO, Membership, Mode, NETWORK_FIXED_BITS, NetworkKey,
    Subject, bits_of, flag,
};
use krsi_host_abi::record::Verdict;

use crate::filter::{Call, Facts};
use crate::hook::{AF_INET, AF_INET6};
use crate::{capture, map, offset};

/// What a call came to.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Decision {
    /// Rule that decided, 0 without one.
    pub rule_id: u64,
    /// Errno, positive.
    pub errno: u16,
    /// Owner slot of the rule.
    pub owner: u8,
    /// What is answered.
    pub verdict: Verdict,
    pad: u32,
}

impl Decision {
    /// No rule applies.
    #[inline(always)]
    pub fn none(call: &Call) -> Self {
        Self::new(call.facts.unknown_zero(), 0, 0, Verdict::None)
    }

    /// What a rule decides.
    #[inline(always)]
    pub fn new(rule_id: u64, errno: u16, owner: u8, verdict: Verdict) -> Self {
        Self { rule_id, errno, owner, verdict, pad: 0 }
    }

    /// The hook's return value: 0 or a negative errno.
    ///
    /// The verifier must see [-4095, 0]. It bounds a mask and a subtraction; 6.12 forgets all about
    /// a negation, so the compiler may not see that the minuend is zero.
    #[inline(always)]
    pub fn answer(&self) -> i32 {
        match self.verdict {
            Verdict::Denied if offset::can_deny() => {
                (offset::zero() - i64::from(self.errno & MAX_ERRNO)) as i32
            }
            _ => 0,
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
}

/// Nothing that a rule could name.
const NOTHING: u64 = 0;
/// A file.
const FILE: u64 = 1;
/// A destination.
const NETWORK: u64 = 2;

impl Object {
    /// Nothing that a rule could name.
    #[inline(always)]
    pub fn none(call: &Call) -> Self {
        Self { kind: call.facts.unknown_zero(), words: [0; 3] }
    }

    /// A file.
    #[inline(always)]
    pub fn file(key: FileKey) -> Self {
        Self { kind: FILE, words: [key.ino, u64::from(key.dev), 0] }
    }

    /// The destination that an address is.
    #[inline(always)]
    pub fn of_address(family: u16, port_be: u16, address: [u8; 16]) -> Self {
        let bits = match family {
            AF_INET => 32,
            AF_INET6 => 128,
            _ => return Self { kind: NOTHING, words: [0; 3] },
        };
        let [a, b, c, d, e, f, g, h, rest @ ..] = address;
        let fixed = u64::from(NETWORK_FIXED_BITS + bits)
            | u64::from(family) << 32
            | u64::from(port_be) << 48;
        let words = [fixed, u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)];
        Self { kind: NETWORK, words }
    }

    /// Whether it is nothing.
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.kind == NOTHING
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
        let [fixed, high, low] = self.words;
        let [a, b, c, d, e, f, g, h] = high.to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = low.to_ne_bytes();
        NetworkKey {
            prefix_bits: fixed as u32,
            family: (fixed >> 32) as u16,
            port_be: (fixed >> 48) as u16,
            address: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p],
        }
    }
}

/// Decides a call. One whose object could not be read is refused by what names no object, and by a
/// rule that says so.
#[inline(always)]
pub fn decide(call: &Call, object: &Object, unread: bool) -> Decision {
    let mut decision = Decision::none(call);
    if call.wants(RULES) {
        // SAFETY: all are whole; the last is ours to write.
        unsafe { krsi_decide(&call.facts, object, u64::from(unread), &mut decision) };
    }
    decision
}

/// Maps that can hold a rule.
const RULES: u64 = flag::PROCESS
    | flag::LINEAGE
    | flag::CGROUP
    | flag::FILE
    | flag::NETWORK
    | flag::HOOK
    | flag::ERROR_RULE;

/// Decides, and counts what it decides.
///
/// # Safety
/// All are NULL or whole.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn krsi_decide(
    facts: *const Facts,
    object: *const Object,
    unread: u64,
    out: *mut Decision,
) -> u32 {
    // SAFETY: as the caller promises.
    let (Some(facts), Some(object), Some(out)) =
        (unsafe { (facts.as_ref(), object.as_ref(), out.as_mut()) })
    else {
        return 0;
    };
    if facts.wants(flag::EXEMPT) && map::is_exempt(&facts.process) {
        return 0;
    }
    let mut walk = Walk {
        bits: bits_of(facts.slot),
        facts,
        lineages: members(facts),
        lifted: facts.unknown_zero(),
        decision: out,
    };
    walk.run(object);
    if unread != 0 && matches!(out.verdict, Verdict::None) {
        on_error(facts, out);
    }
    let counter = match out.verdict {
        Verdict::None => return 0,
        Verdict::Denied => Counter::Denied,
        Verdict::Audited => Counter::Audited,
    };
    map::hit(out.rule_id);
    if let Some(counts) = map::counts(facts.slot) {
        counts.add(counter);
    }
    0
}

/// Only a rule that says so refuses a call whose object could not be read.
#[inline(always)]
fn on_error(facts: &Facts, out: &mut Decision) {
    if !facts.wants(flag::ERROR_RULE) {
        return;
    }
    let Some(lease) = map::on_error(facts.slot) else { return };
    if lease.expires_boot_ns != 0 && lease.expires_boot_ns <= capture::boot_ns() {
        return;
    }
    if let Some(counts) = map::counts(facts.slot) {
        counts.add(Counter::Errors);
    }
    let enforced = lease.mode == Mode::Enforce as u8 && !facts.wants(flag::AUDIT_ONLY);
    let verdict = if enforced { Verdict::Denied } else { Verdict::Audited };
    *out = Decision::new(lease.rule_id, lease.errno, lease.owner as u8, verdict);
}

#[inline(always)]
fn members(facts: &Facts) -> [u64; LINEAGES] {
    if !facts.wants(flag::LINEAGE | flag::MEMBERSHIP) {
        return [0; LINEAGES];
    }
    map::membership(&facts.process).unwrap_or(Membership { lineages: [0; LINEAGES] }).lineages
}

struct Walk<'d> {
    bits: [u64; 2],
    facts: &'d Facts,
    lineages: [u64; LINEAGES],
    /// Owners whose later denies an `allow` lifted.
    lifted: u64,
    decision: &'d mut Decision,
}

impl Walk<'_> {
    #[inline(always)]
    fn run(&mut self, object: &Object) {
        let call = self.facts;
        if call.wants(flag::PROCESS) && self.entry(map::process(&call.process)) {
            return;
        }
        if call.wants(flag::LINEAGE) && self.lineage() {
            return;
        }
        if call.wants(flag::CGROUP) && self.entry(map::cgroup(capture::cgroup_id())) {
            return;
        }
        let denied = if object.kind == FILE && call.wants(flag::FILE) {
            self.entry(map::file(&object.file_key()))
        } else if object.kind == NETWORK && call.wants(flag::NETWORK) {
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
        let [a, b, c, d] = self.lineages;
        (a != 0 && self.entry(map::lineage(a)))
            || (b != 0 && self.entry(map::lineage(b)))
            || (c != 0 && self.entry(map::lineage(c)))
            || (d != 0 && self.entry(map::lineage(d)))
    }

    /// Applies the leases of one key; true when the call is denied.
    #[inline(always)]
    fn entry(&mut self, entry: Option<&Entry>) -> bool {
        let Some(Entry { slots: [a, b, c, d] }) = entry else { return false };
        self.lease(a) || self.lease(b) || self.lease(c) || self.lease(d)
    }

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
        if lease.mode == Mode::Allow as u8 {
            self.lifted |= owner;
            return false;
        }
        if self.lifted & owner != 0 {
            return false;
        }
        let denies = lease.mode == Mode::Enforce as u8 && !self.facts.wants(flag::AUDIT_ONLY);
        let verdict = if denies { Verdict::Denied } else { Verdict::Audited };
        // An audit never hides a denial that follows.
        if denies || matches!(self.decision.verdict, Verdict::None) {
            *self.decision = Decision::new(lease.rule_id, lease.errno, lease.owner as u8, verdict);
        }
        denies
    }

    #[inline(always)]
    fn concerns(&self, lease: &Lease) -> bool {
        if lease.subject != Subject::Lineage as u8 {
            return lease.subject == Subject::Any as u8;
        }
        let id = lease.subject_id;
        let [a, b, c, d] = self.lineages;
        id != 0 && (id == a || id == b || id == c || id == d)
    }
}
