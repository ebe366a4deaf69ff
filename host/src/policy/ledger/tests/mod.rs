//! Tests of the ledger against maps that are read as the kernel reads them.

mod kernel;
mod label;
mod share;

use std::net::IpAddr;

use krsi_host_abi::deny::{Lease, Mode, flag, halves};
use krsi_host_abi::hook::HOOKS;
use krsi_plugin_schema::latest::{
    FileKey, Hook, HookSet, IfUnread, IfUnresolved, Refusal, RuleKey, Subject,
};

use crate::kernel::map::lease::EntryKey;

use super::fake::{Decision, Fake, Object};
use super::memory::MemoryMaps;
use super::*;

const NOW: u64 = 1_000;

const fn process(tgid: u32) -> ProcessKey {
    ProcessKey { start_boot_ns: tgid as u64, tgid }
}

fn ledger() -> Ledger<Fake> {
    Ledger::new(Fake::default(), HOOKS.iter().map(|row| row.hook))
}

/// Everybody runs; process 10 has the children 11 and 12.
fn add(ledger: &mut Ledger<Fake>, spec: RuleSpec) -> Result<u64, Refusal> {
    let descendants = |key: ProcessKey| match key.tgid {
        10 => vec![process(11), process(12)],
        _ => Vec::new(),
    };
    let kinship = Kinship {
        exists: &|key| key.tgid < 90,
        descendants: &descendants,
        running: &|_| Vec::new(),
    };
    let made = ledger.add(RuleSpec { asked: spec.mode, ..spec }, NOW, kinship);
    made.map(|made| made.rule_id).map_err(|error| error.refusal())
}

fn spec(token: u32, key: RuleKey) -> RuleSpec {
    let hook = match key {
        RuleKey::Network { .. } | RuleKey::Transport { .. } => Hook::SocketConnect,
        _ => Hook::FileOpen,
    };
    RuleSpec {
        owner: 0,
        plugin: "p".into(),
        token,
        key,
        subject: Subject::Any,
        hooks: HookSet::default().with(hook),
        errno: 13,
        asked: Mode::Enforce,
        mode: Mode::Enforce,
        if_unread: IfUnread::Pass,
        labels: Default::default(),
        gives: None,
        expires_boot_ns: 0,
        reason: "why".to_owned(),
        cause_boot_ns: 0,
        max_rules: 4096,
    }
}

fn allow(spec: RuleSpec) -> RuleSpec {
    RuleSpec { mode: Mode::Allow, ..spec }
}

const fn file(ino: u64) -> RuleKey {
    RuleKey::File(FileKey { ino, dev: 1, generation: 0 })
}

fn net(text: &str, port: u16) -> RuleKey {
    let (address, prefix) = text.split_once('/').unwrap();
    RuleKey::Network { address: address.parse().unwrap(), prefix: prefix.parse().unwrap(), port }
}

fn opens(ledger: &Ledger<Fake>, tgid: u32, ino: u64, now: u64) -> Decision {
    let key = krsi_host_abi::deny::FileKey { ino, dev: 1, generation: 0 };
    ledger.store.verdict(AbiHook::FileOpen, abi(process(tgid)), Object::File(key), now)
}

fn connects(ledger: &Ledger<Fake>, address: &str, port: u16) -> Decision {
    let object = match address.parse().unwrap() {
        IpAddr::V4(v4) => Object::Network(2, port, (u128::from(v4.to_bits()) << 96).to_be_bytes()),
        IpAddr::V6(v6) => Object::Network(10, port, v6.octets()),
    };
    ledger.store.verdict(AbiHook::SocketConnect, abi(process(1)), object, NOW)
}

fn path(text: &str, if_unresolved: IfUnresolved) -> RuleKey {
    RuleKey::Path { prefix: text.into(), if_unresolved }
}

fn opens_path(ledger: &Ledger<Fake>, object: Object) -> Decision {
    ledger.store.verdict(AbiHook::FileOpen, abi(process(1)), object, NOW)
}

#[test]
fn a_path_is_decided_by_the_longest_prefix_and_those_that_hold_it() {
    let mut ledger = ledger();
    let pass = |text| spec(1, path(text, IfUnresolved::Pass));
    let etc = add(&mut ledger, pass("/etc")).unwrap();
    let check = |ledger: &Ledger<Fake>, text, expected: Option<u64>| {
        let decision = opens_path(ledger, Object::Path(text));
        assert_eq!(decision, expected.map(|id| (id, true)), "{text}");
    };
    check(&ledger, "/etc", Some(etc));
    check(&ledger, "/etc/ssl/certs/a", Some(etc));
    check(&ledger, "/etcetera", None);
    check(&ledger, "/", None);
    add(&mut ledger, allow(RuleSpec { token: 2, ..pass("/etc/ssl/") })).unwrap();
    check(&ledger, "/etc/ssl/certs/a", None);
    check(&ledger, "/etc/passwd", Some(etc));
    let root = add(&mut ledger, RuleSpec { token: 3, owner: 1, ..pass("/") }).unwrap();
    check(&ledger, "/etc/ssl/certs/a", Some(root));
    check(&ledger, "/etc/passwd", Some(etc));
    check(&ledger, "/home", Some(root));
    assert_eq!(opens_path(&ledger, Object::Unresolved), None);
    ledger.withdraw(0, NOW);
    check(&ledger, "/etc/passwd", Some(root));
    ledger.withdraw(1, NOW);
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn a_rule_on_a_path_may_apply_to_what_cannot_be_resolved() {
    let mut ledger = ledger();
    let apply = |token: u32| RuleSpec {
        errno: token as u16,
        owner: u8::from(token > 3),
        ..spec(token, path("/etc", IfUnresolved::Apply))
    };
    let id = add(&mut ledger, apply(1)).unwrap();
    assert_eq!(opens_path(&ledger, Object::Unresolved), Some((id, true)));
    assert_eq!(opens_path(&ledger, Object::Path("/home")), None);
    for token in 2..=4 {
        add(&mut ledger, apply(token)).unwrap();
    }
    assert_eq!(add(&mut ledger, apply(5)), Err(Refusal::KeyFull));
    ledger.withdraw(0, NOW);
    ledger.withdraw(1, NOW);
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn a_full_map_refuses_and_evicts_nothing() {
    let mut ledger =
        Ledger::new(Fake { capacity: 2, ..Fake::default() }, HOOKS.iter().map(|row| row.hook));
    let ids: Vec<u64> =
        (1..=2).map(|ino| add(&mut ledger, spec(ino, file(u64::from(ino)))).unwrap()).collect();
    assert_eq!(add(&mut ledger, spec(3, file(3))), Err(Refusal::MapFull));
    for (ino, id) in (1..).zip(ids) {
        assert_eq!(opens(&ledger, 1, ino, NOW), Some((id, true)));
    }
    ledger.revoke(0, 1, NOW).unwrap();
    add(&mut ledger, spec(3, file(3))).unwrap();
}

#[test]
fn a_rule_that_is_off_decides_nothing_and_lifts_nothing() {
    let mut ledger = ledger();
    let off = |spec: RuleSpec| RuleSpec { mode: Mode::Off, ..spec };
    let id = add(&mut ledger, off(spec(1, file(5)))).unwrap();
    assert_eq!(opens(&ledger, 1, 5, NOW), None);
    assert_eq!(ledger.explain(id).unwrap().to_string(), "off file_open on file 0:1 inode 5");
    let denied = add(&mut ledger, spec(2, file(5))).unwrap();
    assert_eq!(opens(&ledger, 1, 5, NOW), Some((denied, true)));
}

#[test]
fn expiry_is_the_kernels_and_clearing_up_is_ours() {
    let mut ledger = ledger();
    let id = add(&mut ledger, RuleSpec { expires_boot_ns: 2000, ..spec(1, file(5)) }).unwrap();
    ledger.store.maps.hits.insert(id, 3);
    assert_eq!(opens(&ledger, 1, 5, 1999), Some((id, true)));
    assert_eq!(opens(&ledger, 1, 6, 1999), None);
    assert_eq!(opens(&ledger, 1, 5, 2000), None);
    assert!(ledger.expire(1999).is_empty());
    let view = ledger.explain(id).unwrap();
    assert_eq!((view.hits, view.ending, &*view.reason), (3, None, "why"));
    assert_eq!(view.to_string(), "deny file_open on file 0:1 inode 5");
    let ended = ledger.expire(2000);
    assert_eq!(ended[0].ending, Some(Ending::Expired));
    assert_eq!(ledger.explain(id), Some(ended[0].clone()));
    assert_eq!(ledger.store.maps, MemoryMaps::default());
    assert!(matches!(ledger.revoke(0, 1, NOW), Err(LedgerError::UnknownRule { .. })));
}

#[test]
fn an_allow_lifts_only_its_owners_denials() {
    let mut ledger = ledger();
    let denied = add(&mut ledger, spec(1, file(5))).unwrap();
    add(&mut ledger, allow(RuleSpec { owner: 1, ..spec(1, file(5)) })).unwrap();
    assert_eq!(opens(&ledger, 1, 5, NOW), Some((denied, true)));
    add(&mut ledger, allow(spec(2, RuleKey::Process(process(7))))).unwrap();
    assert_eq!(opens(&ledger, 7, 5, NOW), None);
    assert_eq!(opens(&ledger, 1, 5, NOW), Some((denied, true)));
    add(&mut ledger, allow(spec(3, file(5)))).unwrap();
    assert_eq!(opens(&ledger, 1, 5, NOW), None);
    let audit = RuleSpec { owner: 1, mode: Mode::Audit, ..spec(4, RuleKey::Lineage(process(8))) };
    let audit = add(&mut ledger, audit).unwrap();
    assert_eq!(opens(&ledger, 8, 6, NOW), Some((audit, false)));
    ledger.revoke(0, 3, NOW).unwrap();
    assert_eq!(opens(&ledger, 8, 5, NOW), Some((denied, true)), "an audit hides no denial");
}

#[test]
fn a_rule_on_a_protocol_says_so_in_its_lease_and_in_the_word_of_its_hook() {
    let mut ledger = ledger();
    let to = |protocol| {
        let address = "10.0.0.0".parse().unwrap();
        spec(2, RuleKey::Transport { address, prefix: 8, port: 53, protocol })
    };
    for wrong in [0, 256, u16::MAX] {
        assert_eq!(add(&mut ledger, to(wrong)), Err(Refusal::Invalid), "{wrong}");
    }
    add(&mut ledger, spec(1, net("10.0.0.0/8", 53))).unwrap();
    let word = |ledger: &Ledger<Fake>| ledger.store.flag(AbiHook::SocketConnect) & flag::PROTOCOL;
    assert_eq!(word(&ledger), 0);
    let udp = add(&mut ledger, to(17)).unwrap();
    let leases = ledger.store.maps.entries.values().flat_map(|entry| entry.slots);
    let leases: Vec<_> = leases.map(|lease| lease.protocol).collect();
    assert_eq!((leases, word(&ledger)), (vec![0, 17, 0, 0], flag::PROTOCOL));
    let text = ledger.explain(udp).unwrap().to_string();
    assert_eq!(text, "deny socket_connect on 10.0.0.0/8 port 53 protocol 17");
    ledger.revoke(0, 2, NOW).unwrap();
    assert_eq!(word(&ledger), 0);
}

#[test]
fn what_cannot_be_read_is_answered_by_the_operator_and_by_rules_that_say_so() {
    let mut ledger = ledger();
    let unread = |ledger: &Ledger<Fake>, hook| {
        ledger.store.verdict(hook, abi(process(1)), Object::Unread, NOW)
    };
    let (open, connect) = (AbiHook::FileOpen, AbiHook::SocketConnect);
    let strict = |spec| RuleSpec { if_unread: IfUnread::Apply, ..spec };
    add(&mut ledger, spec(1, file(5))).unwrap();
    assert_eq!(unread(&ledger, open), None);
    let applies = add(&mut ledger, strict(spec(2, file(6)))).unwrap();
    let network = add(&mut ledger, strict(spec(3, net("10.0.0.0/8", 0)))).unwrap();
    assert_eq!(unread(&ledger, open), Some((applies, true)));
    assert_eq!(unread(&ledger, connect), Some((network, true)));
    assert_eq!(opens(&ledger, 1, 7, NOW), None);
    add(&mut ledger, allow(spec(4, RuleKey::Process(process(1))))).unwrap();
    assert_eq!(unread(&ledger, open), None);
    ledger.revoke(0, 4, NOW).unwrap();

    let mode = Mode::Audit as u8;
    let lease =
        Lease { hooks: halves(open.bit()), rule_id: 99, mode, owner: 63, ..Lease::default() };
    ledger.answer_errors(open, lease).unwrap();
    assert_eq!(unread(&ledger, open), Some((applies, true)), "an audit hides no denial");
    // With the operator's own, three of one plugin and four of all.
    add(&mut ledger, strict(spec(7, file(7)))).unwrap();
    assert_eq!(add(&mut ledger, strict(spec(8, file(8)))), Err(Refusal::KeyFull));
    let other = |token: u32| RuleSpec { owner: 1, ..spec(token, file(token.into())) };
    add(&mut ledger, strict(other(8))).unwrap();
    let other = other(9);
    assert_eq!(add(&mut ledger, strict(other)), Err(Refusal::KeyFull));
    ledger.answer_errors(open, Lease { mode: Mode::Enforce as u8, ..lease }).unwrap();
    assert_eq!(unread(&ledger, open), Some((99, true)));
    ledger.withdraw(1, NOW);
    ledger.withdraw(0, NOW);
    assert_eq!(unread(&ledger, open), None, "nothing is compared");
    add(&mut ledger, spec(1, file(5))).unwrap();
    assert_eq!(unread(&ledger, open), Some((99, true)));
    assert_eq!(unread(&ledger, connect), None);
    let entries = &ledger.store.maps.entries;
    assert!(!entries.contains_key(&EntryKey::Unread(connect)));
}

#[test]
fn a_token_names_one_rule() {
    let mut ledger = ledger();
    let first = add(&mut ledger, spec(1, file(5))).unwrap();
    let second = add(&mut ledger, spec(1, file(6))).unwrap();
    assert_eq!(
        (opens(&ledger, 1, 5, NOW), opens(&ledger, 1, 6, NOW)),
        (None, Some((second, true)))
    );
    assert_eq!(ledger.explain(first).unwrap().ending, Some(Ending::Replaced));
    // The same again.
    assert_eq!(add(&mut ledger, spec(1, file(6))), Ok(second));
    assert_eq!(opens(&ledger, 1, 6, NOW), Some((second, true)));
    // Refused: the former stays.
    assert_eq!(add(&mut ledger, spec(1, net("10.0.0.0/33", 0))), Err(Refusal::Invalid));
    assert_eq!(opens(&ledger, 1, 6, NOW), Some((second, true)));
    assert_eq!(ledger.rules().len(), 1);
    let one = RuleSpec { max_rules: 1, ..spec(2, file(7)) };
    assert_eq!(add(&mut ledger, one.clone()), Err(Refusal::TooManyRules));
    add(&mut ledger, RuleSpec { token: 1, ..one }).unwrap();
    ledger.revoke(0, 1, NOW).unwrap();
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn a_longer_prefix_carries_what_covers_it() {
    let mut ledger = ledger();
    let wide = add(&mut ledger, spec(1, net("10.0.0.0/8", 443))).unwrap();
    add(&mut ledger, allow(spec(2, net("10.1.0.0/16", 443)))).unwrap();
    let narrow = add(&mut ledger, spec(3, net("10.1.2.3/24", 443))).unwrap();
    let any = add(&mut ledger, RuleSpec { owner: 1, ..spec(1, net("0.0.0.0/0", 0)) }).unwrap();
    assert_eq!(connects(&ledger, "10.2.0.1", 443), Some((wide, true)));
    // Lifted for its owner; the other plugin's denial of every port stands.
    assert_eq!(connects(&ledger, "10.1.0.1", 443), Some((any, true)));
    assert_eq!(connects(&ledger, "10.1.2.99", 443), Some((narrow, true)));
    assert_eq!(connects(&ledger, "10.2.0.1", 80), Some((any, true)));
    assert_eq!(connects(&ledger, "fe80::1", 80), None);
    ledger.revoke(0, 1, NOW).unwrap();
    ledger.revoke(1, 1, NOW).unwrap();
    assert_eq!(connects(&ledger, "10.2.0.1", 443), None);
    assert_eq!(connects(&ledger, "10.1.2.99", 443), Some((narrow, true)));
    let mapped = add(&mut ledger, spec(1, net("::ffff:192.0.2.77/120", 25))).unwrap();
    assert_eq!(connects(&ledger, "192.0.2.1", 25), Some((mapped, true)));
    ledger.withdraw(0, NOW);
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn a_full_key_refuses_wherever_it_is() {
    let mut ledger = ledger();
    let of = |owner, text, port| RuleSpec { owner, ..spec(9, net(text, port)) };
    for owner in 0..3 {
        add(&mut ledger, of(owner, "10.1.0.0/16", 443)).unwrap();
    }
    add(&mut ledger, of(3, "10.0.0.0/8", 443)).unwrap();
    let before = ledger.store.maps.clone();
    for text in ["10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "10.1.2.0/24"] {
        assert_eq!(add(&mut ledger, of(4, text, 443)), Err(Refusal::KeyFull), "{text}");
        assert_eq!(ledger.store.maps, before);
    }
    add(&mut ledger, of(4, "10.1.0.0/16", 80)).unwrap();
    add(&mut ledger, of(3, "10.1.0.0/16", 443)).unwrap();
}

#[test]
fn a_full_map_harms_nothing_that_is_in_force() {
    for old_trie in [false, true] {
        let mut ledger = ledger();
        ledger.store.old_trie = old_trie;
        add(&mut ledger, spec(1, net("10.0.0.0/8", 0))).unwrap();
        add(&mut ledger, spec(2, net("10.1.0.0/16", 0))).unwrap();
        ledger.store.capacity = 2;
        let before = ledger.store.maps.clone();
        assert_eq!(add(&mut ledger, spec(3, net("10.2.0.0/16", 0))), Err(Refusal::MapFull));
        assert_eq!(add(&mut ledger, spec(1, net("0.0.0.0/0", 0))), Err(Refusal::MapFull));
        assert_eq!(ledger.store.maps, before);
        // One key more makes the trie full, and an old one then refuses the keys it covers.
        ledger.store.capacity = 3;
        let covering = add(&mut ledger, spec(3, net("0.0.0.0/0", 0)));
        assert_eq!(covering.is_err(), old_trie);
        assert!(covering.is_ok() || ledger.store.maps == before);
        ledger.store.capacity = ledger.store.maps.entries.len();
        assert_eq!(ledger.withdraw(0, NOW).len(), if old_trie { 2 } else { 3 });
        assert_eq!(ledger.store.maps, MemoryMaps::default());
    }
}

#[test]
fn a_kernel_error_anywhere_leaves_all_as_it_was() {
    let mut whole = 0;
    for fail_after in 0.. {
        let mut ledger = ledger();
        add(&mut ledger, spec(1, net("10.1.0.0/16", 0))).unwrap();
        let before = ledger.store.maps.clone();
        ledger.store.fail_after = Some(fail_after);
        let subject = Subject::Lineage(process(10));
        let wide = RuleSpec { subject, ..spec(2, net("10.0.0.0/8", 0)) };
        match add(&mut ledger, wide) {
            Ok(_) => break,
            Err(refusal) => assert_eq!(refusal, Refusal::Kernel),
        }
        // What could not be undone while nothing worked is undone with the next call.
        ledger.store.fail_after = None;
        ledger.expire(NOW);
        assert_eq!(ledger.store.maps.entries, before.entries, "{fail_after}");
        add(&mut ledger, spec(7, file(1))).unwrap();
        ledger.revoke(0, 7, NOW).unwrap();
        assert_eq!(ledger.store.maps, before, "{fail_after}");
        whole += 1;
    }
    assert!(whole > 6);
}

#[test]
fn a_lineage_is_root_descendants_and_their_children() {
    let mut ledger = ledger();
    let lineage = |token| spec(token, RuleKey::Lineage(process(10)));
    let id = add(&mut ledger, lineage(1)).unwrap();
    let denied = Some((id, true));
    for (tgid, expected) in [(10, denied), (11, denied), (12, denied), (13, None)] {
        assert_eq!(opens(&ledger, tgid, 1, NOW), expected, "{tgid}");
    }
    assert_eq!(ledger.store.flag(AbiHook::SchedProcessFork), flag::MEMBERSHIP);
    // The kernel inherits; the host hears of it later.
    ledger.store.maps.fork(abi(process(11)), abi(process(20)));
    assert_eq!(opens(&ledger, 20, 1, NOW), denied);
    ledger.on_fork(process(11), process(20));
    // A fork that was under way while the parent was marked.
    ledger.on_fork(process(20), process(21));
    assert_eq!(opens(&ledger, 21, 1, NOW), denied);
    ledger.store.maps.exit(abi(process(11)));
    ledger.on_exit(process(11), NOW);
    assert_eq!(ledger.store.maps.marks.len(), 4);
    // A second rule holds the lineage; the first may go.
    add(&mut ledger, RuleSpec { subject: Subject::Lineage(process(10)), ..spec(2, file(9)) })
        .unwrap();
    ledger.revoke(0, 1, NOW).unwrap();
    assert_eq!(opens(&ledger, 21, 1, NOW), None);
    assert!(opens(&ledger, 21, 9, NOW).is_some() && opens(&ledger, 13, 9, NOW).is_none());
    // A fork that was under way while the last rule went.
    ledger.store.maps.fork(abi(process(21)), abi(process(22)));
    ledger.revoke(0, 2, NOW).unwrap();
    assert_eq!(ledger.store.maps.marks.len(), 1);
    ledger.on_fork(process(21), process(22));
    assert_eq!(ledger.store.maps, MemoryMaps::default());
    ledger.expire(u64::MAX);
    assert_eq!(
        add(&mut ledger, spec(3, RuleKey::Lineage(process(99)))),
        Err(Refusal::UnknownProcess)
    );
    assert_eq!(
        add(&mut ledger, spec(3, RuleKey::Process(process(99)))),
        Err(Refusal::UnknownProcess)
    );
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn a_process_belongs_to_a_bounded_number_of_lineages() {
    let mut ledger = ledger();
    for token in 0..4u32 {
        let owner = token as u8;
        let root = if token < 2 { 10 } else { 9 + token };
        add(&mut ledger, RuleSpec { owner, ..spec(token, RuleKey::Lineage(process(root))) })
            .unwrap();
    }
    assert_eq!(ledger.store.maps.marks.len(), 3, "11 and 12 are roots of their own as well");
    for (parent, child) in [(11, 30), (30, 31)] {
        ledger.on_fork(process(parent), process(child));
    }
    ledger.store.marks_max = ledger.store.maps.marks.len();
    let before = ledger.store.maps.clone();
    assert_eq!(add(&mut ledger, spec(9, RuleKey::Lineage(process(40)))), Err(Refusal::MapFull));
    assert_eq!(ledger.store.maps, before);
    ledger.store.marks_max = usize::MAX;
    let everybody = Kinship {
        exists: &|_| true,
        descendants: &|_| vec![process(31)],
        running: &|_| Vec::new(),
    };
    for tgid in 50..52 {
        let rule = spec(tgid, RuleKey::Lineage(process(tgid)));
        ledger.add(rule, NOW, everybody).unwrap();
    }
    let before = ledger.store.maps.clone();
    let error = ledger.add(spec(60, RuleKey::Lineage(process(60))), NOW, everybody).unwrap_err();
    assert_eq!((error.refusal(), &ledger.store.maps), (Refusal::KeyFull, &before));
}

#[test]
fn a_rule_ends_with_its_process() {
    let mut ledger = ledger();
    add(&mut ledger, spec(3, RuleKey::Process(process(11)))).unwrap();
    ledger.on_exit(process(11), NOW);
    let ended: Vec<_> = ledger.expire(NOW).iter().map(|view| view.ending).collect();
    assert_eq!(ended, [Some(Ending::Exited)]);
    ledger.withdraw(0, NOW);
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}

#[test]
fn hooks_must_look_up_the_key_and_be_attached() {
    let mut ledger = Ledger::new(Fake::default(), [AbiHook::FileOpen]);
    let hooks = |hook| HookSet::default().with(hook);
    let connect = RuleSpec { hooks: hooks(Hook::SocketConnect), ..spec(1, file(1)) };
    assert_eq!(add(&mut ledger, connect), Err(Refusal::Invalid));
    let fork = hooks(Hook::SchedProcessFork);
    let fork = RuleSpec { hooks: fork, ..spec(1, RuleKey::Process(process(1))) };
    assert_eq!(add(&mut ledger, fork), Err(Refusal::Invalid));
    assert_eq!(add(&mut ledger, spec(1, net("::/0", 1))), Err(Refusal::Unsupported));
    let digest = RuleKey::Digest([0; 32]);
    assert_eq!(add(&mut ledger, spec(1, digest.clone())), Err(Refusal::Unsupported));
    ledger.set_digests(Ok(()));
    // A file that is opened is not hashed.
    assert_eq!(add(&mut ledger, spec(1, digest)), Err(Refusal::Invalid));
    for text in ["etc", "/etc//ssl", "/etc/.."] {
        let path = path(text, IfUnresolved::Pass);
        assert_eq!(add(&mut ledger, spec(1, path)), Err(Refusal::Invalid), "{text}");
    }
    let pathless = hooks(Hook::InodeUnlink);
    let pathless = RuleSpec { hooks: pathless, ..spec(1, path("/etc", IfUnresolved::Pass)) };
    assert_eq!(add(&mut ledger, pathless), Err(Refusal::Invalid));
    for key in [RuleKey::Cgroup(1), RuleKey::Hook] {
        let connect = RuleSpec { hooks: hooks(Hook::SocketConnect), ..spec(1, key.clone()) };
        assert_eq!(add(&mut ledger, connect), Err(Refusal::Unsupported));
        add(&mut ledger, spec(1, key)).unwrap();
        ledger.revoke(0, 1, NOW).unwrap();
    }
    let nobody = RuleSpec { hooks: HookSet(0), ..spec(1, file(1)) };
    assert_eq!(add(&mut ledger, nobody), Err(Refusal::Invalid));
    assert_eq!(add(&mut ledger, RuleSpec { owner: 63, ..spec(1, file(1)) }), Err(Refusal::Invalid));
    assert_eq!(ledger.store.maps, MemoryMaps::default());
}
