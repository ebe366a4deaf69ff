//! Watches from their text to what the template program is frozen with.

use krsi_host_abi::spec::{ATOMS, CAPTURES, ObjectKind, ROOMS, Read, TERMS, root, spec_flag};

use super::super::field_path::FieldKind;
use super::super::field_path::tests::{KERNELS, stored};
use super::*;
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::kfunc::Kfuncs;

fn errno(name: &str) -> Option<u16> {
    [("EPERM", 1), ("EACCES", 13)]
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

fn resolved_with(kfuncs: &Kfuncs, types: &KernelTypes, text: &str) -> Result<Resolved, WatchError> {
    let mut watch = parse(text, errno)?;
    watch.number_labels(|name| Ok::<_, WatchError>(number_of(name))).unwrap();
    watch.resolve(types, kfuncs, |hook| types.prototype(&format!("bpf_lsm_{hook}")))
}

/// Numbers of labels: that of the letter that a name ends with.
fn number_of(label: &str) -> u8 {
    label.bytes().last().map_or(0, |last| last & 31)
}

fn resolved_on(types: &KernelTypes, text: &str) -> Result<Resolved, WatchError> {
    resolved_with(&Kfuncs::default(), types, text)
}

fn resolved(text: &str) -> Result<Resolved, WatchError> {
    resolved_on(&stored("6.12"), text)
}

#[test]
fn a_watch_is_frozen_whole() {
    let found = resolved(
        "file_mprotect: prot, vma.vm_start as start, vma.vm_file, current.comm as who \
         if any(prot, 4) && who != \"ld.so\" && vma.vm_flags != 0 deny EACCES",
    )
    .unwrap();
    let spec = &found.spec;
    let fields: Vec<_> = found.fields.iter().map(|f| (f.name.as_str(), f.row, f.shown)).collect();
    let shown = [
        ("prot", 0, true),
        ("start", 1, true),
        ("vma.vm_file", 2, true),
        ("who", 3, true),
        ("vma.vm_flags", 4, false),
    ];
    assert_eq!(fields, shown);
    let flags = spec_flag::DENY | spec_flag::PREDICATE | spec_flag::WATCH_DENY;
    // A number of an argument is no pointer.
    assert_eq!((spec.flags, spec.errno, spec.seal().pointers), (flags, 13, 0b001));
    assert_eq!((spec.capture_count, spec.atom_count, spec.term_count), (5, 5, 1));
    assert_eq!((spec.slot, spec.rule_id, spec.owner), (0, 0, 0));
    assert_eq!(spec.captures[0].root, root::VALUE);
    assert!(spec.strings[0].starts_with(b"ld.so\0"));
    assert_eq!((found.hook.as_str(), found.can_deny), ("file_mprotect", true));
}

#[test]
fn parts_of_a_watch_are_optional() {
    let check = |text: &str, captures: u32, flags: u32, errno: u32| {
        let found = resolved(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let spec = &found.spec;
        assert_eq!(
            (spec.capture_count, spec.flags, spec.errno),
            (captures, flags, errno),
            "{text}"
        );
    };
    let (deny, predicate) = (spec_flag::DENY, spec_flag::PREDICATE);
    check("file_open", 0, deny, 0);
    check("file_open:", 0, deny, 0);
    check("file_open: file", 1, deny, 0);
    check("  file_open:file,\n\tfile.f_flags  as\tflags ", 2, deny, 0);
    // One that refuses on the way of an exec reads which file it is.
    let executes = deny | spec_flag::EXECUTES;
    check("file_open deny EPERM", 2, executes | spec_flag::WATCH_DENY, 1);
    check("file_open: audit 4095", 2, executes | spec_flag::WATCH_AUDIT, 4095);
    check("file_open if file.f_flags == 1", 1, deny | predicate, 0);
    check(
        "file_open: file if file.f_flags==1 audit 13",
        4,
        executes | predicate | spec_flag::WATCH_AUDIT,
        13,
    );
    // What is always true is no predicate; what is never true stays one, without terms.
    check("file_open if true", 0, deny, 0);
    check("file_open if false", 0, deny | predicate, 0);
    // Keywords in strings are text.
    check("file_open if current.comm == 'x if y deny 1'", 1, deny | predicate, 0);
    check("bprm_committed_creds: bprm.filename", 1, 0, 0);
    check("bprm_committed_creds: bprm.filename audit EPERM", 1, spec_flag::WATCH_AUDIT, 1);
    check("xfrm_state_pol_flow_match: ", 0, 0, 0);
}

#[test]
fn labels_are_a_row_of_their_own_and_a_verdict() {
    let found = resolved(
        "socket_connect: address if label(\"p.a\") && !label(\"host.c\") || label('b') deny EACCES",
    )
    .unwrap();
    let spec = &found.spec;
    let labels: Vec<_> = found.fields.iter().filter(|field| !field.shown).collect();
    assert_eq!((labels.len(), spec.captures[2].root, spec.captures[2].size), (1, root::LABELS, 8));
    let masks: Vec<u64> =
        spec.atoms.iter().map(|atom| atom.mask).filter(|mask| *mask != 0).collect();
    assert_eq!(masks, [1 << 1, 1 << 3, 1 << 2]);
    assert!(found.beyond.is_empty(), "{:?}", found.beyond);
    let gives = |text: &str| {
        let spec = resolved(text).unwrap_or_else(|error| panic!("{text}: {error}")).spec;
        let all = spec_flag::WATCH_LABEL | spec_flag::LABEL_AT_EXEC | spec_flag::WATCH_DENY;
        (spec.flags & all, spec.label, spec.errno)
    };
    let (at_once, at_exec) =
        (spec_flag::WATCH_LABEL, spec_flag::WATCH_LABEL | spec_flag::LABEL_AT_EXEC);
    assert_eq!(gives("file_open label host.d"), (at_once, 4, 0));
    assert_eq!(
        gives("bprm_check_security if bprm.file.f_inode.i_nlink == 0 label e"),
        (at_exec, 5, 0)
    );
    // Who needs a label to be matched.
    let needs = |text: &str| parse(text, errno).unwrap().needs_label();
    let few =
        ["label('a')", "label('a') && true", "file.f_flags == 1 && label('a')", "!(!label('a'))"];
    for predicate in few.into_iter().chain(["label('a') || label('b')", "!(true || !label('a'))"]) {
        assert!(needs(&format!("file_open: file if {predicate}")), "{predicate}");
    }
    for predicate in
        ["!label('a')", "label('a') || file.f_flags == 1", "true", "!(label('a') && true)"]
    {
        assert!(!needs(&format!("file_open: file if {predicate}")), "{predicate}");
    }
    assert!(!needs("file_open label a"));
}

#[test]
fn labels_that_are_none_are_refused() {
    let check = |text: &str, expected: &str| {
        let error = resolved(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n found: {error}\nwanted: {expected}");
    };
    check("file_open if label(file)", "write label(\"plugin.name\")");
    check("file_open if label('A')", "write label(\"plugin.name\")");
    check("file_open if label('a.b.c')", "write label(\"plugin.name\")");
    check("file_open if label('a') == true", "label");
    check("file_open label", "\"\" is no name of a label");
    check("file_open label a.B", "\"a.B\" is no name of a label");
    check("file_open: file as label if true", "\"label\" is no name that a field can have");
    check("bprm_committed_creds label a", "gives no labels; write bprm_check_security");
    // Hooks at which it is another who calls, whatever this kernel has.
    let says =
        |text: &str| parse(text, errno).unwrap().check_labels().map_err(|why| why.to_string());
    for text in
        ["socket_sock_rcv_skb if label('a')", "cred_free label a", "xfrm_policy_lookup label a"]
    {
        let why = says(text).unwrap_err();
        assert!(why.contains("interrupts and kernel threads call it for others"), "{text}: {why}");
    }
    assert!(says("bprm_creds_for_exec label a").unwrap_err().contains("gives no labels"));
    for text in ["bprm_creds_for_exec if label('a') deny EPERM", "cred_free", "file_open label a"] {
        assert_eq!(says(text), Ok(()), "{text}");
    }
    let unknown = parse("file_open if label('a')", errno).unwrap();
    let types = stored("6.12");
    let prototype = |hook: &str| types.prototype(&format!("bpf_lsm_{hook}"));
    let error = unknown.resolve(&types, &Kfuncs::default(), prototype).unwrap_err().to_string();
    assert!(error.contains("is known to no plugin"), "{error}");
}

#[test]
fn rooms_and_rows_are_given_out_in_order() {
    let found = resolved("socket_connect: address, current.comm, addrlen, sock.type").unwrap();
    let rows: Vec<_> = found.spec.captures.iter().take(5).map(|row| (row.read, row.room)).collect();
    let expected = [
        (Read::SockAddr as u8, 0),
        (Read::SockAddrPort as u8, 0),
        (Read::TextInline as u8, 1),
        (Read::Scalar as u8, 0),
        (Read::Scalar as u8, 0),
    ];
    assert_eq!(rows, expected);
    let paths = resolved("path_unlink: dir, dentry.d_name.name").unwrap();
    let rows: Vec<_> = paths.spec.captures.iter().take(2).map(|row| (row.read, row.room)).collect();
    assert_eq!(rows, [(Read::Path as u8, 0), (Read::Text as u8, 1)]);
    // The length is read for the address too, and is no pointer.
    assert_eq!(found.spec.seal().pointers, 0b011);
    assert_eq!((found.spec.object, found.spec.object_capture), (ObjectKind::Network as u32, 0));
    let found = resolved("file_open: file, file.f_inode").unwrap();
    assert_eq!((found.spec.object, found.spec.object_capture), (ObjectKind::File as u32, 1));
    let found = resolved("file_open if file.f_path.dentry.d_inode != 0");
    assert!(matches!(found, Err(WatchError::Predicate(PredicateError::Kind { .. }))), "{found:?}");
    // What only the predicate needs is no object.
    let found = resolved("file_open if ino(file.f_inode) == 7").unwrap();
    assert_eq!((found.spec.object, found.spec.capture_count), (0, 2));
}

#[test]
fn what_is_sent_is_read_once_for_all_tests() {
    let test = "content.startsWith('GET \\x00') && content[3] != 0x20 && state(content) != \"cut\"";
    let found = resolved(&format!("socket_sendmsg: peer if port(peer) == 25 && {test} deny EPERM"));
    let found = found.unwrap();
    let spec = found.spec.seal();
    // The peer's two rows, then two of what is sent, of which the second is its state.
    assert_eq!((spec.capture_count, spec.content_row), (4, 3));
    assert_eq!((spec.room_rows, spec.object), ([1, 3, 0, 0], ObjectKind::Network as u32));
    let atoms: Vec<_> = spec.atoms.iter().take(6).map(|a| (a.capture, a.part, a.len)).collect();
    let expected = [(1, 0, 0), (2, 0, 5), (2, 1, 3), (2, 1, 3), (3, 2, 0), (3, 0, 0)];
    assert_eq!((spec.atom_count, atoms.as_slice()), (6, &expected[..]), "{:?}", spec.atoms);
    assert!(spec.strings[0].starts_with(b"GET \0\0"));
    let unknown = |text: &str| {
        let found = resolved(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        found.spec.flags & spec_flag::UNKNOWN_PASSES != 0
    };
    // What is sent may not be there, and honestly so; of anything else a denial refuses what it does not know.
    assert!(unknown("socket_sendmsg if content == \"x\" deny EPERM"));
    assert!(!unknown("socket_sendmsg if content == \"x\" deny EPERM if_unread deny"));
    assert!(unknown("socket_sendmsg: content audit EPERM if_unread pass"));
    assert!(!unknown("socket_sendmsg if content == \"x\""));
    assert!(!unknown("socket_sendmsg if port(peer) == 25 deny EPERM"));
    assert!(unknown("file_open if file.f_flags == 1 deny EPERM if_unread pass"));
    let refused = |text: &str, said: &str| {
        let error = resolved(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    };
    refused("socket_sendmsg: content, content[..4] as start", "captured once");
    refused("socket_sendmsg: content[4]", "capture content[..N]");
    refused("socket_sendmsg: content[..4] if content[4] == 1", "content[4]");
    refused("socket_sendmsg: content[..4] if content == \"12345\"", "at most 4 bytes");
    refused("socket_sendmsg if state(content) == \"lost\"", "\"unread\"");
    refused("socket_sendmsg if content == 5", "what is sent");
    refused("socket_sendmsg if content[0] == 256", "0 to 255");
    for text in ["if_unread deny", "deny EPERM if_unread", "deny EPERM if_unread ask"] {
        refused(&format!("socket_sendmsg if content == \"x\" {text}"), "stands behind a verdict");
    }
    let reach = |text: &str, content| {
        let beyond = resolved(text).unwrap().beyond;
        beyond.iter().any(|why| why.holds(WatchReach { deep: false, content }))
    };
    let shown = "socket_sendmsg: peer, content[..64]";
    assert!(reach(shown, false) && !reach(shown, true));
    assert!(!reach("socket_sendmsg: peer, size if content[0] == 1 && content == \"x\"", false));
}

#[test]
fn the_predicate_sees_names_and_paths() {
    let check = |text: &str, captures: u32| {
        let found = resolved(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(found.spec.capture_count, captures, "{text}");
    };
    check("task_kill: p.tgid as victim if victim == 1", 1);
    check("task_kill: p.tgid as victim if p.tgid == 1", 1);
    check("task_kill: p.tgid as victim if p->tgid == 1 && p.pid == 1", 2);
    check("task_kill: p.comm[..4] if p.comm == 'abc'", 1);
    check("bprm_check_security if bprm.buf[0] == 0x7f && bprm->buf[1] == 69", 2);
    check("mmap_file: prot if !present(file)", 2);
}

#[test]
fn a_test_of_a_path_is_flagged() {
    let check = |text: &str, tested: bool| {
        let flags = resolved(text).unwrap().spec.flags;
        assert_eq!(flags & spec_flag::PATH_TEST != 0, tested, "{text}");
    };
    check("file_open: file if file.f_flags == 1", false);
    check("file_open: file if file.startsWith('/etc/')", true);
    check("file_open: file.f_flags if !file.startsWith('/etc/')", true);
    check("mmap_file: prot if present(file)", false);
    check("file_open: file.f_flags", false);
}

#[test]
fn functions_of_the_kernel_read_what_members_do_not_hold() {
    let all = Kfuncs::all();
    let types = stored("6.12");
    let on = |kfuncs: &Kfuncs, text: &str| resolved_with(kfuncs, &types, text);
    let reads = |text: &str| {
        let spec = on(&all, text).unwrap_or_else(|error| panic!("{text}: {error}")).spec;
        spec.captures.iter().map(|row| row.read).take_while(|read| *read != 0).collect::<Vec<_>>()
    };
    let (exe, xattr, verity) = (Read::TaskExe as u8, Read::Xattr as u8, Read::FsVerity as u8);
    assert_eq!(reads("task_kill: current.mm.exe_file"), [exe]);
    assert_eq!(
        reads("task_kill: current.mm.exe_file.f_path if sig == 9"),
        [exe, Read::Scalar as u8]
    );
    assert_eq!(
        reads("file_open: file.xattr[\"user.mark\"] as mark, file.fsverity"),
        [xattr, verity]
    );
    let text = "bprm_check_security: bprm.file.xattr['user.a'], bprm.file.xattr['user.b'] as b \
                if b == 'yes' && bprm.file.fsverity == \
                '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'";
    let spec = on(&all, text).unwrap().spec;
    assert!(spec.strings[0].starts_with(b"yes\0"));
    assert!(spec.strings[1].starts_with(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]));
    assert!(spec.strings[2].starts_with(b"user.a\0") && spec.strings[3].starts_with(b"user.b\0"));
    assert_eq!([spec.captures[0].size, spec.captures[1].size], [2, 3]);
    // Without the function the path is walked, and cannot be tested.
    let none = Kfuncs::default();
    let walked = on(&none, "task_kill: current.mm.exe_file").unwrap().spec;
    assert_eq!(walked.captures[0].read, Read::Path as u8);
    let check = |kfuncs: &Kfuncs, text: &str, expected: &str| {
        let error = on(kfuncs, text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n found: {error}\nwanted: {expected}");
    };
    check(&none, "task_kill if current.mm.exe_file == '/bin/a'", "needs bpf_get_task_exe_file");
    check(
        &none,
        "file_open: file.xattr['user.a']",
        "needs bpf_get_file_xattr, which kernels from 6.8",
    );
    check(&none, "file_open: file.fsverity", "needs bpf_get_fsverity_digest");
    check(&all, "file_open: file.xattr", "write the attribute's name, as in xattr[\"user.mark\"]");
    check(&all, "file_open: file.xattr[3]", "write the attribute's name");
    check(&all, "file_open: file.xattr['user.\u{e4}']", "write the attribute's name");
    check(&all, "file_open: file.fsverity.size", "a digest has no members");
    check(&all, "file_open: file.f_mapping['user.a']", "has nothing by a name");
    check(&all, "file_open if file.fsverity == '12'", "is no digest: SHA-256 has 64 hex digits");
    check(&all, "file_open if file.fsverity.startsWith('12')", "compare it with hex digits");
}

#[test]
fn what_people_write_at_first_says_what_works() {
    let check = |text: &str, expected: &str| {
        let error = resolved(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n found: {error}\nwanted: {expected}");
    };
    check(
        "path_chmod if any(mode, 04000)",
        "watch, column 25: 04000 starts with a zero; write 0o4000",
    );
    check(
        "bprm_check_security: bprm.buf[01]",
        "watch, column 31: 01 starts with a zero; write 0o1, or 1",
    );
    check("file_open deny 013", "watch, column 16: 013 starts with a zero; write 0o13, or 13");
    check("path_chmod: path if mode = 1 deny EPERM", "watch, column 26: = compares nothing");
    check("path_chmod: path if mode == 1 && deny EPERM", "watch, column 34: ");
    check("chown: path", "chown: this kernel has no such LSM hook; there is path_chown");
    check("permission", "permission: this kernel has no such LSM hook; there is inode_permission");
}

#[test]
fn what_is_refused_says_why() {
    let check = |text: &str, expected: &str| {
        let error = resolved(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n found: {error}\nwanted: {expected}");
    };
    check("", "is no name of a hook; write HOOK:");
    check("file open: x", "\"file open\" is no name of a hook");
    check("File_open", "\"File_open\" is no name of a hook");
    check("file_opem: x", "file_opem: this kernel has no such LSM hook; did you mean file_open?");
    check("file_open: fil", "fil: bpf_lsm_file_open has no such argument; did you mean file?");
    check("file_open: file,,file", "a field is missing between two commas");
    check("file_open: file,", "a field is missing between two commas");
    check("file_open: file as", "path has something that is no step");
    check("file_open: as x", "the path does not start with a name");
    check("file_open: file as x.y", "\"x.y\" is no name that a field can have");
    check("file_open: file as true", "\"true\" is no name that a field can have");
    check("file_open: file.f_flags, file.f_flags", "file.f_flags: two fields have this name");
    check("file_open: file.f_flags as file", "file: an argument of the hook has this name");
    check("file_open: file if", "there is no predicate after `if`");
    check("file_open: file if deny EPERM", "there is no predicate after `if`");
    check("file_open: file deny", "\"\" is no errno; write deny EPERM");
    check("file_open: file deny ENOSUCH", "\"ENOSUCH\" is no errno");
    check("file_open: file deny 0", "\"0\" is no errno");
    check("file_open: file deny 4096", "\"4096\" is no errno");
    check("file_open: file deny -1", "\"-1\" is no errno");
    check("file_open if file == '''x'''", "triple quotes");
    check("bprm_committed_creds deny EPERM", "cannot refuse a call, it returns nothing");
    check("xfrm_state_pol_flow_match deny EPERM", "cannot refuse a call, it answers yes or no");
    check("file_open if fill == 1", "fill: bpf_lsm_file_open has no such argument");
    check("file_open if file.f_flagz == 1", "did you mean f_flags?");
    check(&format!("file_open: {}", "x".repeat(5000)), "at most 4096 are read");
    let texts = "sb_mount: dev_name, type, current.comm, path, flags";
    resolved(texts).unwrap();
    check(
        &format!("{texts}, current.mm.owner.comm"),
        "current.mm.owner.comm: does not fit, a watch has room for 4 texts, paths,",
    );
    check(
        &format!("{texts} if current.mm.owner.comm == 'x'"),
        "current.mm.owner.comm: does not fit",
    );
    let number = |at: usize| format!("bprm.buf[{at}]");
    let numbers = |count: usize| (0..count).map(number).collect::<Vec<_>>().join(", ");
    resolved(&format!("bprm_check_security: {}", numbers(12))).unwrap();
    check(
        &format!("bprm_check_security: {}", numbers(13)),
        "bprm.buf[12]: does not fit, a watch has 12",
    );
    check(
        &format!("bprm_check_security: {}, bprm.file.f_inode", numbers(11)),
        "bprm.file.f_inode: does not fit, a watch has 12 captures",
    );
}

/// A hook that is attached as `fmod_ret` has the prototype of its `security_` function.
#[test]
fn the_prototype_may_be_another_functions() {
    let types = stored("6.12");
    let watch = parse("file_open: file.f_flags deny EPERM", errno).unwrap();
    let found = watch
        .resolve(&types, &Kfuncs::default(), |hook| types.prototype(&format!("security_{hook}")))
        .unwrap();
    let expected = resolved("file_open: file.f_flags deny EPERM").unwrap();
    assert_eq!(found, expected);
    assert!(
        watch.resolve(&types, &Kfuncs::default(), |_| types.prototype("no_such_function")).is_err()
    );
}

/// The examples of docs/watches.md and docs/evasions.md, as they stand there, on every kernel.
#[test]
fn the_examples_of_the_documents_resolve() {
    let document = concat!(
        include_str!("../../../../../docs/watches.md"),
        include_str!("../../../../../docs/labels.md"),
        include_str!("../../../../../docs/evasions.md")
    );
    let mut fence = "";
    let (mut good, mut bad) = (0, 0);
    let kernels = || KERNELS.map(stored).into_iter().chain([KernelTypes::running().unwrap()]);
    let kernels: Vec<KernelTypes> = kernels().collect();
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("```") {
            fence = if fence.is_empty() { name } else { "" };
            continue;
        }
        match fence {
            "watch" => {
                for types in &kernels {
                    resolved_with(&Kfuncs::all(), types, line)
                        .unwrap_or_else(|error| panic!("{line}: {error}"));
                }
                good += 1;
            }
            "refused" if !line.starts_with("    ") => {
                let error = resolved(line).unwrap_err().to_string();
                let said = lines.next().unwrap_or_default().trim();
                assert!(error.starts_with(said), "{line}\n found: {error}\n wrote: {said}");
                bad += 1;
            }
            _ => {}
        }
    }
    assert!(good >= 10 && bad >= 4, "{good} examples, {bad} refused ones");
}

/// Pieces that random texts are put together from.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "file_open", "file_mprotect", ":", ",", " ", "\n", "if", " if ", "deny", " deny EPERM", "audit",
    "as", " as ", "file", "vma", ".", "->", "prot", "[", "]", "[..4]", "[0]", "vm_mm", "owner", "tgid",
    "current", "comm", "==", "!=", "<", "'a'", "\"", "'", "\\", "(", ")", "!", "&&", "||", "in", "0x1f",
    "-1", "1u", "true", "any(", "bits(", "present(", "startsWith", "é", "\0", "{", "}", "?", "%", "'''",
];

/// Pieces in a row, a good watch with pieces put in, or bytes.
fn random_text(round: usize, next: &mut impl FnMut(usize) -> usize) -> String {
    const GOOD: &str =
        "file_mprotect: prot, vma.vm_mm.owner.tgid as t if any(prot, 4) && t != 1 deny 1";
    match round % 3 {
        0 => (0..next(24)).map(|_| PIECES[next(PIECES.len())]).collect(),
        1 => {
            let mut text = GOOD.to_owned();
            for _ in 0..next(3) {
                let at = next(text.len() + 1);
                let piece = PIECES[next(PIECES.len())];
                if text.is_char_boundary(at) {
                    text.insert_str(at, piece);
                }
            }
            text
        }
        _ => {
            let bytes: Vec<u8> = (0..next(80)).map(|_| u8::try_from(next(256)).unwrap()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}

/// What the template program relies on.
fn within_bounds(found: &Resolved) {
    let spec = &found.spec;
    assert!(spec.capture_count as usize <= CAPTURES && spec.atom_count as usize <= ATOMS);
    assert!(spec.term_count as usize <= TERMS);
    assert!(spec.captures.iter().all(|row| usize::from(row.room) < ROOMS));
    assert!(spec.atoms.iter().all(|atom| u32::from(atom.capture) <= spec.capture_count));
    let two = |kind| matches!(kind, FieldKind::Address | FieldKind::Inode);
    let rows: usize = found.fields.iter().map(|field| 1 + usize::from(two(field.kind))).sum();
    assert_eq!(rows, spec.capture_count as usize);
}

/// Whatever the text, the answer is a watch or an error of bounded length.
#[test]
fn random_texts_are_answered() {
    let types = stored("6.12");
    let mut state = 7u64;
    let mut next = |end: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % end
    };
    let (mut good, mut refused) = (0, 0);
    for round in 0..4000 {
        let text = random_text(round, &mut next);
        match resolved_on(&types, &text) {
            Ok(found) => {
                within_bounds(&found);
                good += 1;
            }
            Err(error) => {
                assert!(error.to_string().len() < 2000, "{text}");
                refused += 1;
            }
        }
    }
    assert!(good > 100 && refused > 2000, "{good} good, {refused} refused");
}

#[test]
fn a_predicate_that_is_always_true_says_nothing_of_calls() {
    let check = |text: &str, expected| {
        let watch = super::parse(text, |_| Some(1)).unwrap();
        assert_eq!(watch.has_predicate(), expected, "{text}");
    };
    check("file_open deny EPERM", false);
    check("file_open if true deny EPERM", false);
    check("file_open if file.f_flags == 1 || !false deny EPERM", false);
    check("file_open if file.f_flags == 1 deny EPERM", true);
    check("file_open if true && file.f_flags == 1 deny EPERM", true);
    check("file_open if false deny EPERM", true);
}

#[test]
fn what_not_every_plugin_may_read_is_told() {
    let beyond = |text: &str| -> Vec<String> {
        let found = resolved(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        found.beyond.iter().map(|why| why.to_string().split(':').next().unwrap().into()).collect()
    };
    // Arguments themselves, fields of docs/hooks.md however they are written, and who calls.
    let plain = [
        "file_open: file, file.f_flags, file.f_inode",
        "file_open: arg0.f_flags as flags if arg0->f_flags != 0",
        "file_mprotect: prot, reqprot, vma.vm_start, vma.vm_file",
        "socket_connect: address, addrlen, current.comm[..8] as who if port(address) == 25",
        "bprm_check_security: bprm.file, bprm.filename, current_cred.uid, current.tgid",
        "task_kill: p.tgid, sig if sig == 9",
    ];
    for text in plain {
        assert_eq!(beyond(text), [""; 0], "{text}");
    }
    // What is behind them, shown or only tested.
    assert_eq!(
        beyond("file_open: file if file.f_path.dentry.d_name.name == \"x\""),
        ["file.f_path.dentry.d_name.name"]
    );
    assert_eq!(beyond("file_mprotect: vma.vm_mm.owner.tgid as owner"), ["vma.vm_mm.owner.tgid"]);
    assert_eq!(beyond("bprm_check_security: bprm.buf[..16] as start"), ["bprm.buf"]);
    let found = resolved("bprm_check_security: bprm.buf[..16] as start").unwrap();
    let deep = WatchReach { deep: true, content: false };
    let none = WatchReach::default();
    assert!(found.beyond.iter().all(|why| why.holds(none) && !why.holds(deep)), "{found:?}");
    // An address, whatever is granted.
    for text in ["sb_mount: data", "socket_sendmsg: msg.msg_control as where"] {
        let found = resolved(text).unwrap();
        assert!(matches!(found.beyond.as_slice(), [why] if why.holds(deep)), "{found:?}");
    }
}
