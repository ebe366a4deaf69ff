//! A call → what the leases at its keys make of it: the order of keys is that of `ebpf/prog/src/verdict.rs`.

use krsi_host_abi::deny::{
    Lease, Mode, NETWORK_FIXED_BITS, NetworkKey, ProcessKey, Subject, flag, halves,
};
use krsi_host_abi::hook::Hook;
use krsi_host_abi::path::PREFIX_MAX;

use super::{AF_INET, AF_INET6, CallAddress, CallKeys, CallPath, MemoryMaps, Ruling};
use crate::kernel::map::lease::EntryKey;
use crate::kernel::map::prefix::PathPrefix;

/// Keys whose object a call may lack.
const OBJECTS: u64 = flag::FILE | flag::PATH | flag::NETWORK | flag::ANY_PORT;

impl MemoryMaps {
    /// What rules in force make of a call.
    pub(crate) fn decide(
        &self,
        hook: Hook,
        process: ProcessKey,
        object: &CallKeys<'_>,
        now: u64,
    ) -> Ruling {
        let mut walk = KeyWalk::new(self, (hook, process), object, now);
        if walk.caller() || walk.object() || self.flag(hook) & flag::DIGEST == 0 {
            return walk.decided;
        }
        // A program of its own: what rules on the caller say is the affair of the other.
        let Some(digest) = object.digest else { return walk.decided };
        let mut by_digest = KeyWalk::new(self, (hook, process), object, now);
        let is_refused = by_digest.caller();
        by_digest.decided = Ruling::default();
        if !is_refused {
            by_digest.entry(EntryKey::Digest(digest));
        }
        let (first, second) = (walk.decided, by_digest.decided);
        let by = if second.is_denied { second.by } else { first.by.or(second.by) };
        Ruling { by, is_denied: second.is_denied, gives: first.gives }
    }
}

/// As much of a path as a prefix can be long: whole components.
fn within_key(path: &str) -> &str {
    if path.len() < PREFIX_MAX {
        return path;
    }
    let mut ends = path.rmatch_indices('/').map(|(at, _)| at);
    let last = ends.find(|at| (1..PREFIX_MAX).contains(at));
    last.and_then(|at| path.get(..at)).unwrap_or("/")
}

/// The keys of a call, one after the other. What looks one up says whether the call is refused.
struct KeyWalk<'m> {
    maps: &'m MemoryMaps,
    hook: Hook,
    process: ProcessKey,
    object: &'m CallKeys<'m>,
    now: u64,
    flags: u64,
    lineages: [u64; 4],
    labels: u64,
    /// Owners whose later denials an `allow` lifted.
    lifted: u64,
    decided: Ruling,
}

impl<'m> KeyWalk<'m> {
    fn new(
        maps: &'m MemoryMaps,
        (hook, process): (Hook, ProcessKey),
        object: &'m CallKeys<'m>,
        now: u64,
    ) -> Self {
        let flags = maps.flag(hook);
        let marks = maps.marks.get(&process).filter(|_| {
            // Otherwise the kernel does not look.
            flags & (flag::LINEAGE | flag::MEMBERSHIP) != 0
        });
        let lineages = marks.copied().unwrap_or_default().lineages;
        let labels = maps.labels.get(&process).copied().unwrap_or(0) & maps.label_rules.live;
        let decided = Ruling::default();
        Self { maps, hook, process, object, now, flags, lineages, labels, lifted: 0, decided }
    }

    const fn wants(&self, bits: u64) -> bool {
        self.flags & bits != 0
    }

    fn caller(&mut self) -> bool {
        self.wants(flag::PROCESS) && self.entry(EntryKey::Process(self.process))
            || self.wants(flag::LINEAGE) && {
                let ids = self.lineages.into_iter().filter(|id| *id != 0);
                ids.map(EntryKey::Lineage).any(|key| self.entry(key))
            }
            || self.wants(flag::CGROUP) && self.entry(EntryKey::Cgroup(self.object.cgroup))
    }

    fn object(&mut self) -> bool {
        let object = self.object;
        self.wants(flag::FILE) && object.file.is_some_and(|file| self.entry(EntryKey::File(file)))
            || self.wants(flag::PATH) && self.path(object.path)
            || object.to.is_some_and(|to| self.address(to))
            || self.wants(flag::HOOK) && self.entry(EntryKey::Hook(self.hook))
            || object.is_unread
                && self.wants(OBJECTS)
                && self.wants(flag::ERROR_RULE)
                && self.entry(EntryKey::Unread(self.hook))
    }

    /// A path has the entry of the longest prefix that has one.
    fn path(&mut self, path: CallPath<'_>) -> bool {
        let path = match path {
            CallPath::None => return false,
            CallPath::Unresolved => return self.entry(EntryKey::Unresolved(self.hook)),
            CallPath::At(path) => PathPrefix::new(within_key(path)).ok(),
        };
        let mut keys = path.iter().flat_map(PathPrefix::covering).map(EntryKey::Path);
        keys.find(|key| self.maps.entries.contains_key(key)).is_some_and(|key| self.entry(key))
    }

    fn address(&mut self, to: CallAddress) -> bool {
        // Binding to an unspecified address is to all of the machine's own.
        let leads_to_loopback = to.is_unspecified() && self.hook != Hook::SocketBind;
        self.destination(to)
            || leads_to_loopback
                && (to.family != AF_INET && self.destination(to.loopback(AF_INET6))
                    || self.destination(to.loopback(AF_INET)))
    }

    /// A destination has an entry with its port, and one on every port.
    fn destination(&mut self, to: CallAddress) -> bool {
        self.wants(flag::NETWORK) && self.longest(to)
            || self.wants(flag::ANY_PORT) && self.longest(CallAddress { port: 0, ..to })
    }

    /// The trie has the entry of the longest prefix that has one.
    fn longest(&mut self, to: CallAddress) -> bool {
        let width = if to.family == AF_INET { 32 } else { 128 };
        let mut keys = (0..=width).rev().map(|prefix| {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            EntryKey::Network(NetworkKey {
                prefix_bits: NETWORK_FIXED_BITS + prefix,
                family: to.family,
                port_be: to.port.to_be(),
                address: (u128::from_be_bytes(to.address) & mask).to_be_bytes(),
            })
        });
        keys.find(|key| self.maps.entries.contains_key(key)).is_some_and(|key| self.entry(key))
    }

    /// Applies the leases of a key.
    fn entry(&mut self, key: EntryKey) -> bool {
        let entry = self.maps.entries.get(&key).copied();
        entry.into_iter().flat_map(|entry| entry.slots).any(|lease| self.lease(&lease))
    }

    fn lease(&mut self, lease: &Lease) -> bool {
        if lease.mode == Mode::Off as u8 || !self.applies(lease) {
            return false;
        }
        let owner = 1u64 << (lease.owner & 63);
        if lease.mode == Mode::Label as u8 {
            self.decided.gives |= 1 << (lease.label & 63);
        } else if lease.mode == Mode::Allow as u8 {
            self.lifted |= owner;
        } else if self.lifted & owner == 0 {
            let denies = lease.mode == Mode::Enforce as u8 && !self.wants(flag::AUDIT_ONLY);
            // An audit never hides a denial that follows.
            if denies || self.decided.by.is_none() {
                self.decided.by = Some((lease.rule_id, lease.errno));
                self.decided.is_denied = denies;
            }
            return denies;
        }
        false
    }

    fn applies(&self, lease: &Lease) -> bool {
        let of_hook = lease.hooks.iter().zip(halves(self.hook.bit()));
        let protocol = self.object.to.map_or(0, |to| to.protocol);
        let concerns = lease.subject == Subject::Any as u8
            || lease.subject_id != 0 && self.lineages.contains(&lease.subject_id);
        let is_over = lease.expires_boot_ns != 0 && lease.expires_boot_ns <= self.now;
        let fails = lease.if_labels & !self.labels | lease.unless_labels & self.labels;
        of_hook.into_iter().any(|(hooks, bit)| hooks & bit != 0)
            && (lease.protocol == 0 || lease.protocol == protocol)
            && concerns
            && fails == 0
            && !is_over
    }
}
