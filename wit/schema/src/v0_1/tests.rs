//! The golden batch of schema 0.1: what was once written stays readable, byte for byte.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::*;
use crate::frame::{Frames, push};

const GOLDEN: &[u8] = include_bytes!("golden.batch");

fn meta() -> Meta<'static> {
    Meta {
        boot_ns: 1_000_000_007,
        process: ProcessKey { start_boot_ns: 900_000_000, tgid: 42 },
        tid: 43,
        uid: 1000,
        gid: 100,
        mount_ns: 4_026_531_841,
        cgroup_id: 77,
        comm: Cow::Borrowed("xmrig"),
        verdict: Verdict::Denied { rule_id: 9, errno: 1 },
    }
}

fn records() -> Vec<Record<'static>> {
    let key = meta().process;
    let argv = Argv { joined: Cow::Borrowed("xmrig\0-o\0"), argc: 3, truncated: true };
    let file = FileKey { ino: 11, dev: 0x10_0003 };
    let exec = Exec {
        file,
        path: Cow::Borrowed("/tmp/xmrig"),
        path_truncated: false,
        argv: argv.clone(),
        flags: ExecFlags(ExecFlags::MEMFD),
    };
    let open = FileOpen {
        file,
        path: Cow::Borrowed("/etc/shadow"),
        path_truncated: true,
        flags: 2,
        mode: 0o100_600,
    };
    let connect = Connect {
        address: Some(core::net::IpAddr::from([10, 0, 0, 1])),
        port: 3333,
        family: 2,
        protocol: 6,
        kind: 1,
    };
    let event = |body| Record::Event(Event { meta: meta(), body });
    Vec::from([
        Record::BatchStart(BatchStart { schema: 1, boot_ns: 5, unix_offset_ns: -3 }),
        Record::Process(Process {
            key,
            parent: ProcessKey { start_boot_ns: 1, tgid: 1 },
            exe: Cow::Borrowed("/tmp/xmrig"),
            argv,
            file,
            uid: 1000,
            gid: 100,
            cgroup: Cow::Borrowed("/user.slice"),
        }),
        event(Body::BprmCheckSecurity(exec.clone())),
        event(Body::BprmCommittedCreds(exec)),
        event(Body::FileOpen(open)),
        event(Body::SocketConnect(connect)),
        event(Body::SchedProcessFork(Fork { child: key })),
        event(Body::SchedProcessExit(Exit { code: 9 })),
        Record::Gone(Gone { key }),
        Record::Outcome(Outcome {
            token: 3,
            rule_id: None,
            refusal: Some(Refusal::KeyFull),
            detail: Cow::Borrowed("4 of 4"),
        }),
        Record::Lost(Lost { place: LostWhere::Queue, records: 300 }),
        Record::Tick(Tick {}),
    ])
}

fn encode(records: &[Record<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        match record {
            Record::BatchStart(body) => push(&mut out, kind::BATCH_START, body),
            Record::Process(body) => push(&mut out, kind::PROCESS, body),
            Record::Gone(body) => push(&mut out, kind::GONE, body),
            Record::Outcome(body) => push(&mut out, kind::OUTCOME, body),
            Record::Lost(body) => push(&mut out, kind::LOST, body),
            Record::Tick(body) => push(&mut out, kind::TICK, body),
            Record::Event(event) => event.push(&mut out),
            Record::Unknown(kind) => push(&mut out, *kind, &()),
        }
        .unwrap();
    }
    out
}

#[test]
fn golden_batch_still_decodes_and_is_still_what_we_write() {
    if std::env::var_os("KRSI_BLESS").is_some() {
        std::fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/src/v0_1/golden.batch"),
            encode(&records()),
        )
        .unwrap();
        return;
    }
    let decoded: Vec<_> =
        Frames::new(GOLDEN).map(|frame| Record::decode(&frame.unwrap()).unwrap()).collect();
    assert_eq!(decoded, records());
    assert_eq!(encode(&records()), GOLDEN);
}

#[test]
fn an_unknown_kind_is_skipped_not_an_error() {
    let out =
        encode(&[Record::Unknown(200), Record::Unknown(kind::EVENT + 999), Record::Tick(Tick {})]);
    let decoded: Vec<_> =
        Frames::new(&out).map(|frame| Record::decode(&frame.unwrap()).unwrap()).collect();
    assert_eq!(
        decoded,
        [Record::Unknown(200), Record::Unknown(kind::EVENT + 999), Record::Tick(Tick {})]
    );
}

#[test]
fn argv_splits_at_nul_and_keeps_empty_arguments() {
    let argv = |joined| Argv { joined: Cow::Borrowed(joined), argc: 0, truncated: false };
    let check = |joined, expected: &[&str]| {
        assert_eq!(argv(joined).iter().collect::<Vec<_>>(), expected);
    };
    check("", &[]);
    check("a\0", &["a"]);
    check("a\0\0b\0", &["a", "", "b"]);
    check("a\0cut", &["a", "cut"]);
}

#[test]
fn hook_set_refuses_bits_without_a_hook() {
    let set = HookSet::default().with(Hook::FileOpen);
    assert!(set.is_known());
    assert!(!HookSet(set.0 | 1 << 63).is_known());
    assert_eq!(set.iter().collect::<Vec<_>>(), [Hook::FileOpen]);
}
