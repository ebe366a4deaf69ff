//! The golden batch of schema 0.2, and what it shares with 0.1 byte for byte.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::record::{Capset, FileMprotect, PathUnlink, SocketBind, UringSqpoll, why};
use super::*;
use crate::frame::{Frames, push};
use crate::v0_1;

const GOLDEN: &[u8] = include_bytes!("golden.batch");
const GOLDEN_OF_0_1: &[u8] = include_bytes!("../v0_1/golden.batch");

fn meta() -> Meta<'static> {
    Meta {
        boot_ns: 1_000_000_007,
        process: ProcessKey { start_boot_ns: 900_000_000, tgid: 42 },
        tid: 43,
        uid: 1000,
        gid: 100,
        mount_ns: 4_026_531_841,
        cgroup_id: 77,
        comm: Cow::Borrowed("dropper"),
        verdict: Verdict::Audited { rule_id: 9, errno: 13 },
    }
}

const fn text(text: &str, flags: u8) -> Text<'_> {
    Text { text: Cow::Borrowed(text), flags: TextFlags(flags) }
}

const fn call(hook: Hook, values: Vec<Value<'_>>) -> Body<'_> {
    Body::Call(Call { hook, values })
}

/// Every kind of value, every reason for none, the first and the last call.
fn bodies() -> Vec<Body<'static>> {
    let file = FileKey { ino: 11, dev: 0x10_0003 };
    let address = |ip: Option<[u8; 4]>, family, port, path| Address {
        family,
        ip: ip.map(core::net::IpAddr::from),
        port,
        path: Cow::Borrowed(path),
    };
    let listening = [2, 1, 6].map(Value::Number);
    Vec::from([
        Body::SchedProcessExit(Exit { code: 9 }),
        call(Hook::BprmCredsForExec, Vec::from([Value::File(file)])),
        call(
            Hook::FileMprotect,
            Vec::from([
                Value::Absent(Why::Null),
                Value::Absent(Why::Unreadable),
                Value::Number(0x7f00_0000_0000),
                Value::Number(0x7f00_0000_2000),
                Value::Number(3),
                Value::Number(5),
                Value::Number(5),
            ]),
        ),
        call(
            Hook::PathUnlink,
            Vec::from([
                Value::File(file),
                Value::Text(text("/etc", TextFlags::MOUNT_BLIND)),
                Value::Text(text("shadow", TextFlags::TRUNCATED)),
                Value::File(FileKey { ino: 2, dev: 0x10_0003 }),
            ]),
        ),
        call(
            Hook::SocketBind,
            [Value::Address(address(Some([127, 0, 0, 1]), 2, 80, ""))]
                .into_iter()
                .chain(listening.clone())
                .collect(),
        ),
        call(
            Hook::SocketBind,
            [Value::Address(address(None, 1, 0, "@bus"))].into_iter().chain(listening).collect(),
        ),
        call(Hook::BpfProg, Vec::from([Value::Bytes(Cow::Borrowed(&[1, 0xff]))])),
        call(Hook::Settime, Vec::from([Value::Signed(-5), Value::Signed(i64::MIN)])),
        call(Hook::Bpf, Vec::from([Value::Number(5), Value::Absent(Why::Kernel)])),
        call(Hook::UringCmd, Vec::new()),
        Body::Watch(Watch {
            index: 3,
            hook: Cow::Borrowed("inode_getattr"),
            values: Vec::from([Value::Number(u64::MAX), Value::Text(text("päth", 0))]),
        }),
    ])
}

/// Every place, every kind of thing that is lost.
fn losses() -> [Lost; 6] {
    let hook = LostOf::Hook(Hook::FileMprotect as u16);
    [
        (LostWhere::Ring, hook),
        (LostWhere::Decode, LostOf::Hook(u16::MAX)),
        (LostWhere::Queue, LostOf::Any),
        (LostWhere::Plugin, LostOf::Any),
        (LostWhere::Verdicts, hook),
        (LostWhere::Recursion, LostOf::Watch(3)),
    ]
    .map(|(place, of)| Lost { place, records: 300, of })
}

fn golden() -> Vec<u8> {
    let mut out = Vec::new();
    let start = BatchStart { schema: SCHEMA, boot_ns: 5, unix_offset_ns: -3 };
    push(&mut out, kind::BATCH_START, &start).unwrap();
    for body in bodies() {
        Event { meta: meta(), body }.push(&mut out).unwrap();
    }
    for lost in losses() {
        push(&mut out, kind::LOST, &lost).unwrap();
    }
    out
}

#[test]
fn golden_batch_still_decodes_and_is_still_what_we_write() {
    if std::env::var_os("KRSI_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/v0_2/golden.batch");
        std::fs::write(path, golden()).unwrap();
        return;
    }
    let mut frames = Frames::new(GOLDEN).map(|frame| Record::decode(&frame.unwrap()).unwrap());
    assert!(matches!(frames.next(), Some(Record::BatchStart(start)) if start.schema == SCHEMA));
    let expected = bodies().into_iter().map(|body| Record::Event(Event { meta: meta(), body }));
    let expected = expected.chain(losses().map(Record::Lost));
    assert_eq!(frames.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(golden(), GOLDEN);
}

#[test]
fn a_batch_of_0_1_reads_the_same_here_and_is_written_the_same() {
    let mut out = Vec::new();
    for frame in Frames::new(GOLDEN_OF_0_1) {
        let frame = frame.unwrap();
        match Record::decode(&frame).unwrap() {
            Record::Event(event) => {
                assert!(event.is_of(v0_1::SCHEMA));
                event.push(&mut out).unwrap();
            }
            Record::Unknown(kind) => panic!("kind {kind}"),
            _ => {
                out.extend_from_slice(&u32::try_from(frame.body.len()).unwrap().to_le_bytes());
                out.extend_from_slice(&frame.kind.to_le_bytes());
                out.extend_from_slice(frame.body);
            }
        }
    }
    assert_eq!(out, GOLDEN_OF_0_1);
}

#[test]
fn what_0_1_does_not_know_is_told_apart_and_skipped_by_it() {
    for body in bodies().into_iter().skip(1) {
        assert!(!Event { meta: meta(), body: body.clone() }.is_of(v0_1::SCHEMA));
        assert!(Event { meta: meta(), body }.is_of(SCHEMA));
    }
    let events = Frames::new(GOLDEN).skip(2).take(bodies().len() - 1);
    let mut frames = events.map(|frame| v0_1::Record::decode(&frame.unwrap()).unwrap());
    assert!(frames.all(|record| matches!(record, v0_1::Record::Unknown(_))));
}

#[test]
fn a_loss_is_told_to_0_1_in_its_own_words() {
    let older = losses().map(|lost| lost.older().map(|lost| (lost.place, lost.records)));
    let place = |place| Some((place, 300));
    let expected = [
        place(v0_1::LostWhere::Ring),
        place(v0_1::LostWhere::Decode),
        place(v0_1::LostWhere::Queue),
        place(v0_1::LostWhere::Plugin),
        place(v0_1::LostWhere::Ring),
        None,
    ];
    assert_eq!(older, expected);
    let named = losses().map(|lost| lost.of.hook());
    assert_eq!(
        named.map(|hook| hook == Some(Hook::FileMprotect)),
        [true, false, false, false, true, false]
    );
}

#[test]
fn what_is_cut_is_known_of_an_event() {
    let cut: Vec<bool> =
        bodies().into_iter().map(|body| Event { meta: meta(), body }.is_cut()).collect();
    let names = ["path_unlink"];
    let expected: Vec<bool> = bodies().iter().map(|body| names.contains(&body.name())).collect();
    assert_eq!(cut, expected);
}

#[test]
fn actions_of_0_1_are_actions_of_0_2() {
    let process = ProcessKey { start_boot_ns: u64::MAX, tgid: 7 };
    let file = FileKey { ino: u64::MAX, dev: 9 };
    let address = core::net::IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
    let keys = [
        (v0_1::RuleKey::Process(process), RuleKey::Process(process)),
        (v0_1::RuleKey::Lineage(process), RuleKey::Lineage(process)),
        (v0_1::RuleKey::File(file), RuleKey::File(file)),
        (
            v0_1::RuleKey::Network { address, prefix: 64, port: 22 },
            RuleKey::Network { address, prefix: 64, port: 22 },
        ),
    ];
    let modes = [(false, RuleMode::Enforce), (true, RuleMode::Audit)];
    for ((old, new), (hooks, (audit, mode))) in keys.into_iter().flat_map(|keys| {
        let hooks = [1 << 3, 0x7e, u64::MAX, 1 << 63].into_iter();
        hooks.zip(modes.into_iter().cycle()).map(move |rest| (keys.clone(), rest))
    }) {
        let rule = v0_1::Rule {
            token: 1 << 31,
            cause_boot_ns: 5,
            key: old,
            subject: Subject::Lineage(process),
            hooks: v0_1::HookSet(hooks),
            ttl_ms: 6,
            reason: Cow::Borrowed("why"),
        };
        let mut out = Vec::new();
        let deny = v0_1::Deny { rule, errno: 13, audit };
        push(&mut out, ActionKind::Deny as u16, &deny).unwrap();
        let frame = Frames::new(&out).next().unwrap().unwrap();
        let rule = Rule {
            token: 1 << 31,
            cause_boot_ns: 5,
            key: new,
            subject: Subject::Lineage(process),
            hooks: HookSet(u128::from(hooks)),
            ttl_ms: 6,
            reason: Cow::Borrowed("why"),
        };
        assert_eq!(
            Action::decode(&frame),
            Ok(Action::Deny(Deny { rule, errno: 13, mode, if_unread: IfUnread::Pass }))
        );
    }
}

#[test]
fn rules_on_every_kind_of_key_round_trip() {
    let prefix = Cow::Borrowed("/etc/");
    for key in [
        RuleKey::Cgroup(u64::MAX),
        RuleKey::Path { prefix, if_unresolved: IfUnresolved::Apply },
        RuleKey::Digest([7; 32]),
        RuleKey::Hook,
        RuleKey::Transport {
            address: "10.0.0.0".parse().unwrap(),
            prefix: 8,
            port: 53,
            protocol: 17,
        },
    ] {
        let rule = Rule {
            token: 1,
            cause_boot_ns: 0,
            key,
            subject: Subject::Any,
            hooks: Hook::all().collect(),
            ttl_ms: 0,
            reason: Cow::Borrowed(""),
        };
        let mut out = Vec::new();
        let allow = Allow { rule };
        push(&mut out, ActionKind::Allow as u16, &allow).unwrap();
        let frame = Frames::new(&out).next().unwrap().unwrap();
        assert_eq!(Action::decode(&frame), Ok(Action::Allow(allow)));
    }
}

#[test]
fn every_mode_of_a_rule_and_its_word_on_the_unread_round_trip() {
    let modes = [
        (RuleMode::Enforce, IfUnread::Pass),
        (RuleMode::Audit, IfUnread::Apply),
        (RuleMode::Off, IfUnread::Pass),
    ];
    for (mode, if_unread) in modes {
        let rule = Rule {
            token: 1,
            cause_boot_ns: 0,
            key: RuleKey::Hook,
            subject: Subject::Any,
            hooks: HookSet(2),
            ttl_ms: 0,
            reason: Cow::Borrowed("why"),
        };
        let mut out = Vec::new();
        let deny = Deny { rule, errno: 13, mode, if_unread };
        push(&mut out, ActionKind::Deny as u16, &deny).unwrap();
        let frame = Frames::new(&out).next().unwrap().unwrap();
        assert_eq!(Action::decode(&frame), Ok(Action::Deny(deny)));
        // A word that this version does not have is no word that it has.
        let last = out.last_mut().unwrap();
        *last = 2;
        let frame = Frames::new(&out).next().unwrap().unwrap();
        assert_eq!(Action::decode(&frame), Err(FrameError::Body { at: 0, kind: 1 }));
    }
}

#[test]
fn hooks_and_sets_know_each_other() {
    for (at, hook) in (1..).zip(Hook::all()) {
        assert_eq!(hook as u16, at);
        assert_eq!(Hook::from_id(at), Some(hook));
        assert_eq!(Hook::from_name(hook.name()), Some(hook));
        assert_eq!(hook.is_call(), v0_1::Hook::from_id(at).is_none());
        let older = v0_1::Hook::from_id(at).map(v0_1::Hook::name);
        assert!(older.is_none_or(|name| name == hook.name()));
    }
    let all: HookSet = Hook::all().collect();
    assert!(all.is_known() && all.iter().eq(Hook::all()));
    assert!(!HookSet(all.0 | 1).is_known() && !HookSet(1 << 127).is_known());
}

#[test]
fn a_call_becomes_its_record_and_no_other() {
    let calls: Vec<Call<'static>> = bodies()
        .into_iter()
        .filter_map(|body| if let Body::Call(call) = body { Some(call) } else { None })
        .collect();
    let of = |hook| calls.iter().find(|call| call.hook == hook).unwrap();

    let mprotect = FileMprotect::try_from(of(Hook::FileMprotect)).unwrap();
    assert_eq!((mprotect.file, mprotect.path.as_ref()), (None, None));
    assert_eq!((mprotect.length(), mprotect.requested), (Some(0x2000), Some(5)));
    assert!(mprotect.gains_exec() && mprotect.write_to_exec());
    let harmless = FileMprotect { vm_flags: Some(7), ..mprotect.clone() };
    assert!(!harmless.gains_exec() && !FileMprotect::default().gains_exec());
    assert_eq!(why(of(Hook::FileMprotect), "file"), Some(Why::Null));
    assert_eq!(why(of(Hook::FileMprotect), "path"), Some(Why::Unreadable));
    assert_eq!(why(of(Hook::FileMprotect), "vm_end"), None);

    let unlink = PathUnlink::try_from(of(Hook::PathUnlink)).unwrap();
    let (folder, name) = (unlink.folder.unwrap(), unlink.name.unwrap());
    assert_eq!((&*folder.text, &*name.text), ("/etc", "shadow"));
    assert!(folder.flags.mount_blind() && !folder.flags.truncated() && name.flags.truncated());

    let bind = SocketBind::try_from(of(Hook::SocketBind)).unwrap();
    assert_eq!(std::format!("{}", bind.address.unwrap()), "127.0.0.1:80");

    let wrong = RecordError::Hook { wanted: Hook::UringSqpoll, found: Hook::FileMprotect };
    assert_eq!(UringSqpoll::try_from(of(Hook::FileMprotect)), Err(wrong));
    let lie = Call { hook: Hook::PathUnlink, values: Vec::from([Value::Number(1)]) };
    let wrong = RecordError::Kind { hook: Hook::PathUnlink, field: "file", kind: Kind::File };
    assert_eq!(PathUnlink::try_from(&lie), Err(wrong));
}

#[test]
fn values_of_another_version_are_left_out() {
    let call = |values| Call { hook: Hook::Capset, values };
    let halves = Capset::try_from(&call([1, 2].map(Value::Number).into())).unwrap();
    assert_eq!((halves.effective_set(), halves.permitted_set()), (Some(1 | 2 << 32), None));
    let more = call((0..9).map(Value::Number).collect());
    assert_eq!(Capset::try_from(&more).unwrap().inheritable_high, Some(5));
    assert_eq!(why(&call(Vec::new()), "effective"), Some(Why::Kernel));
}
