//! The tables of hooks agree: the kernel contract's, the plugin contract's, the curated fields, and docs/hooks.md.
#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::fmt::Write;

use krsi_host::facade::{CuratedObject, OLDEST, Shape, curated, looked_up, rows};
use krsi_host_abi::hook::{Attach, HOOKS, Hook as AbiHook};
use krsi_plugin_schema::codec::Composite;
use krsi_plugin_schema::latest::{
    Connect, Exec, Exit, FieldRow, FileOpen, Fork, Hook, KeyKind, Kind,
};

#[test]
fn both_contracts_name_the_same_hooks_by_the_same_ids() {
    let abi: Vec<_> = HOOKS.iter().map(|row| (row.hook.id(), row.name)).collect();
    let schema: Vec<_> = Hook::all().map(|hook| (hook as u16, hook.name())).collect();
    assert_eq!(abi, schema);
}

#[test]
fn curated_fields_are_those_of_the_records_in_name_order_and_kind() {
    for row in rows() {
        let hook = Hook::from_name(row.hook.name()).unwrap();
        let found: Vec<&str> = row.fields.iter().map(|field| field.name).collect();
        let wanted: Vec<&str> = hook.fields().iter().map(|field| field.name).collect();
        assert_eq!(found, wanted, "{}", hook.name());
        for (field, &FieldRow { name, kind, .. }) in row.fields.iter().zip(hook.fields()) {
            let fits = match field.shape {
                Shape::Number => matches!(kind, Kind::Number | Kind::Signed),
                Shape::Text | Shape::Inline | Shape::Path | Shape::Dentry => kind == Kind::Text,
                Shape::Bytes(_) => kind == Kind::Bytes,
                Shape::Inode => kind == Kind::File,
                Shape::SockAddr => kind == Kind::Address,
            };
            assert!(fits, "{}.{name} is a {kind:?}", hook.name());
        }
    }
}

/// Word for the kind of value that a field has.
const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "number",
        Kind::Signed => "signed number",
        Kind::Text => "text",
        Kind::Bytes => "bytes",
        Kind::Address => "address",
        Kind::File => "file",
    }
}

/// Fields of a hook's record; those of a curated hook with their kinds.
fn fields(hook: Hook) -> String {
    let names: Vec<String> = match hook {
        Hook::BprmCheckSecurity | Hook::BprmCommittedCreds => body::<Exec<'_>>(),
        Hook::FileOpen => body::<FileOpen<'_>>(),
        Hook::SocketConnect => body::<Connect>(),
        Hook::SchedProcessFork => body::<Fork>(),
        Hook::SchedProcessExit => body::<Exit>(),
        hook => {
            let kind = |field: &FieldRow| format!("`{}` {}", field.name, word(field.kind));
            return hook.fields().iter().map(kind).collect::<Vec<_>>().join(", ");
        }
    };
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn body<T: Composite<'static>>() -> Vec<String> {
    let mut names: Vec<String> = T::FIELDS.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

fn keys(hook: AbiHook) -> String {
    let keys = hook.row().keys;
    let applies = |kind| keys.contains(looked_up(kind));
    let told = |kind| kind != KeyKind::Path || hook.has_path();
    let kinds = KeyKind::ALL.iter().filter(|kind| applies(**kind) && told(**kind));
    kinds.map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

fn table() -> String {
    let mut out = String::from(
        "# Hooks\n\n\
        Generated from the code by a test (`KRSI_BLESS=1 cargo test -p krsi-host --test hook_table`); \
        do not edit.\n\n\
        A plugin subscribes to a hook by its name. The fields are those of the hook's record in\n\
        `krsi_plugin::record`, with the kind of their values: a number is a `u64`, a signed number an `i64`, a text a\n\
        `Text`, bytes a `Cow<[u8]>`, an address an `Address` and a file a `FileKey`. The first six hooks have types of\n\
        their own, such as `Exec`. A field that a kernel lacks, or that cannot be read, is `None`.\n\n\
        In the column of deny keys, the field in parentheses is the one that a rule on a file, a path or an address\n\
        applies to; if there are two, the rule applies to each. The first six hooks have no parentheses: there such a\n\
        rule applies to the file with its path, or to the address. *Kernel* is the oldest version with the hook.\n\n\
        If a hook is missing, or left out by `--without`, the hook after *or* in its row is attached as its substitute.\n\
        Records and rules use the missing hook's name, and the deny keys of its row apply. A substitute cannot resolve\n\
        a full path: there the rule's `if_unresolved` decides whether a rule on a path applies.\n\n\
        | hook | record fields | deny keys that apply | can deny | kernel |\n\
        | --- | --- | --- | --- | --- |\n",
    );
    for row in HOOKS {
        let hook = Hook::from_name(row.name).unwrap();
        let curated = curated(row.hook);
        let object = match curated.map_or(CuratedObject::None, |curated| curated.object) {
            CuratedObject::None => String::new(),
            CuratedObject::File(field) | CuratedObject::Network(field) => {
                let second = curated.and_then(|curated| curated.second);
                let second = second.map_or(String::new(), |field| format!(", `{field}`"));
                format!(" (`{field}`{second})")
            }
        };
        let deny = match row.attach {
            Attach::LsmDeny => "yes",
            Attach::LsmObserve | Attach::Tracepoint => "no",
        };
        let since = curated.map_or(OLDEST, |curated| curated.since);
        let before = if since == OLDEST { "≤ " } else { "" };
        let or = curated.and_then(|curated| curated.or);
        let or = or.map_or(String::new(), |other| format!(", or `{}`", other.hook.name()));
        writeln!(
            out,
            "| `{}` | {} | {}{object} | {deny} | {before}{since}{or} |",
            row.name,
            fields(hook),
            keys(row.hook),
        )
        .unwrap();
    }
    out
}

#[test]
fn docs_hooks_md_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hooks.md");
    if std::env::var_os("KRSI_BLESS").is_some() {
        std::fs::write(path, table()).unwrap();
        return;
    }
    let found = std::fs::read_to_string(path).unwrap();
    assert_eq!(found, table(), "run it with KRSI_BLESS=1");
}
