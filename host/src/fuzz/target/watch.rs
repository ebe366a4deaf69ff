//! Watches: texts of a grammar and of none; a refusal is one line that says where, and what is taken is taken again.

use std::sync::LazyLock;
use std::time::Duration;

use crate::errno::errno_number;
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::kfunc::Kfuncs;
use crate::kernel::spec::watch::{self, WatchError, is_on};

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome, words};

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "watches",
    seeds,
    words: &[
        " if ",
        " deny EPERM",
        " audit",
        " && ",
        " || ",
        "!",
        "(",
        ")",
        "[",
        "]",
        "\"",
        "'",
        "==",
        "!=",
        "<",
        "<=",
        " in ",
        "0o4755",
        "04000",
        "0x",
        "18446744073709551615",
        "-1",
        ".startsWith(",
        ".endsWith(",
        ".contains(",
        "any(mode, 0o4000)",
        "bits(mode, 0o777)",
        "present(",
        "ip(",
        "file.f_path",
        "dentry.d_name.name",
        " as x",
        "generation(file)",
        "current.mm.exe_file",
        "caller.uid",
        "xattr[\"user.x\"]",
        "label(\"p.a\")",
        " label host.a",
        "true",
        "false",
        "\u{202e}",
        "é",
    ],
    run,
    slow: Duration::from_secs(10),
    longest: 5000,
};

fn seeds() -> Vec<Vec<u8>> {
    [
        "file_open",
        "file_open: file.f_path deny EPERM",
        "file_open: file.f_inode.i_ino as ino if ino == 7 || ino in [1, 2, 3] deny 13",
        "inode_mkdir: dentry.d_name.name as name, mode if bits(mode, 0o777) == 0o751 deny EACCES",
        "inode_mkdir: mode if any(mode, 0o4000) && !(dentry.d_name.name.startsWith(\"a\") || mode < 8)",
        "path_chmod: path, mode if path.startsWith(\"/etc/\") audit",
        "inode_getattr: path.dentry.d_inode.i_uid if present(path.dentry.d_inode) && caller.uid != 0",
        "file_open if current.mm.exe_file.f_path.endsWith('/sh') deny EPERM",
        "socket_connect if label(\"host.memfd\") && !label('p.b') deny EACCES",
        "bprm_check_security if bprm.file.f_inode.i_nlink == 0 label host.memfd",
        "file_open: file.xattr[\"user.mark\"], file.fsverity if file.f_inode.i_mode == 0o100644",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Types of hooks and of what they are given, of a kernel of the matrix.
const TYPES: &[u8] = include_bytes!("../../kernel/btf/6.12.btf");

static KERNEL: LazyLock<KernelTypes> =
    LazyLock::new(|| KernelTypes::parse(TYPES, "6.12.btf").unwrap());

fn run(input: &[u8]) -> FuzzOutcome {
    let text = String::from_utf8_lossy(input);
    let kernel = &*KERNEL;
    let parsed = watch::parse(&text, errno_number);
    let _on = is_on(&text, "file_open");
    let resolved = parsed.and_then(|mut watch| {
        watch.number_labels(|name| Ok::<_, WatchError>((name.len() & 63) as u8))?;
        let prototype = |hook: &str| kernel.prototype(&format!("bpf_lsm_{hook}"));
        let once = watch.resolve(kernel, &Kfuncs::of(kernel), prototype);
        let twice = watch.resolve(kernel, &Kfuncs::of(kernel), prototype);
        assert_eq!(once, twice, "the same text means two things");
        once
    });
    match resolved {
        Ok(resolved) => {
            assert!(resolved.fields.len() <= 12, "more fields than captures");
            outcome((
                resolved.hook,
                resolved.can_deny,
                resolved.fields.len(),
                resolved.beyond.len(),
            ))
        }
        Err(error) => {
            let told = error.to_string();
            assert!(!told.is_empty() && told.len() < 64 << 10, "{} bytes", told.len());
            assert!(!told.chars().any(char::is_control), "more than a line: {told:?}");
            words(&told)
        }
    }
}
