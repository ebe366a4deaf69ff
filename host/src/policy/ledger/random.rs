//! Thousands of random operations: ledger and maps against a list of rules read naively.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use krsi_host_abi::deny::{LINEAGES, Mode, SLOTS};
use krsi_host_abi::hook::HOOKS;
use krsi_plugin_schema::latest::{FileKey, Hook, HookSet, IfUnread, Refusal, RuleKey, Subject};

use super::fake::{Decision, Fake, Object};
use super::memory::MemoryMaps;
use super::share::{OWNER_LINEAGES, OWNER_SLOTS};
use super::*;

struct XorShift(u64);

impl XorShift {
    /// A random number below `end`, by xorshift64.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What the host will hear of later.
enum Pending {
    Fork(ProcessKey, ProcessKey),
    Exit(ProcessKey),
}

/// A rule in force, with all its tokens.
struct ModelRule {
    id: u64,
    spec: RuleSpec,
    tokens: BTreeSet<u32>,
}

impl ModelRule {
    fn is_named(&self, owner: u8, token: u32) -> bool {
        self.spec.owner == owner && self.tokens.contains(&token)
    }
}

/// Whether two rules are one.
fn is_twin(one: &RuleSpec, other: &RuleSpec) -> bool {
    let same = |spec: &RuleSpec| {
        (spec.owner, spec.key.clone(), spec.subject, spec.hooks, spec.asked as u8)
    };
    same(one) == same(other)
}

/// The truth: rules as a list, processes as a tree.
#[derive(Default)]
struct Truth {
    rules: Vec<ModelRule>,
    /// Running processes with themselves and all their ancestors.
    lines: BTreeMap<ProcessKey, BTreeSet<ProcessKey>>,
    /// Running processes with their ancestors, as far as the host has heard of them.
    heard: BTreeMap<ProcessKey, BTreeSet<ProcessKey>>,
    /// Roots of lineages in force, in the order in which they began.
    roots: Vec<ProcessKey>,
    pending: VecDeque<Pending>,
    last_tgid: u32,
    now: u64,
}

fn roots_of(spec: &RuleSpec) -> Vec<ProcessKey> {
    if spec.mode == Mode::Off {
        return Vec::new();
    }
    let key = match spec.key {
        RuleKey::Lineage(root) => Some(root),
        _ => None,
    };
    let subject = match spec.subject {
        Subject::Lineage(root) => Some(root),
        Subject::Any => None,
    };
    key.into_iter().chain(subject).collect()
}

/// Family-free network prefix: 32 bits, prefix, port.
fn network(key: &RuleKey) -> Option<(u32, u32, u16)> {
    match key {
        RuleKey::Network { address: IpAddr::V4(v4), prefix, port } => {
            let prefix = u32::from(*prefix);
            Some((v4.to_bits() & mask(prefix), prefix, *port))
        }
        _ => None,
    }
}

fn mask(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
}

fn covers(cover: &RuleKey, key: &RuleKey) -> bool {
    match (network(cover), network(key)) {
        (Some((a, p, port)), Some((b, q, other))) => p <= q && port == other && b & mask(p) == a,
        _ => cover == key,
    }
}

/// What is looked up of a destination, in order: it, and the loopback address where it is unspecified.
fn destinations((address, port): (u32, u16)) -> impl Iterator<Item = (u32, (u32, u16))> {
    let loopback = (address == 0).then_some((2, (Ipv4Addr::LOCALHOST.to_bits(), port)));
    [(0, (address, port))].into_iter().chain(loopback)
}

impl Truth {
    fn verdict(&self, hook: Hook, process: ProcessKey, file: u64, to: (u32, u16)) -> Decision {
        let line = &self.lines[&process];
        let mut order: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.spec.mode != Mode::Off)
            .flat_map(|rule| destinations(to).map(move |(at, to)| (rule, at, to)))
            .filter_map(|(ModelRule { id, spec, .. }, at, to)| {
                let place = match spec.key {
                    // Who calls and a file are asked for once.
                    RuleKey::Process(_) | RuleKey::Lineage(_) | RuleKey::File(_) if at > 0 => {
                        return None;
                    }
                    RuleKey::Process(key) if key == process => (0, 0),
                    RuleKey::Lineage(root) if line.contains(&root) => {
                        (1, self.roots.iter().position(|other| *other == root).unwrap())
                    }
                    RuleKey::File(key) if key.ino == file && hook == Hook::FileOpen => (2, 0),
                    _ if hook == Hook::SocketConnect => match network(&spec.key) {
                        Some((a, p, port)) if to.0 & mask(p) == a && port == to.1 => {
                            (at + 3, 32 - p as usize)
                        }
                        Some((a, p, 0)) if to.0 & mask(p) == a => (at + 4, 32 - p as usize),
                        _ => return None,
                    },
                    _ => return None,
                };
                let subject = match spec.subject {
                    Subject::Any => true,
                    Subject::Lineage(root) => line.contains(&root),
                };
                let alive = spec.expires_boot_ns == 0 || spec.expires_boot_ns > self.now;
                let applies = spec.hooks.contains(hook) && subject && alive;
                applies.then_some((place, spec.mode != Mode::Allow, *id, spec))
            })
            .collect();
        order.sort_by_key(|(place, mode, id, _)| (*place, *mode, *id));
        let (mut lifted, mut audit) = (BTreeSet::new(), None);
        for (_, _, id, spec) in order {
            if spec.mode == Mode::Allow {
                lifted.insert(spec.owner);
            } else if !lifted.contains(&spec.owner) {
                if spec.mode == Mode::Enforce {
                    return Some((id, true));
                }
                audit = audit.or(Some((id, false)));
            }
        }
        audit
    }

    fn drop_rules(&mut self, gone: impl Fn(&RuleSpec) -> bool) {
        self.rules.retain(|rule| !gone(&rule.spec));
        self.drop_unheld_roots();
    }

    fn drop_unheld_roots(&mut self) {
        let held: BTreeSet<_> = self.rules.iter().flat_map(|rule| roots_of(&rule.spec)).collect();
        self.roots.retain(|root| held.contains(root));
    }

    /// What the ledger should answer to a rule.
    fn expect(&self, spec: &RuleSpec) -> Option<Refusal> {
        let known = |root: &ProcessKey| self.heard.values().any(|line| line.contains(root));
        if let RuleKey::Process(key) = spec.key
            && !self.heard.contains_key(&key)
        {
            return Some(Refusal::UnknownProcess);
        }
        if self.rules.iter().any(|rule| is_twin(&rule.spec, spec)) {
            return None;
        }
        let own = self.rules.iter().filter(|rule| rule.spec.owner == spec.owner);
        let mut own: BTreeSet<_> = own.flat_map(|rule| roots_of(&rule.spec)).collect();
        let mut roots: BTreeSet<_> = self.roots.iter().copied().collect();
        for root in roots_of(spec) {
            if !roots.contains(&root) && !known(&root) {
                return Some(Refusal::UnknownProcess);
            }
            roots.insert(root);
            let is_first = own.insert(root);
            let beyond = |line: &BTreeSet<_>| {
                line.contains(&root) && line.intersection(&own).count() > OWNER_LINEAGES
            };
            if is_first && self.heard.values().any(beyond) {
                return Some(Refusal::KeyFull);
            }
            if self.heard.values().any(|line| line.intersection(&roots).count() > LINEAGES) {
                return Some(Refusal::KeyFull);
            }
        }
        let after = || {
            let others = self.rules.iter().filter(|rule| !rule.is_named(spec.owner, spec.token));
            let all = others.map(|rule| &rule.spec).chain([spec]);
            all.filter(|other| other.mode != Mode::Off)
        };
        let overfull = |at: &RuleSpec| {
            let carried = || after().filter(|other| covers(&other.key, &at.key));
            let own = carried().filter(|other| other.owner == spec.owner).count();
            carried().count() > SLOTS || own > OWNER_SLOTS
        };
        after().any(overfull).then_some(Refusal::KeyFull)
    }

    fn spec(&self, random: &mut XorShift) -> RuleSpec {
        let all: Vec<_> = self.lines.keys().copied().collect();
        let process = random.one(&all);
        let key = match random.below(5) {
            0 => RuleKey::Process(process),
            1 => RuleKey::Lineage(process),
            2 => RuleKey::File(FileKey { ino: random.below(4), dev: 1, generation: 0 }),
            _ => {
                let address = IpAddr::V4(Ipv4Addr::from_bits(self.address(random)));
                let prefix = random.one(&[0, 1, 2, 8, 31, 32]);
                RuleKey::Network { address, prefix, port: random.one(&[0, 0, 443]) }
            }
        };
        let (open, connect) = (Hook::FileOpen, Hook::SocketConnect);
        let hooks = match key {
            RuleKey::File(_) => HookSet::default().with(open),
            RuleKey::Network { .. } => HookSet::default().with(connect),
            _ => HookSet::default().with(random.one(&[open, connect])),
        };
        let modes =
            [Mode::Enforce, Mode::Enforce, Mode::Enforce, Mode::Audit, Mode::Allow, Mode::Off];
        let mode = random.one(&modes);
        RuleSpec {
            owner: random.below(3) as u8,
            plugin: "p".into(),
            token: random.below(9) as u32,
            key: normal(key),
            subject: match random.below(4) {
                0 => Subject::Lineage(random.one(&all)),
                _ => Subject::Any,
            },
            hooks,
            errno: 13,
            asked: mode,
            mode,
            if_unread: IfUnread::Pass,
            labels: Default::default(),
            gives: None,
            expires_boot_ns: random.below(2) * (self.now + 1 + random.below(40)),
            reason: String::new(),
            cause_boot_ns: 0,
            max_rules: 4096,
        }
    }

    fn address(&self, random: &mut XorShift) -> u32 {
        random.one(&[0u32, 1, 0x4000_0000, 0x8000_0000, 0x8000_0001, 0x80ff_ffff])
    }

    fn add(&mut self, ledger: &mut Ledger<Fake>, spec: RuleSpec) {
        let now = self.now;
        self.drop_rules(|other| other.expires_boot_ns != 0 && other.expires_boot_ns <= now);
        let expected = self.expect(&spec);
        let heard = &self.heard;
        let kinship = Kinship {
            exists: &|key| heard.contains_key(&key),
            descendants: &|root| {
                let under =
                    heard.iter().filter(|(key, line)| **key != root && line.contains(&root));
                under.map(|(key, _)| *key).collect()
            },
            running: &|_| Vec::new(),
        };
        let before = ledger.store.maps.clone();
        match ledger.add(spec.clone(), now, kinship) {
            Ok(MadeRule { rule_id, renewed: true }) => {
                assert_eq!(expected, None, "{spec:?}");
                let (owner, token) = (spec.owner, spec.token);
                self.rules.retain(|rule| rule.id == rule_id || !rule.is_named(owner, token));
                let rule = self.rules.iter_mut().find(|rule| rule.id == rule_id).unwrap();
                assert!(is_twin(&rule.spec, &spec));
                rule.tokens.insert(token);
                let ends = [rule.spec.expires_boot_ns, spec.expires_boot_ns];
                let never = ends.contains(&0);
                rule.spec.expires_boot_ns = if never { 0 } else { ends[0].max(ends[1]) };
                self.drop_unheld_roots();
            }
            Ok(MadeRule { rule_id: id, renewed: false }) => {
                assert_eq!(expected, None, "{spec:?}");
                assert!(!self.rules.iter().any(|rule| is_twin(&rule.spec, &spec)), "{spec:?}");
                for root in roots_of(&spec) {
                    if !self.roots.contains(&root) {
                        self.roots.push(root);
                    }
                }
                self.rules.retain(|rule| !rule.is_named(spec.owner, spec.token));
                let tokens = BTreeSet::from([spec.token]);
                self.rules.push(ModelRule { id, spec, tokens });
                self.drop_unheld_roots();
            }
            Err(error) => {
                assert_eq!(Some(error.refusal()), expected, "{error} {spec:?}");
                let swept = |maps: &MemoryMaps| (maps.flags.clone(), maps.hits.len());
                let (old, new) = (swept(&before), swept(&ledger.store.maps));
                assert!(new.1 <= old.1);
            }
        }
    }

    fn fork(&mut self, ledger: &mut Ledger<Fake>, random: &mut XorShift) {
        let all: Vec<_> = self.lines.keys().copied().collect();
        let parent = random.one(&all);
        self.last_tgid += 1;
        let child = ProcessKey { start_boot_ns: u64::from(self.last_tgid), tgid: self.last_tgid };
        ledger.store.maps.fork(abi(parent), abi(child));
        let mut line = self.lines[&parent].clone();
        line.insert(child);
        self.lines.insert(child, line);
        self.pending.push_back(Pending::Fork(parent, child));
    }

    fn exit(&mut self, ledger: &mut Ledger<Fake>, random: &mut XorShift) {
        if self.lines.len() > 4 {
            let all: Vec<_> = self.lines.keys().copied().collect();
            let gone = random.one(&all);
            ledger.store.maps.exit(abi(gone));
            self.lines.remove(&gone);
            self.pending.push_back(Pending::Exit(gone));
        }
    }

    fn hear(&mut self, ledger: &mut Ledger<Fake>) {
        match self.pending.pop_front() {
            Some(Pending::Fork(parent, child)) => {
                let mut line = self.heard[&parent].clone();
                line.insert(child);
                self.heard.insert(child, line);
                ledger.on_fork(parent, child);
            }
            Some(Pending::Exit(gone)) => {
                self.heard.remove(&gone);
                ledger.on_exit(gone, self.now);
                self.drop_rules(|spec| spec.key == RuleKey::Process(gone));
            }
            None => {}
        }
    }

    fn compare(&self, ledger: &Ledger<Fake>, random: &mut XorShift) {
        let (ino, to) = (random.below(4), (self.address(random), random.one(&[443, 80])));
        let file = krsi_host_abi::deny::FileKey { ino, dev: 1, generation: 0 };
        let address = (u128::from(to.0) << 96).to_be_bytes();
        for process in self.lines.keys().copied() {
            let of = |hook, object| ledger.store.verdict(hook, abi(process), object, self.now);
            let open = of(AbiHook::FileOpen, Object::File(file));
            assert_eq!(open, self.verdict(Hook::FileOpen, process, ino, to), "{process:?}");
            let connect = of(AbiHook::SocketConnect, Object::Network(2, to.1, address));
            assert_eq!(connect, self.verdict(Hook::SocketConnect, process, ino, to), "{process:?}");
        }
        let marked = self.lines.values().filter(|line| self.roots.iter().any(|r| line.contains(r)));
        assert_eq!(ledger.store.maps.marks.len(), marked.count());
    }
}

/// The key as the ledger understands it: bits beyond the prefix are zero.
fn normal(key: RuleKey) -> RuleKey {
    match (network(&key), key) {
        (Some((bits, ..)), RuleKey::Network { prefix, port, .. }) => {
            RuleKey::Network { address: Ipv4Addr::from_bits(bits).into(), prefix, port }
        }
        (_, key) => key,
    }
}

#[test]
fn the_maps_say_what_a_list_of_rules_says() {
    for seed in 1..40u64 {
        let mut random = XorShift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut ledger = Ledger::new(Fake::default(), HOOKS.iter().map(|row| row.hook));
        let mut truth = Truth { last_tgid: 3, now: 1, ..Truth::default() };
        for tgid in 1..=3u32 {
            let key = ProcessKey { start_boot_ns: u64::from(tgid), tgid };
            truth.lines.insert(key, BTreeSet::from([key]));
        }
        truth.heard = truth.lines.clone();
        for _ in 0..1500 {
            truth.now += random.below(3);
            match random.below(20) {
                0..8 => {
                    let spec = truth.spec(&mut random);
                    truth.add(&mut ledger, spec);
                }
                8..11 => {
                    let (owner, token) = (random.below(3) as u8, random.below(9) as u32);
                    // A rule whose time is over may have been cleared away.
                    let _known = ledger.revoke(owner, token, truth.now);
                    truth.rules.retain(|rule| !rule.is_named(owner, token));
                    truth.drop_unheld_roots();
                }
                11..14 => truth.fork(&mut ledger, &mut random),
                14..16 => truth.exit(&mut ledger, &mut random),
                16 => {
                    ledger.expire(truth.now);
                    let now = truth.now;
                    truth.drop_rules(|spec| {
                        spec.expires_boot_ns != 0 && spec.expires_boot_ns <= now
                    });
                }
                17 if random.below(8) == 0 => {
                    let owner = random.below(3) as u8;
                    ledger.withdraw(owner, truth.now);
                    truth.drop_rules(|spec| spec.owner == owner);
                }
                18 => truth.hear(&mut ledger),
                _ => {
                    while !truth.pending.is_empty() {
                        truth.hear(&mut ledger);
                    }
                    truth.compare(&ledger, &mut random);
                }
            }
        }
        while !truth.pending.is_empty() {
            truth.hear(&mut ledger);
        }
        for owner in 0..3 {
            ledger.withdraw(owner, truth.now);
        }
        assert_eq!(ledger.store.maps, MemoryMaps::default(), "seed {seed}");
    }
}
