//! Records built byte by byte, and records that lie.

use krsi_host_abi::deny::{FileKey as AbiFileKey, ProcessKey as AbiProcess};
use krsi_host_abi::record::{Exec, Fork};
use krsi_plugin_schema::latest::ExecFlags;
use zerocopy::IntoBytes;

use super::*;

const EPERM: u16 = libc::EPERM as u16;

fn plain(record: &[u8]) -> Result<Decoded<'_>, DecodeError> {
    static NONE: std::sync::LazyLock<CallLayouts> = std::sync::LazyLock::new(CallLayouts::default);
    decode(&RawRecord::parse(record)?, &NONE)
}

fn header(hook: AbiHook) -> Header {
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"xmrig");
    Header {
        abi: ABI_VERSION as u16,
        hook: hook.id(),
        cpu: 1,
        boot_ns: 99,
        process: AbiProcess { start_boot_ns: 7, tgid: 42, pad: 0 },
        parent: AbiProcess { start_boot_ns: 3, tgid: 1, pad: 0 },
        tid: 43,
        uid: 1000,
        gid: 100,
        mount_ns: 5,
        cgroup_id: 6,
        rule_id: 12,
        errno: EPERM,
        verdict: AbiVerdict::Denied as u8,
        owner: 2,
        pad: 0,
        labels: 0b101,
        given: 0b10,
        comm,
    }
}

fn exec(path: Text, argv: Text) -> Exec {
    let file = AbiFileKey { ino: 11, dev: 3, generation: 5 };
    Exec { file, path, argv, argc: 2, flags: 1 }
}

fn text(offset: u16, len: u16) -> Text {
    Text { offset, len, flags: 0, pad: 0 }
}

fn record(header: &Header, body: &[u8], tail: &[u8]) -> Vec<u8> {
    [header.as_bytes(), body, tail].concat()
}

#[test]
fn an_exec_decodes_in_full() {
    let body = exec(text(0, 6), text(8, 11));
    let bytes =
        record(&header(AbiHook::BprmCommittedCreds), body.as_bytes(), b"/tmp/x\0\0x\0-o\0HOME=/");
    let decoded = plain(&bytes).unwrap();
    assert_eq!(decoded.parent, ProcessKey { start_boot_ns: 3, tgid: 1 });
    assert_eq!(decoded.owner, 2);
    assert_eq!((decoded.had_labels, decoded.gave_labels), (0b101, 0b10));
    let meta = &decoded.event.meta;
    assert_eq!((meta.boot_ns, meta.process.tgid, meta.tid, meta.uid), (99, 42, 43, 1000));
    assert_eq!(meta.comm, "xmrig");
    assert!(matches!(meta.comm, Cow::Borrowed(_)));
    assert_eq!(meta.verdict, Verdict::Denied { rule_id: 12, errno: EPERM });
    let Body::BprmCommittedCreds(exec) = &decoded.event.body else { panic!("not an exec") };
    assert_eq!(exec.path, "/tmp/x");
    assert_eq!(exec.argv.iter().collect::<Vec<_>>(), ["x", "-o"]);
    assert_eq!(exec.flags, ExecFlags(ExecFlags::MEMFD));
}

#[test]
fn every_truncation_is_an_error_and_none_panics() {
    let body = exec(text(0, 6), text(8, 5));
    let bytes = record(&header(AbiHook::BprmCheckSecurity), body.as_bytes(), b"/tmp/x\0\0x\0-o\0");
    assert!(plain(&bytes).is_ok());
    for len in 0..bytes.len() {
        assert!(plain(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn lies_are_refused_by_name() {
    let check = |change: fn(&mut Header), expected| {
        let mut header = header(AbiHook::SchedProcessFork);
        change(&mut header);
        let child = AbiProcess { start_boot_ns: 1, tgid: 2, pad: 0 };
        let bytes = record(&header, Fork { child }.as_bytes(), &[]);
        assert_eq!(plain(&bytes).map(drop), expected);
    };
    check(|_| {}, Ok(()));
    check(|header| header.abi = 9, Err(DecodeError::Version { abi: 9 }));
    check(|header| header.hook = 999, Err(DecodeError::Hook { hook: 999 }));
    check(|header| header.hook = 0, Err(DecodeError::Hook { hook: 0 }));
    check(|header| header.hook = 12, Err(DecodeError::Hook { hook: 12 }));
    check(|header| header.hook = 200, Err(DecodeError::Hook { hook: 200 }));
    let slot = AbiHook::SchedProcessFork.id();
    check(|header| header.verdict = 7, Err(DecodeError::Verdict { slot, verdict: 7 }));
    let text = DecodeError::Text { slot: 200 }.to_string();
    assert_eq!(text, "record of slot 200 points outside itself");
}

#[test]
fn a_string_outside_the_record_is_refused() {
    for (path, argv) in [(text(65535, 65535), text(0, 0)), (text(0, 0), text(20, 1))] {
        let body = exec(path, argv);
        let bytes = record(&header(AbiHook::BprmCheckSecurity), body.as_bytes(), &[b'x'; 20]);
        let slot = AbiHook::BprmCheckSecurity.id();
        assert_eq!(plain(&bytes).map(drop), Err(DecodeError::Text { slot }));
    }
}

#[test]
fn every_hook_of_the_table_has_a_decoder_and_a_contract_hook() {
    let mut layouts = CallLayouts::default();
    for row in HOOKS {
        let there = hook(row.hook).unwrap();
        assert_eq!(there as u16, row.hook.id());
        assert_eq!(abi_hook(there), Some(row.hook));
        assert_eq!(there.is_call(), row.hook.is_call());
        if there.is_call() {
            let nowhere = vec![None; there.fields().len()];
            layouts.set(row.hook.id(), CallLayout::curated(there, &nowhere, &[]).unwrap());
        }
        let bytes = record(&header(row.hook), &[0; 128], &[]);
        let decoded = decode(&RawRecord::parse(&bytes).unwrap(), &layouts).unwrap();
        assert_eq!(decoded.event.body.hook(), Some(there));
    }
    assert_eq!(HOOKS.len(), Hook::ALL.len());
}
