//! The verdict: process, lineage, cgroup, file, path, network, hook, in this order; the first deny in force
//! denies; of an exempt caller none is asked.
//!
//! A call whose object cannot be read goes past those to the leases that answer errors. A map is looked up only when the flags word says that it holds a rule for this hook.

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{
    Digest, Entry, Lease, MAX_ERRNO, Membership, Mode, NetworkKey, ProcessKey, Subject, bounds,
    flag,
};
use krsi_host_abi::frozen::objects;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::path::UNRESOLVED;
use krsi_host_abi::record::Verdict;

use crate::capture::Task;
use crate::filter::{Call, Facts};
use crate::hook::{AF_INET, AF_INET6};
use crate::object::Object;
use crate::{capture, exempt, global, label, map, offset};

/// Decision on a call.
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
    /// Labels that the caller is given if nothing refuses, as bits.
    gives: u64,
}

impl Decision {
    /// No rule applies.
    #[inline(always)]
    pub fn none(call: &Call) -> Self {
        let zero = call.facts.unknown_zero();
        Self { rule_id: zero, word: zero, lifted: zero, gives: zero }
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

    /// The verdict of the decision.
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

    /// What a decision is counted as.
    #[inline(always)]
    fn counter(&self) -> Counter {
        if self.is_denied() { Counter::Denied } else { Counter::Audited }
    }

    /// Labels that the caller is given if nothing refuses, as bits; once they are given, those of them that it
    /// did not have.
    #[inline(always)]
    pub fn gives(&self) -> u64 {
        global::anew(&self.gives)
    }

    /// Notes which labels the caller is given.
    #[inline(always)]
    pub fn set_gives(&mut self, labels: u64) {
        self.gives = labels;
    }

    /// Takes back what was decided, and keeps what was allowed.
    #[inline(always)]
    fn retract(&mut self, facts: &Facts) {
        self.rule_id = facts.unknown_zero();
        self.word = facts.unknown_zero();
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
        self.gives ^= facts.unknown_zero();
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

/// Decides a call. One whose object could not be read is refused by what names no object, and by a
/// rule that says so.
#[inline(always)]
pub fn decide(call: &Call, object: &mut Object) -> Decision {
    let mut decision = Decision::none(call);
    decide_into(call, object, &mut decision);
    // An open on the way to an exec gives nothing: the exec may still fail.
    if !object.is_executed() || call.facts.slot == EXEC {
        label::give(call, &mut decision);
    } else {
        decision.set_gives(call.facts.unknown_zero());
    }
    decision
}

/// Decides a call as [`decide`] does, into a decision of the caller's, and gives no label.
#[inline(always)]
pub fn decide_into(call: &Call, object: &mut Object, decision: &mut Decision) {
    if call.wants(flag::RULES) && may_apply(call, object) {
        object.forget(call);
        krsi_decide(&call.facts, object, decision);
        decision.forget(&call.facts);
    }
}

/// Whether there is anything to decide. Most calls have no rule: their keys are looked up where they
/// lie, and only a hit pays for the function that decides.
#[inline(always)]
fn may_apply(call: &Call, object: &Object) -> bool {
    call.wants(flag::RULES & !(flag::PROCESS | flag::FILE | flag::NETWORK))
        || call.wants(flag::PROCESS) && map::process(&call.facts.process).is_some()
        || call.wants(flag::FILE | flag::NETWORK) && object.is_unread()
        || call.wants(flag::FILE) && object.has_file_rule()
        || call.wants(flag::NETWORK) && object.has_port_rule()
}

/// Decides by the leases on an executable's digest, unless a rule on who calls refuses or allows first.
/// What rules on the caller refuse or report is the affair of the hook's other program.
#[inline(always)]
pub fn decide_digest(call: &Call, object: &Object, digest: &Digest) -> Decision {
    let mut decision = Decision::none(call);
    let facts = &call.facts;
    let mut process = facts.process;
    if exempt::spares(facts, object, &mut process) {
        return decision;
    }
    let changes = map::changes();
    by_digest(facts, digest, &mut decision);
    if offset::reads_again() && map::changes() != changes {
        decision = Decision::none(call);
        by_digest(facts, digest, &mut decision);
    }
    // Labels are the other program's affair too.
    decision.set_gives(facts.unknown_zero());
    decision.forget(facts);
    if decision.is_made() {
        map::hit(decision.rule_id);
        call.counts.add(decision.counter());
    }
    decision
}

#[inline(always)]
fn by_digest(facts: &Facts, digest: &Digest, decision: &mut Decision) {
    let mut walk = Walk { facts, members: None, decision };
    let refused = walk.caller();
    walk.decision.retract(facts);
    if !refused {
        walk.entry(map::digest(digest));
    }
}

/// Hook whose call is an exec.
const EXEC: u32 = Hook::BprmCheckSecurity.id() as u32;
/// Hook where an unspecified address is all of the machine's own, and not the loopback one.
const BIND: u32 = Hook::SocketBind.id() as u32;

/// Flags of rules that are looked up by the call's object.
const OBJECTS: u64 = flag::FILE | flag::PATH | flag::NETWORK | flag::ANY_PORT;

/// Decides, and counts what it decides.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_decide(facts: &Facts, object: &Object, out: &mut Decision) -> u32 {
    let (Some(facts), Some(object), Some(out)) =
        (global::seen(facts), global::seen(object), global::seen_mut(out))
    else {
        return 0;
    };
    if exempt::is_spared(facts, object) {
        return 0;
    }
    let (before, gives) = (global::anew(&out.rule_id), global::anew(&out.gives));
    if facts.wants(OBJECTS)
        && (object.is_unread() || object.path.len == UNRESOLVED)
        && let Some(counts) = map::counts(facts.slot)
    {
        counts.add(Counter::Errors);
    }
    let changes = map::changes();
    let mut rounds = 0;
    loop {
        krsi_rules(facts, object, out);
        rounds = global::written(rounds + 1);
        // What was read may have been of other keys: what was replaced meanwhile is used again at once.
        if rounds > 1 || !offset::reads_again() || map::changes() == changes {
            break;
        }
        if global::anew(&out.rule_id) != before {
            out.retract(facts);
        }
        // Nothing was lifted before: of another object of the call it was forgotten.
        out.lift_nothing(facts);
        out.gives = gives ^ facts.unknown_zero();
    }
    out.forget(facts);
    // Nothing applies, or only what was decided, and counted, by another object of the call.
    if global::anew(&out.rule_id) == before {
        return 0;
    }
    map::hit(out.rule_id);
    if let Some(counts) = map::counts(facts.slot) {
        counts.add(out.counter());
    }
    0
}

/// Applies the leases of all keys of a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_rules(facts: &Facts, object: &Object, out: &mut Decision) -> u32 {
    let (Some(facts), Some(object), Some(decision)) =
        (global::seen(facts), global::seen(object), global::seen_mut(out))
    else {
        return 0;
    };
    let mut walk = Walk { facts, members: None, decision };
    if !walk.caller() {
        walk.run(object);
    }
    facts.unknown_zero() as u32
}

#[inline(always)]
fn members(facts: &Facts, process: &ProcessKey) -> Option<&'static Membership> {
    if facts.wants(flag::LINEAGE | flag::MEMBERSHIP) { map::membership(process) } else { None }
}

struct Walk<'d> {
    facts: &'d Facts,
    members: Option<&'static Membership>,
    decision: &'d mut Decision,
}

impl Walk<'_> {
    #[inline(always)]
    fn run(&mut self, object: &Object) {
        let call = self.facts;
        if object.is_file() && call.wants(flag::FILE) && self.entry(map::file(&object.file_key())) {
            return;
        }
        if offset::is_about(objects::FILE) && call.wants(flag::PATH) {
            let key = object.path;
            if self.entry(map::path(&key)) {
                return;
            }
        }
        let denied = object.is_network()
            && call.wants(flag::NETWORK | flag::ANY_PORT)
            && (self.destination(object.network_key())
                || object.is_unspecified() && call.slot != BIND && self.loopback(object));
        if denied || call.wants(flag::HOOK) && self.entry(map::hook(call.slot)) {
            return;
        }
        // Of an unresolved path its own rules have said.
        if object.is_unread() && call.wants(flag::ERROR_RULE) && call.wants(OBJECTS) {
            self.entry(map::on_error(call.slot));
        }
    }

    /// Keys of a destination, with its port and on every port; true when the call is denied.
    #[inline(always)]
    fn destination(&mut self, mut key: NetworkKey) -> bool {
        let call = self.facts;
        call.wants(flag::NETWORK) && self.entry(map::network(&key))
            || call.wants(flag::ANY_PORT) && {
                key.port_be = 0;
                self.entry(map::network(&key))
            }
    }

    /// Keys of the loopback addresses that an unspecified one stands for.
    #[inline(always)]
    fn loopback(&mut self, object: &Object) -> bool {
        object.family() != AF_INET && self.destination(object.loopback_key(AF_INET6))
            || self.destination(object.loopback_key(AF_INET))
    }

    /// Keys of who calls, whose lineages are found; true when the call is denied.
    #[inline(always)]
    fn caller(&mut self) -> bool {
        let process = self.facts.process;
        self.members = members(self.facts, &process);
        self.subject(&process)
    }

    #[inline(always)]
    fn subject(&mut self, process: &ProcessKey) -> bool {
        let call = self.facts;
        call.wants(flag::PROCESS) && self.entry(map::process(process))
            || call.wants(flag::LINEAGE) && self.lineage()
            || call.wants(flag::CGROUP) && self.entry(map::cgroup(capture::cgroup_id()))
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
    let mut leases = Leases { facts, members, decision };
    let mut at = 0;
    // Written once and not four times: from 7.1 on the kernel goes through a function for each way that leads to it.
    let denied = loop {
        let Some(lease) = entry.slots.get(at as usize) else { break false };
        if leases.lease(lease) {
            break true;
        }
        at = global::written(at + 1);
    };
    u32::from(denied) ^ facts.unknown_zero() as u32
}

/// Whether a call is none of an owner's affair: 1, or 0. A caller whose user cannot be read is. It is given numbers
/// alone: from 7.1 on the kernel goes through a function once more for each place that hands it the caller's stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_is_out_of_bounds(owner: u64, unknown_zero: u64) -> u32 {
    let within = map::bounds_of(owner as u16);
    let is_within = match within.kind {
        bounds::UID => {
            Task::current().and_then(capture::uid_of).is_ok_and(|uid| u64::from(uid) == within.id)
        }
        bounds::CGROUP if offset::ancestors() => {
            capture::ancestor_cgroup_id(within.level) == within.id
        }
        _ => true,
    };
    u32::from(!is_within) ^ unknown_zero as u32
}

/// The leases of one key, as they are applied.
struct Leases<'d> {
    facts: &'d Facts,
    members: Option<&'d Membership>,
    decision: &'d mut Decision,
}

impl Leases<'_> {
    #[inline(always)]
    fn lease(&mut self, lease: &Lease) -> bool {
        let slot = global::anew(&self.facts.slot);
        let Some(hooks) = lease.hooks.get(slot as usize / 64) else { return false };
        if hooks >> (slot % 64) & 1 == 0 || !self.applies_to_caller(lease) {
            return false;
        }
        if map::is_bounded(lease.owner)
            && krsi_is_out_of_bounds(lease.owner.into(), self.facts.unknown_zero()) != 0
        {
            return false;
        }
        if lease.asks_labels() && !label::labels_match(self.facts, lease) {
            return false;
        }
        if lease.expires_boot_ns != 0 && lease.expires_boot_ns <= capture::boot_ns() {
            return false;
        }
        let owner = 1u64 << (lease.owner & 63);
        if lease.mode == Mode::Off as u8 {
            return false;
        }
        if lease.mode == Mode::Label as u8 {
            self.decision.gives |= 1 << (lease.label & 63);
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
            self.decision.set(lease.rule_id, lease.errno, lease.owner, verdict);
            self.decision.forget(self.facts);
        }
        denies
    }

    #[inline(always)]
    fn applies_to_caller(&self, lease: &Lease) -> bool {
        if lease.protocol != 0 && u32::from(lease.protocol) != self.facts.protocol {
            return false;
        }
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
