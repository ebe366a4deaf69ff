//! No two types of one crate with one name: whoever reads one would look at the other.

use std::collections::BTreeMap;

use super::tokens::{Token, tokens};
use super::{File, Finding};

/// Words before the name of a type.
const KINDS: [&str; 5] = ["struct", "enum", "union", "trait", "type"];
/// Crates that hold several versions of one thing, each in a module of its own: the same name means the same.
const VERSIONED: &[&str] = &["wit/schema/", "host/src/plugin/world/v0_"];
/// What clap's derive is told to parse is called so beside each verb.
const VERBS: &str = "Args";

pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut known: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut findings = Vec::new();
    for file in files {
        let Some(crate_of) = crate_of(&file.path) else { continue };
        if VERSIONED.iter().any(|versioned| file.path.starts_with(versioned)) {
            continue;
        }
        for (line, name) in types(&tokens(&file.text)).into_iter().filter(|(_, name)| name != VERBS)
        {
            let at = format!("{}:{line}", file.path);
            match known.get(&(crate_of.to_owned(), name.clone())) {
                Some(first) => {
                    let what = format!("{name} is a type at {first} too: another name for one");
                    findings.push(Finding::new(&file.path, line, what));
                }
                None => drop(known.insert((crate_of.to_owned(), name), at)),
            }
        }
    }
    findings
}

/// The folder of the crate; a test or a bench that is a file is a crate by itself, and has few types.
fn crate_of(path: &str) -> Option<&str> {
    if path.starts_with("tests/vm/") {
        return Some("tests/vm");
    }
    path.split_once("/src/").map(|(folder, _)| folder)
}

/// Types that are declared in modules, or in what a macro is given there, with their lines: none of a function's own, and
/// none that an `impl` makes.
fn types(words: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Whether the brackets that are open are those of a macro's call in a module.
    let mut is_given = false;
    for (at, word) in words.iter().enumerate() {
        if word.depth == 0 && matches!(word.text.as_str(), "{" | "(") {
            is_given = is_macro_call(words.get(..at).unwrap_or_default());
        }
        let is_declared = word.depth == 0 || word.depth == 1 && is_given;
        let name = words.get(at + 1).filter(|name| name.text.starts_with(char::is_uppercase));
        if is_declared && KINDS.contains(&word.text.as_str()) {
            found.extend(name.map(|name| (name.line, name.text.clone())));
        }
    }
    found
}

/// Whether tokens end with a macro's name and its sign. What `macro_rules!` makes has its names from elsewhere.
fn is_macro_call(before: &[Token]) -> bool {
    match before {
        [.., name, sign] => sign.text == "!" && name.text != "macro_rules",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> usize {
        let file =
            |(path, text): &(&str, &str)| File { path: (*path).into(), text: (*text).into() };
        check(&files.iter().map(file).collect::<Vec<_>>()).len()
    }

    #[test]
    fn a_name_is_taken_once_in_a_crate() {
        let check = |one: (&str, &str), other: (&str, &str), expected: usize| {
            assert_eq!(findings(&[one, other]), expected, "{one:?} {other:?}");
        };
        check(("host/src/a.rs", "struct A;"), ("host/src/b.rs", "enum A {}"), 1);
        check(("host/src/a.rs", "struct A;"), ("host/src/b.rs", "type A = u8;"), 1);
        check(("host/src/a.rs", "struct A;"), ("xtask/src/b.rs", "enum A {}"), 0);
        check(("host/src/a.rs", "struct A;"), ("host/src/b.rs", "fn f() { struct A; }"), 0);
        check(("host/src/a.rs", "struct A;"), ("host/src/b.rs", "mod c { struct A; }"), 1);
        check(
            ("host/src/a.rs", "struct A;"),
            ("host/src/b.rs", "impl B for C { type A = u8; }"),
            0,
        );
        check(
            ("host/src/a.rs", "struct A;"),
            ("host/src/b.rs", "m! { pub struct A { a: u8 } }"),
            1,
        );
        check(
            ("host/src/a.rs", "struct A;"),
            ("host/src/b.rs", "macro_rules! m { () => { struct A; } }"),
            0,
        );
        check(("wit/schema/src/a.rs", "struct A;"), ("wit/schema/src/b.rs", "struct A;"), 0);
        check(("host/src/a.rs", "struct Args;"), ("host/src/b.rs", "struct Args;"), 0);
        check(("tests/vm/a.rs", "struct A;"), ("tests/vm/b.rs", "struct A;"), 1);
    }
}
