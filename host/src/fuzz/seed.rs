//! Inputs to begin with that several targets share: actions, and types as a kernel would tell them.

use krsi_plugin_schema::latest::{
    Action, Alert, AskSamples, Deny, Evidence, FileKey, HookSet, IfUnread, IfUnresolved, Kill,
    LabelRule, LabelTest, Metric, ProcessKey, Revoke, Rule, RuleKey, RuleMode, SetLabel, Subject,
};

/// Lists of one action each.
pub(crate) fn actions() -> Vec<Vec<u8>> {
    let process = ProcessKey { start_boot_ns: 7, tgid: 42 };
    let file = FileKey { ino: 11, dev: 3, generation: 5 };
    let keys = [
        RuleKey::Process(process),
        RuleKey::Lineage(process),
        RuleKey::File(file),
        RuleKey::Path { prefix: "/etc".into(), if_unresolved: IfUnresolved::Apply },
        RuleKey::Digest([7; 32]),
        RuleKey::Cgroup(9),
        RuleKey::Hook,
    ];
    let rule = |key| Rule {
        token: 3,
        cause_boot_ns: 99,
        key,
        subject: Subject::Lineage(process),
        labels: LabelTest { has: vec!["keep".into()], lacks: vec!["drop".into()] },
        hooks: HookSet(6),
        ttl_ms: 60_000,
        reason: "fuzz".into(),
    };
    let deny = |key| {
        let (mode, if_unread) = (RuleMode::Audit, IfUnread::Apply);
        Action::Deny(Deny { rule: rule(key), errno: 1, mode, if_unread })
    };
    let others = [
        Action::Revoke(Revoke { token: 3 }),
        Action::Kill(Kill { token: 4, process }),
        Action::Alert(Alert { text: "seen".into(), technique: "T1496".into(), ..Alert::default() }),
        Action::Evidence(Evidence {
            what: "a word".into(),
            weight: 60,
            threshold: 100,
            ..Evidence::default()
        }),
        Action::Metric(Metric { name: "opens".into(), value: 1.5, ..Metric::default() }),
        Action::LabelRule(LabelRule { rule: rule(RuleKey::Hook), label: "keep".into() }),
        Action::AskSamples(AskSamples { token: 6, process, times: 3, ..AskSamples::default() }),
        Action::SetLabel(SetLabel { token: 5, process, gives: true, ..SetLabel::default() }),
        Action::Unknown(77),
    ];
    let all = keys.into_iter().map(deny).chain(others);
    let list = |action: Action<'_>| {
        let mut list = Vec::new();
        action.push(&mut list).unwrap();
        list
    };
    all.map(list).collect()
}

/// Kinds of `include/uapi/linux/btf.h`.
const INT: u32 = 1;
const PTR: u32 = 2;
const STRUCT: u32 = 4;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
/// Bytes of the header.
const HEADER: u32 = 24;

/// BTF as it is made; ids count from 1.
#[derive(Default)]
struct Types {
    types: Vec<u8>,
    strings: Vec<u8>,
    made: u32,
}

impl Types {
    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn add(&mut self, name: &str, kind: u32, len: usize, size: u32, body: &[u32]) -> u32 {
        let words = [self.name(name), (kind << 24) | len as u32, size];
        for word in words.iter().chain(body) {
            self.types.extend(word.to_le_bytes());
        }
        self.made += 1;
        self.made
    }

    fn structure(&mut self, name: &str, bytes: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut body = Vec::new();
        for (name, of, offset) in members {
            body.extend([self.name(name), *of, offset * 8]);
        }
        self.add(name, STRUCT, members.len(), bytes, &body)
    }

    fn function(&mut self, name: &str, returns: u32, arguments: &[(&str, u32)]) {
        let mut body = Vec::new();
        for (name, of) in arguments {
            body.extend([self.name(name), *of]);
        }
        let of = self.add("", FUNC_PROTO, arguments.len(), returns, &body);
        self.add(name, FUNC, 0, of, &[]);
    }
}

/// Types of a few hooks, and of what they are given.
pub(crate) fn types() -> Vec<u8> {
    let mut types = Types { strings: vec![0], ..Types::default() };
    let int = |types: &mut Types, name, bytes: u32, encoding: u32| {
        types.add(name, INT, 0, bytes, &[(encoding << 24) | (bytes * 8)])
    };
    let (signed, long) = (int(&mut types, "int", 4, 1), int(&mut types, "long unsigned int", 8, 0));
    let (short, letter) =
        (int(&mut types, "short unsigned int", 2, 0), int(&mut types, "char", 1, 2));
    let mode = types.add("umode_t", TYPEDEF, 0, short, &[]);
    let constant = types.add("", CONST, 0, letter, &[]);
    let text = types.add("", PTR, 0, constant, &[]);
    let name = types.structure("qstr", 16, &[("hash_len", long, 0), ("name", text, 8)]);
    let inode = types.structure(
        "inode",
        64,
        &[("i_mode", mode, 0), ("i_uid", signed, 4), ("i_ino", long, 8)],
    );
    let inode = types.add("", PTR, 0, inode, &[]);
    let dentry = types.structure("dentry", 48, &[("d_name", name, 0), ("d_inode", inode, 16)]);
    let dentry = types.add("", PTR, 0, dentry, &[]);
    let path = types.structure("path", 16, &[("mnt", dentry, 0), ("dentry", dentry, 8)]);
    let file = types.structure("file", 64, &[("f_path", path, 0), ("f_inode", inode, 16)]);
    let (file, path) = (types.add("", PTR, 0, file, &[]), types.add("", PTR, 0, path, &[]));
    for (hook, arguments) in [
        ("file_open", &[("file", file)][..]),
        ("inode_mkdir", &[("dir", inode), ("dentry", dentry), ("mode", mode)]),
        ("path_chmod", &[("path", path), ("mode", mode)]),
        ("inode_getattr", &[("path", path)]),
    ] {
        types.function(&format!("bpf_lsm_{hook}"), signed, arguments);
        types.function(&format!("security_{hook}"), signed, arguments);
    }
    let (len, strings) = (types.types.len() as u32, types.strings.len() as u32);
    let header = [HEADER, 0, len, len, strings].map(u32::to_le_bytes).concat();
    [&[0x9f, 0xeb, 1, 0][..], &header, &types.types, &types.strings].concat()
}
