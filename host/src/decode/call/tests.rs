//! Records of calls built byte by byte, and layouts that lie.

use krsi_host_abi::ABI_VERSION;
use krsi_host_abi::record::Header;
use krsi_plugin_schema::latest::FileKey;
use krsi_plugin_schema::latest::record::FileMprotect;
use krsi_plugin_schema::latest::{Event, TextFlags};
use zerocopy::{FromZeros, IntoBytes};

use super::super::Decoded;
use super::*;
use crate::read::record::RawRecord;

fn decode<'a>(record: &'a [u8], layouts: &'a CallLayouts) -> Result<Decoded<'a>, DecodeError> {
    super::super::decode(&RawRecord::parse(record)?, layouts)
}

fn capture(read: Read) -> Capture {
    Capture { read: read as u8, size: 8, ..Capture::default() }
}

fn captures<const N: usize>(reads: [Read; N]) -> Vec<Capture> {
    reads.into_iter().map(capture).collect()
}

fn at(offset: u64, len: u64, flags: u64) -> u64 {
    offset | len << text_value::LEN_SHIFT | flags << text_value::FLAG_SHIFT
}

fn record(slot: u16, values: &[u64], read: u32, null: u32, tail: &[u8]) -> Vec<u8> {
    let mut header = Header::new_zeroed();
    header.abi = ABI_VERSION as u16;
    header.hook = slot;
    header.owner = 9;
    let mut body = Bytes { values: [0; CAPTURES], read, null };
    body.values.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    [header.as_bytes(), body.as_bytes(), tail].concat()
}

fn values(decoded: Decoded<'_>) -> Vec<Value<'_>> {
    let Event { body: Body::Watch(watch), .. } = decoded.event else { panic!("not a watch") };
    watch.values
}

const SLOT: u16 = 130;

/// A watch with one value of a kind.
fn watching(captures: &[Capture]) -> CallLayouts {
    let mut layouts = CallLayouts::default();
    layouts.set(SLOT, CallLayout::watch(5, 2, "inode_getattr", &[0], captures).unwrap());
    layouts
}

#[test]
fn each_kind_of_value_is_read() {
    let check = |captures: &[Capture], values_: &[u64], tail: &[u8], expected: Value<'_>| {
        let layouts = watching(captures);
        let bytes = record(SLOT, values_, u32::MAX, 0, tail);
        assert_eq!(values(decode(&bytes, &layouts).unwrap()), [expected]);
    };
    let text = |text: &'static str, flags| {
        Value::Text(Text { text: text.into(), flags: TextFlags(flags) })
    };
    let scalar = |size, width, signed| Capture { size, width, signed, ..capture(Read::Scalar) };

    check(&[scalar(8, 0, 0)], &[u64::MAX], b"", Value::Number(u64::MAX));
    check(&[scalar(4, 0, 1)], &[0xffff_fffe], b"", Value::Signed(-2));
    check(&[scalar(4, 3, 1)], &[0b101], b"", Value::Signed(-3));
    check(&[scalar(8, 0, 1)], &[u64::MAX], b"", Value::Signed(-1));
    for read in [Read::Text, Read::TextInline, Read::Path, Read::Dentry] {
        check(&[capture(read)], &[at(1, 4, 0)], b"xcomm", text("comm", 0));
    }
    check(&[capture(Read::TextInline)], &[at(0, 6, 0)], b"sh\0abc", text("sh", 0));
    let both = text_value::TRUNCATED | text_value::WITHIN_MOUNT;
    let cut = TextFlags::TRUNCATED | TextFlags::WITHIN_MOUNT;
    check(&[capture(Read::Path)], &[at(0, 3, both)], b"/a\xff", text("/a\\xff", cut));
    let up = text_value::UPWARDS;
    check(&[capture(Read::Dentry)], &[at(0, 10, up)], b"c\0bb\0a\0/\0\0", text("/a/bb/c", 0));
    check(&[capture(Read::Dentry)], &[at(0, 2, up)], b"/\0", text("/", 0));
    let up = up | text_value::TRUNCATED;
    check(&[capture(Read::Dentry)], &[at(0, 4, up)], b"c\0bb", text("bb/c", TextFlags::TRUNCATED));
    for read in [Read::Bytes, Read::BytesBehind] {
        check(&[capture(read)], &[at(1, 2, 0)], b"x\0\xff", Value::Bytes(Cow::Borrowed(b"\0\xff")));
    }
    let content = captures([Read::Content, Read::ContentState]);
    for (number, state) in (0..).zip(content_state::WORDS) {
        let decoded = watching(&content);
        let bytes = record(SLOT, &[at(0, 3, 0), number], u32::MAX, 0, b"\x16\x03\0secret");
        let values = values(decode(&bytes, &decoded).unwrap());
        let [Value::Content(content)] = &values[..] else { panic!("{values:?}") };
        assert_eq!((&*content.bytes, content.state.word()), (&b"\x16\x03\0"[..], state));
        assert_eq!(values[0].to_string(), format!("{state}:3"));
    }
    let file = captures([Read::Inode, Read::InodeDev]);
    check(
        &file,
        &[u64::MAX, 7 << 32 | 0x10_0003],
        b"",
        Value::File(FileKey { ino: u64::MAX, dev: 0x10_0003, generation: 7 }),
    );
}

#[test]
fn addresses_are_read_by_family() {
    let layouts = [Read::SockAddr, Read::Peer];
    let [layouts, of_peer] = layouts.map(|read| watching(&captures([read, Read::SockAddrPort])));
    assert_eq!(format!("{:?}", layouts.get(SLOT)), format!("{:?}", of_peer.get(SLOT)));
    let check = |family: u16, rest: &[&[u8]], expected: &str| {
        let room = [&family.to_ne_bytes()[..], &rest.concat()].concat();
        let bytes = record(SLOT, &[at(0, room.len() as u64, 0)], u32::MAX, 0, &room);
        let values = values(decode(&bytes, &layouts).unwrap());
        let [Value::Address(address)] = &values[..] else { panic!("{values:?}") };
        assert_eq!((address.family, address.to_string().as_str()), (family, expected));
    };
    let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
    let port = |port: u16| port.to_be_bytes();
    check(AF_INET, &[&port(80), &[127, 0, 0, 1], &[0; 8]], "127.0.0.1:80");
    check(AF_INET6, &[&port(443), &[0; 4], &Ipv6Addr::LOCALHOST.octets()], "[::1]:443");
    check(AF_INET6, &[&port(443), &[0; 4], &mapped], "10.0.0.1:443");
    check(AF_UNSPEC, &[&port(80), &[127, 0, 0, 1], &[0; 8]], "127.0.0.1:80");
    check(AF_UNSPEC, &[], "address family 0");
    check(AF_INET, &[&port(80)], "address family 2");
    check(AF_INET6, &[&port(443), &[0; 4], &[0; 15]], "address family 10");
    check(AF_UNIX, &[b"/run/x.sock\0junk"], "/run/x.sock");
    check(AF_UNIX, &[b"\0bus"], "@bus");
    check(AF_UNIX, &[], "address family 1");
    check(38, &[b"hash"], "address family 38");

    let beyond = record(SLOT, &[at(0, 20, 0)], u32::MAX, 0, &[0; 19]);
    assert_eq!(decode(&beyond, &layouts).map(drop), Err(DecodeError::Text { slot: SLOT }));
}

#[test]
fn what_is_not_there_says_why() {
    let file = watching(&captures([Read::Inode, Read::InodeDev]));
    let check = |read, null, expected| {
        let bytes = record(SLOT, &[1, 2], read, null, b"");
        assert_eq!(values(decode(&bytes, &file).unwrap()), [expected]);
    };
    check(0b11, 0, Value::File(FileKey { ino: 1, dev: 2, generation: 0 }));
    check(0b01, 0, Value::Absent(Why::Unreadable));
    check(0b00, 0b01, Value::Absent(Why::Null));
    check(0b00, 0b00, Value::Absent(Why::Unreadable));
}

#[test]
fn a_text_outside_the_record_and_a_cut_record_are_refused() {
    let layouts = watching(&[capture(Read::Text)]);
    for value in [at(65535, 65535, 0), at(5, 1, 0), at(0, 6, 0)] {
        let bytes = record(SLOT, &[value], u32::MAX, 0, &[b'x'; 5]);
        assert_eq!(decode(&bytes, &layouts).map(drop), Err(DecodeError::Text { slot: SLOT }));
    }
    let bytes = record(SLOT, &[at(0, 5, 0)], u32::MAX, 0, &[b'x'; 5]);
    assert!(decode(&bytes, &layouts).is_ok());
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len], &layouts).is_err(), "{len} bytes");
    }
}

#[test]
fn a_call_is_named_by_its_hook_and_a_watch_by_its_place() {
    // file (2 rows), path, vm_start, vm_end, vm_flags, requested; this kernel lacks the last one.
    let mut rows = captures([Read::Inode, Read::InodeDev, Read::Path]);
    let signed = Capture { size: 4, signed: 1, ..capture(Read::Scalar) };
    rows.extend([capture(Read::Scalar), capture(Read::Scalar), capture(Read::Scalar), signed]);
    let places = [Some(0), Some(2), Some(3), Some(4), Some(5), Some(6), None];
    let layout = CallLayout::curated(Hook::FileMprotect, &places, &rows).unwrap();
    let mut layouts = watching(&[capture(Read::Scalar)]);
    layouts.set(Hook::FileMprotect as u16, layout);

    let bytes = record(12, &[0, 0, 0, 0x1000, 0x3000, 3, 5], 0b111_1000, 0b11, b"");
    let decoded = decode(&bytes, &layouts).unwrap();
    assert_eq!(decoded.owner, 9);
    let Body::Call(call) = &decoded.event.body else { panic!("not a call") };
    let mprotect = FileMprotect::try_from(call).unwrap();
    assert_eq!((mprotect.file, mprotect.length()), (None, Some(0x2000)));
    assert_eq!((mprotect.requested, mprotect.protection), (Some(5), None));
    assert_eq!(call.values[0], Value::Absent(Why::Null));
    assert_eq!(call.values[1], Value::Absent(Why::Unreadable));
    assert_eq!(call.values[6], Value::Absent(Why::Kernel));

    let bytes = record(SLOT, &[7], 1, 0, b"");
    let decoded = decode(&bytes, &layouts).unwrap();
    assert_eq!(decoded.owner, 5);
    let Body::Watch(watch) = &decoded.event.body else { panic!("not a watch") };
    assert_eq!((watch.index, &*watch.hook), (2, "inode_getattr"));

    layouts.clear(SLOT);
    assert_eq!(decode(&bytes, &layouts).map(drop), Err(DecodeError::Hook { hook: SLOT }));
}

#[test]
fn captures_that_are_not_the_hooks_fields_make_no_layout() {
    let rows = captures([Read::Scalar, Read::Inode, Read::Scalar, Read::InodeDev]);
    let check = |row, expected| {
        let layout = CallLayout::curated(Hook::KernelModuleRequest, &[Some(row)], &rows);
        assert_eq!(layout.map(drop), Err(expected));
    };
    let (hook, field, kind) = (Hook::KernelModuleRequest, "name", Kind::Text);
    check(0, LayoutError::Kind { hook, field, kind, row: 0 });
    // A file whose second row is another value's, the second row of one, no row at all.
    check(1, LayoutError::Row { row: 1 });
    check(3, LayoutError::Row { row: 3 });
    check(4, LayoutError::Row { row: 4 });
    check(usize::MAX, LayoutError::Row { row: usize::MAX });
    let none = CallLayout::curated(hook, &[], &rows);
    assert_eq!(none.map(drop), Err(LayoutError::Fields { hook, wanted: 1, given: 0 }));
    let mut layouts = CallLayouts::default();
    layouts.set(u16::MAX, CallLayout::watch(0, 0, "x", &[], &[]).unwrap());
    assert!(layouts.get(u16::MAX).is_none());
}
