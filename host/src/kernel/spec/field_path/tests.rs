//! Paths on hand-made types, on stored types of Debian's kernels, and on the running kernel's own.
//!
//! `6.1.btf`, `6.12.btf` and `7.2.btf` hold the prototypes of some hooks of 6.1.0-56, 6.12.117 and
//! 7.2.13 and what can be reached from them; members that no test uses have no type, to keep them
//! small.

use std::path::PathBuf;

use krsi_host_abi::spec::Read;

use super::*;
use crate::kernel::btf::maker::Maker;

pub(crate) const KERNELS: [&str; 3] = ["6.1", "6.12", "7.2"];

pub(crate) fn stored(kernel: &str) -> KernelTypes {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/kernel/spec/field_path");
    KernelTypes::read(&folder.join(format!("{kernel}.btf"))).unwrap()
}

/// A row that was expected, by what is not zero in it.
fn row(read: Read, root: u8, arg: u8, offsets: &[u32]) -> Capture {
    let mut row = Capture { read: read as u8, root, arg, ..Capture::default() };
    row.hops = u8::try_from(offsets.len()).unwrap().saturating_sub(1);
    row.offsets[..offsets.len()].copy_from_slice(offsets);
    row
}

fn scalar(root: u8, arg: u8, size: u8, signed: u8, offsets: &[u32]) -> Capture {
    Capture { size, signed, ..row(Read::Scalar, root, arg, offsets) }
}

/// Ids of the types of numbers.
struct Numbers {
    int: u32,
    uint: u32,
    long: u32,
    letter: u32,
    u8_name: u32,
}

impl Numbers {
    fn of(make: &mut Maker) -> Self {
        let byte = make.int("unsigned char", 1, 0);
        Self {
            int: make.int("int", 4, 1),
            uint: make.int("unsigned int", 4, 0),
            long: make.int("long unsigned int", 8, 0),
            letter: make.int("char", 1, 1),
            u8_name: make.typedef("u8", byte),
        }
    }
}

/// Id of `struct thing`, which has pointers to itself.
const THING: u32 = 60;

/// The struct, all of whose members are there for one test each.
fn thing(make: &mut Maker, numbers: &Numbers) -> u32 {
    let Numbers { int, uint, long, letter, u8_name } = *numbers;
    let kinds = [make.int("__int128", 16, 1), make.int("_Bool", 1, 4)];
    let [comm, flexible] = [16, 0].map(|len| make.array(letter, len));
    let [raw, large, open_raw] = [6, 4000, 0].map(|len| make.array(u8_name, len));
    let row = make.array(uint, 4);
    let rows = make.array(row, 3);
    let inner = make.union("", 8, &[("as_long", long, 0, 0), ("as_int", int, 0, 0)]);
    let outer = make.structure("", 16, &[("before", int, 0, 0), ("", inner, 64, 0)]);
    let (constant, user) = (make.constant(letter), make.tag("user", letter));
    let (percpu, away) = (make.tag("percpu", int), make.declared("away"));
    let targets = [constant, u8_name, user, away, percpu, THING, 0, int];
    let [text, bytes, user, away, percpu, next, data, call] = targets.map(|to| make.pointer(to));
    let both = make.array(next, 2);
    let kuid = make.structure("", 4, &[("val", uint, 0, 0)]);
    let kuid = make.typedef("kuid_t", kuid);
    let qstr = make.structure("qstr", 16, &[("hash", uint, 0, 0), ("name", text, 64, 0)]);
    while make.int("pad", 4, 0) < THING - 1 {}
    #[rustfmt::skip]
    let members = [
        ("number", int, 0, 0), ("low", uint, 32, 3), ("middle", int, 35, 12), ("across", long, 92, 8),
        ("text", text, 128, 0), ("comm", comm, 192, 0), ("raw", raw, 320, 0), ("numbers", row, 384, 0),
        ("rows", rows, 512, 0), ("", outer, 1024, 0), ("next", next, 1152, 0), ("both", both, 1216, 0),
        ("uid", kuid, 1344, 0), ("away", away, 1408, 0), ("user_text", user, 1472, 0),
        ("percpu", percpu, 1536, 0), ("huge", kinds[0], 1600, 0), ("truth", kinds[1], 1728, 0),
        ("data", data, 1792, 0), ("bytes", bytes, 1856, 0), ("name", qstr, 1920, 0),
        ("call", call, 2048, 0), ("large", large, 2112, 0), ("open_raw", open_raw, 34112, 0),
        ("tail", flexible, 34112, 0),
    ];
    make.structure("thing", 4800, &members)
}

/// `hook(struct thing *thing, unsigned int by, kuid_t uid, struct wide w, int, int x, int y)`.
fn made() -> (KernelTypes, Prototype) {
    let mut make = Maker::new();
    let numbers = Numbers::of(&mut make);
    assert_eq!(thing(&mut make, &numbers), THING);
    let Numbers { int, uint, long, .. } = numbers;
    let pointer = make.pointer(THING);
    let kuid = make.structure("", 4, &[("val", uint, 0, 0)]);
    let kuid = make.typedef("kuid_t", kuid);
    let wide = make.structure("wide", 16, &[("first", long, 0, 0), ("second", int, 64, 0)]);
    let arguments = [
        ("thing", pointer),
        ("by", uint),
        ("uid", kuid),
        ("w", wide),
        ("", int),
        ("x", int),
        ("y", int),
    ];
    make.function("hook", int, &arguments);
    let types = make.types();
    let prototype = types.prototype("hook").unwrap();
    (types, prototype)
}

#[test]
fn a_path_becomes_one_row() {
    let (types, hook) = made();
    let check = |path: &str, kind: FieldKind, expected: Capture| {
        let found = resolve(&types, &hook, path).unwrap();
        assert_eq!((found.field.kind, found.rows), (kind, vec![expected]), "{path}");
    };
    let (unsigned, signed) = (FieldKind::Unsigned, FieldKind::Signed);
    let in_thing = |size, signed, offset| scalar(root::ARG, 0, size, signed, &[offset]);
    check("thing.number", signed(32), in_thing(4, 1, 0));
    check(" thing -> number ", signed(32), in_thing(4, 1, 0));
    check("arg0.number", signed(32), in_thing(4, 1, 0));
    // Bit fields: the smallest aligned container that holds all their bits.
    let bits = |shift, width, row| Capture { shift, width, ..row };
    check("thing.low", unsigned(3), bits(0, 3, in_thing(1, 0, 4)));
    check("thing.middle", signed(12), bits(3, 12, in_thing(2, 1, 4)));
    check("thing.across", unsigned(8), bits(28, 8, in_thing(8, 0, 8)));
    // Arrays, anonymous members, pointers in arrays.
    check("thing.numbers[3]", unsigned(32), in_thing(4, 0, 48 + 12));
    check("thing.rows[2][1]", unsigned(32), in_thing(4, 0, 64 + 2 * 16 + 4));
    check("thing.comm[2]", unsigned(8), in_thing(1, 0, 26));
    check("thing.before", signed(32), in_thing(4, 1, 128));
    check("thing.as_int", signed(32), in_thing(4, 1, 136));
    check("thing.next.number", signed(32), scalar(root::ARG, 0, 4, 1, &[144, 0]));
    check("thing.both[1]->next.low", unsigned(3), {
        bits(0, 3, scalar(root::ARG, 0, 1, 0, &[160, 144, 4]))
    });
    check("thing.truth", unsigned(1), in_thing(1, 0, 216));
    check("thing.uid", unsigned(32), in_thing(4, 0, 168));
    check("thing.uid.val", unsigned(32), in_thing(4, 0, 168));
    check("thing.data", unsigned(64), in_thing(8, 0, 224));
    check("thing.bytes", unsigned(64), in_thing(8, 0, 232));
    check("thing.call", unsigned(64), in_thing(8, 0, 256));
    // Arguments themselves; a struct of two words takes two of them.
    check("by", unsigned(32), scalar(root::VALUE, 1, 4, 0, &[]));
    check("uid", unsigned(32), scalar(root::VALUE, 2, 4, 0, &[]));
    check("uid.val", unsigned(32), scalar(root::VALUE, 2, 4, 0, &[]));
    check("w.first", unsigned(64), scalar(root::VALUE, 3, 8, 0, &[]));
    check("w.second", signed(32), scalar(root::VALUE, 4, 4, 1, &[]));
    check("arg4", signed(32), scalar(root::VALUE, 5, 4, 1, &[]));
    // Texts and bytes.
    let of = |read, bound, offset| Capture { bound, ..row(read, root::ARG, 0, &[offset]) };
    check("thing.text", FieldKind::Text(256), of(Read::Text, 256, 16));
    check("thing.text[..40]", FieldKind::Text(40), of(Read::Text, 40, 16));
    check("thing.comm", FieldKind::Text(16), of(Read::TextInline, 16, 24));
    check("thing.comm[ ..8 ]", FieldKind::Text(8), of(Read::TextInline, 8, 24));
    check("thing.tail", FieldKind::Text(256), of(Read::TextInline, 256, 4264));
    check("thing.raw", FieldKind::Bytes(6), of(Read::Bytes, 6, 40));
    check("thing.raw[..4]", FieldKind::Bytes(4), of(Read::Bytes, 4, 40));
    check("thing.large", FieldKind::Bytes(256), of(Read::Bytes, 256, 264));
    check("thing.open_raw[..9]", FieldKind::Bytes(9), of(Read::Bytes, 9, 4264));
    check("thing.data[..12]", FieldKind::Bytes(12), of(Read::BytesBehind, 12, 224));
    check("thing.bytes[..12]", FieldKind::Bytes(12), of(Read::BytesBehind, 12, 232));
    check("thing.name", FieldKind::Text(256), of(Read::Text, 256, 248));
    check("thing.name.name", FieldKind::Text(256), of(Read::Text, 256, 248));
}

#[test]
fn an_error_names_the_bad_step_and_what_is_there() {
    let (types, hook) = made();
    let check = |path: &str, expected: &str| {
        let error = resolve(&types, &hook, path).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{path}\n found: {error}\nwanted: {expected}");
    };
    check(
        "thing.next.nunber.x",
        "thing.next.nunber: struct thing has no member nunber; did you mean number? there is \
         number, low, middle, across, text, comm, raw, numbers, rows, before, as_long, as_int, next,",
    );
    check(
        "thnig",
        "thnig: hook has no such argument; did you mean thing? there is thing, by, uid, w, arg4, x, \
         y, current, current_cred",
    );
    check("arg9", "arg9: hook has no such argument");
    check("x", "x: BPF programs get the first 6 arguments only");
    check("by.x", "by.x: unsigned int has no members");
    check("thing.away.x", "thing.away.x: struct away is declared in this kernel's types");
    check("thing.away", "thing.away: struct away is declared in this kernel's types");
    check("thing.numbers[4]", "thing.numbers[4]: unsigned int[4] has 4 elements");
    check("thing.tail[0]", "thing.tail[0]: char[0] has 0 elements");
    check("thing.number[0]", "thing.number[0]: int is no array");
    check("thing.text[0]", "thing.text[0]: const char * is no array");
    check(
        "thing.numbers",
        "thing.numbers: unsigned int[4] is no text; name one element, as in thing.",
    );
    check("thing.user_text", "thing.user_text: char * points to user memory");
    check("thing.percpu.x", "thing.percpu.x: int * points to percpu memory");
    check("thing.huge", "thing.huge: __int128 cannot be captured");
    check(
        "thing",
        "thing: struct thing * is no single value, name a member of it; there is number,",
    );
    check("thing.number[..4]", "thing.number: int takes no bound");
    check("thing.comm[..17]", "thing.comm: char[16] needs a bound from 1 to 16");
    check("thing.open_raw", "thing.open_raw: u8[0] needs a bound from 1 to 256");
    check("current.tgid", "current: this kernel's types have no struct task_struct, or several");
    let deep = "thing".to_owned() + &".next".repeat(7) + ".number";
    check(&deep, "thing.next.next.next.next.next.next.next.number: follows more than 6 pointers");
}

#[test]
fn what_is_no_path_is_refused() {
    let (types, hook) = made();
    for malformed in [
        "",
        ".",
        "thing.",
        "thing..x",
        "thing[",
        "thing[x]",
        "thing[-1]",
        "thing.comm[..0]",
        "thing.comm[..257]",
        "thing.comm[..4].x",
        "thing x",
        "1thing",
        "thing.comm[..]",
        "thing[99999999999]",
        &"a".repeat(600),
        &("a".to_owned() + &".a".repeat(40)),
    ] {
        let error = resolve(&types, &hook, malformed).unwrap_err();
        assert!(matches!(error, FieldError::Malformed { .. }), "{malformed}: {error}");
    }
}

#[test]
fn six_pointers_can_be_followed() {
    let (types, hook) = made();
    let deep = "thing".to_owned() + &".next".repeat(6) + ".number";
    let found = resolve(&types, &hook, &deep).unwrap();
    assert_eq!(found.rows, [scalar(root::ARG, 0, 4, 1, &[144, 144, 144, 144, 144, 144, 0])]);
}

#[test]
fn kernels_differ_and_each_gets_its_own_offsets() {
    let check = |hook: &str, path: &str, kind: FieldKind, expected: [Capture; 3]| {
        for (kernel, expected) in KERNELS.into_iter().zip(expected) {
            let types = stored(kernel);
            let prototype = types.prototype(&format!("bpf_lsm_{hook}")).unwrap();
            let found = resolve(&types, &prototype, path).unwrap();
            assert_eq!(found.field.kind, kind, "{kernel} {hook} {path}");
            assert_eq!(found.rows.first(), Some(&expected), "{kernel} {hook} {path}");
        }
    };
    let path = |offset| row(Read::Path, root::ARG, 0, &[offset]);
    check("file_open", "file", FieldKind::Path, [path(16), path(64), path(64)]);
    check("file_open", "file.f_path", FieldKind::Path, [path(16), path(64), path(64)]);
    check("path_unlink", "dir", FieldKind::Path, [path(0), path(0), path(0)]);
    let dentry = row(Read::Dentry, root::VALUE, 1, &[]);
    check("path_unlink", "dentry", FieldKind::Names, [dentry; 3]);
    let inode = |offset| row(Read::Inode, root::ARG, 0, &[offset]);
    check("file_open", "file.f_inode", FieldKind::Inode, [inode(32), inode(40), inode(32)]);
    let ino = |offset| scalar(root::ARG, 0, 8, 0, &[offset, 64]);
    check("file_open", "file.f_inode.i_ino", FieldKind::Unsigned(64), [ino(32), ino(40), ino(32)]);
    let address = Capture { bound: 3, ..row(Read::SockAddr, root::VALUE, 1, &[]) };
    check("socket_connect", "address", FieldKind::Address, [address; 3]);
    let name = row(Read::SockAddr, root::ARG, 1, &[0]);
    check("socket_sendmsg", "msg.msg_name", FieldKind::Address, [name; 3]);
    let uid = scalar(root::VALUE, 1, 4, 0, &[]);
    check("path_chown", "uid", FieldKind::Unsigned(32), [uid; 3]);
    let effective = scalar(root::ARG, 2, 8, 0, &[0]);
    check("capset", "effective", FieldKind::Unsigned(64), [effective; 3]);
    let prot = scalar(root::VALUE, 2, 8, 0, &[]);
    check("file_mprotect", "prot", FieldKind::Unsigned(64), [prot; 3]);
    let uid = scalar(root::CRED, 0, 4, 0, &[8]);
    check("file_open", "current_cred.uid", FieldKind::Unsigned(32), [uid; 3]);
}

#[test]
fn what_is_sent_is_read_as_each_kernel_keeps_it() {
    // 6.1 has its segments behind the count, and gives one buffer another number.
    let older = (0, 7, [16, 0, 24, 32, 16, 8, 24]);
    let newer = (1, 1, [16, 0, 16, 32, 24, 8, 16]);
    for (kernel, expected) in KERNELS.into_iter().zip([older, newer, newer]) {
        let types = stored(kernel);
        for function in ["bpf_lsm_socket_sendmsg", "security_socket_sendmsg"] {
            let mut prototype = types.prototype("bpf_lsm_socket_sendmsg").unwrap();
            prototype.function = function.to_owned();
            let found = resolve(&types, &prototype, "content[..16]").unwrap();
            let [row, state] = found.rows.as_slice() else { panic!("{found:?}") };
            assert_eq!((row.shift, row.width, row.offsets), expected, "{kernel}");
            assert_eq!(
                (row.arg, row.size, row.bound, state.offsets[0]),
                (1, 1, 16, 16),
                "{kernel}"
            );
            assert_eq!(found.field.kind, FieldKind::Content(16));
            let found = resolve(&types, &prototype, "peer").unwrap();
            assert_eq!(found.rows[0].offsets, [0, 16, 12, 0, 56, 0, 0], "{kernel}");
            let found = resolve(&types, &prototype, "content[255]").unwrap();
            assert_eq!(found.field.kind, FieldKind::ContentByte(255));
            for wrong in ["content[256]", "content.x", "peer.x", "peer[..4]", "content[1][2]"] {
                let error = resolve(&types, &prototype, wrong).unwrap_err().to_string();
                assert!(error.starts_with(wrong.trim_end_matches("[..4]")), "{error}");
            }
        }
        let connect = types.prototype("bpf_lsm_socket_connect").unwrap();
        let error = resolve(&types, &connect, "content").unwrap_err().to_string();
        assert!(error.contains("socket_sendmsg only"), "{error}");
    }
}

#[test]
fn paths_of_the_documents_resolve_on_every_kernel() {
    let check = |types: &KernelTypes, hook: &str, path: &str, kind: FieldKind| {
        let prototype = types.prototype(&format!("bpf_lsm_{hook}")).unwrap();
        let found = resolve(types, &prototype, path).unwrap();
        assert_eq!(found.field.kind, kind, "{hook} {path}");
        assert!(found.rows.iter().all(|row| usize::from(row.hops) <= HOPS));
    };
    let all = KERNELS.map(stored).into_iter().chain([KernelTypes::running().unwrap()]);
    for types in all {
        check(&types, "file_mprotect", "vma.vm_mm.owner.tgid", FieldKind::Signed(32));
        check(&types, "file_mprotect", "vma.vm_file", FieldKind::Path);
        check(&types, "file_open", "file.f_path.dentry.d_name.name", FieldKind::Text(256));
        check(&types, "file_open", "file.f_path.dentry.d_name", FieldKind::Text(256));
        check(&types, "file_open", "current.mm.exe_file", FieldKind::Path);
        check(&types, "file_open", "current.comm", FieldKind::Text(16));
        check(&types, "file_open", "current.in_execve", FieldKind::Unsigned(1));
        check(&types, "task_kill", "p.cred.uid.val", FieldKind::Unsigned(32));
        check(&types, "task_kill", "cred.cap_effective", FieldKind::Unsigned(64));
        check(&types, "bprm_check_security", "bprm.buf[0]", FieldKind::Unsigned(8));
        check(&types, "bprm_check_security", "bprm.filename", FieldKind::Text(256));
        check(&types, "kernel_read_file", "id", FieldKind::Unsigned(32));
        check(&types, "kernel_read_file", "contents", FieldKind::Unsigned(1));
        check(&types, "socket_connect", "sock.sk.__sk_common.skc_family", FieldKind::Unsigned(16));
        check(&types, "sb_mount", "type", FieldKind::Text(256));
        // 7.2 calls the argument `file__nullable`.
        check(&types, "mmap_file", "file.f_inode.i_sb.s_dev", FieldKind::Unsigned(32));
    }
}

/// Whatever the running kernel's hooks take, an argument is captured or refused, never a panic.
#[test]
fn every_argument_of_every_hook_of_this_kernel_has_an_answer() {
    let types = KernelTypes::running().unwrap();
    let (mut hooks, mut captured) = (0, 0);
    for hook in types.function_names("bpf_lsm_") {
        let prototype = types.prototype(&format!("bpf_lsm_{hook}")).unwrap();
        hooks += 1;
        if prototype.arguments.iter().any(|argument| numbered(&argument.name).is_some()) {
            continue;
        }
        for (at, argument) in prototype.arguments.iter().enumerate().take(ARGS) {
            let name = format!("arg{at}");
            let Ok(found) = resolve(&types, &prototype, &name) else {
                let error = resolve(&types, &prototype, &name).unwrap_err().to_string();
                assert!(error.starts_with(&name), "{hook}: {error}");
                continue;
            };
            captured += 1;
            let by_name = resolve(&types, &prototype, &argument.name).unwrap();
            assert_eq!(found.rows, by_name.rows, "{hook} {}", argument.name);
        }
    }
    assert!(hooks > 200 && captured > 200, "{hooks} hooks, {captured} arguments");
}

#[test]
fn functions_of_one_name_that_disagree_are_refused() {
    let mut make = Maker::new();
    let int = make.int("int", 4, 1);
    make.function("twice", int, &[("a", int)]);
    make.function("twice", 0, &[("a", int)]);
    make.function("same", int, &[("a", int)]);
    make.function("same", int, &[("a", int)]);
    make.structure("task_struct", 8, &[("tgid", int, 0, 0)]);
    make.structure("task_struct", 8, &[("tgid", int, 32, 0)]);
    let types = make.types();
    let error = types.prototype("twice").unwrap_err().to_string();
    assert!(error.contains("several functions"), "{error}");
    let same = types.prototype("same").unwrap();
    assert!(types.prototype("none").is_err());
    let error = resolve(&types, &same, "current.tgid").unwrap_err();
    assert_eq!(error, FieldError::NoCurrent { path: "current".into(), structure: "task_struct" });
}

/// Types that refer to themselves end somewhere.
#[test]
fn damaged_types_are_no_endless_walk() {
    let mut make = Maker::new();
    let int = make.int("int", 4, 1);
    let itself = make.typedef("itself", 2);
    let array = make.array(3, 4);
    let anonymous = make.structure("", 8, &[("", 4, 0, 0)]);
    let nowhere = make.pointer(999);
    assert_eq!((itself, array, anonymous), (2, 3, 4));
    let arguments = [("a", itself), ("b", array), ("c", anonymous), ("d", nowhere)];
    make.function("hook", int, &arguments);
    let types = make.types();
    let hook = types.prototype("hook").unwrap();
    for path in ["a", "a.x", "b", "b[1]", "b[1][1]", "c", "c.x", "d", "d.x"] {
        assert!(resolve(&types, &hook, path).is_err() || path == "d", "{path}");
        assert!(!types.type_name(itself).is_empty());
    }
}
