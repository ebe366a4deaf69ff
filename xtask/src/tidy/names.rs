//! No two types of one crate with one name: whoever reads one would look at the other.

use std::collections::BTreeMap;

use super::tokens::{Token, tokens};
use super::{File, Finding};

/// Words before the name of a type.
const KINDS: [&str; 5] = ["struct", "enum", "union", "trait", "type"];
/// Crates that hold several versions of one thing, each in a module of its own: the same name means the same.
const VERSIONED: &[&str] = &["wit/schema/", "host/src/plugin/world/"];
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

/// Types that are declared in modules, with their lines: none of a function's own, none that an `impl` or a macro
/// makes.
fn types(words: &[Token]) -> Vec<(usize, String)> {
    let declares = |pair: &[Token]| match pair {
        [kind, name] if kind.depth == 0 && KINDS.contains(&kind.text.as_str()) => {
            let is_name = name.text.starts_with(char::is_uppercase);
            is_name.then(|| (name.line, name.text.clone()))
        }
        _ => None,
    };
    words.windows(2).filter_map(declares).collect()
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
        check(("wit/schema/src/a.rs", "struct A;"), ("wit/schema/src/b.rs", "struct A;"), 0);
        check(("host/src/a.rs", "struct Args;"), ("host/src/b.rs", "struct Args;"), 0);
        check(("tests/vm/a.rs", "struct A;"), ("tests/vm/b.rs", "struct A;"), 1);
    }
}
