//! The verdict: process, lineage, file, network, in this order; the first deny in force denies.
//!
//! A map is looked up only when the flags word says that it holds a rule for this hook.

use krsi_host_abi::deny::{
    Entry, FileKey, LINEAGES, Lease, MAX_ERRNO, Membership, Mode, NetworkKey, Subject, bits_of,
    flag,
};
use krsi_host_abi::record::Verdict;

use crate::filter::Call;
use crate::{capture, map, offset};

/// What a call came to.
#[derive(Clone, Copy)]
pub struct Decision {
    /// Rule that decided, 0 without one.
    pub rule_id: u64,
    /// Errno, positive.
    pub errno: u16,
    /// Owner slot of the rule.
    pub owner: u8,
    /// What is answered.
    pub verdict: Verdict,
}

impl Decision {
    /// No rule applies.
    pub const NONE: Decision = Decision { rule_id: 0, errno: 0, owner: 0, verdict: Verdict::None };

    /// The hook's return value: 0 or a negative errno.
    ///
    /// The verifier must see [-4095, 0]. It bounds a mask and a subtraction; 6.12 forgets all about
    /// a negation, so the compiler may not see that the minuend is zero.
    #[inline(always)]
    pub fn answer(&self) -> i32 {
        match self.verdict {
            Verdict::Denied => (offset::zero() - i64::from(self.errno & MAX_ERRNO)) as i32,
            _ => 0,
        }
    }
}

/// The object of a call.
#[derive(Clone, Copy)]
pub enum Object {
    /// A file.
    File(FileKey),
    /// A destination, with its full prefix.
    Network(NetworkKey),
    /// Nothing that a rule could name.
    None,
}

struct Walk {
    bits: [u64; 2],
    lineages: [u64; LINEAGES],
    /// Owners whose later denies an `allow` lifted.
    lifted: u64,
    decision: Decision,
}

/// Decides a call.
#[inline(always)]
pub fn decide(call: &Call, object: Object) -> Decision {
    let rules = flag::PROCESS | flag::LINEAGE | flag::FILE | flag::NETWORK;
    if !call.wants(rules) {
        return Decision::NONE;
    }
    let mut walk = Walk {
        bits: bits_of(call.hook.id() as u32),
        lineages: members(call),
        lifted: 0,
        decision: Decision::NONE,
    };
    walk.run(call, object);
    if !matches!(walk.decision.verdict, Verdict::None) {
        map::hit(walk.decision.rule_id);
    }
    walk.decision
}

#[inline(always)]
fn members(call: &Call) -> [u64; LINEAGES] {
    if !call.wants(flag::LINEAGE | flag::MEMBERSHIP) {
        return [0; LINEAGES];
    }
    map::membership(&call.process).unwrap_or(Membership { lineages: [0; LINEAGES] }).lineages
}

impl Walk {
    #[inline(always)]
    fn run(&mut self, call: &Call, object: Object) {
        if call.wants(flag::PROCESS) && self.entry(map::process(&call.process)) {
            return;
        }
        if call.wants(flag::LINEAGE) && self.lineage() {
            return;
        }
        match object {
            Object::File(key) if call.wants(flag::FILE) => {
                self.entry(map::file(&key));
            }
            Object::Network(key) if call.wants(flag::NETWORK) => {
                if !self.entry(map::network(&key)) {
                    self.entry(map::network(&NetworkKey { port_be: 0, ..key }));
                }
            }
            _ => {}
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
        let decided = Decision {
            rule_id: lease.rule_id,
            errno: lease.errno,
            owner: lease.owner as u8,
            verdict: if lease.mode == Mode::Enforce as u8 {
                Verdict::Denied
            } else {
                Verdict::Audited
            },
        };
        if matches!(decided.verdict, Verdict::Denied) {
            self.decision = decided;
            return true;
        }
        // An audit never hides a denial that follows.
        if matches!(self.decision.verdict, Verdict::None) {
            self.decision = decided;
        }
        false
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
