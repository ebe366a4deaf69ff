//! The list of every VM test, by kernel and boot: what is lost or new shows as a line.
//!
//! ```text
//! KERNEL BOOT NAME
//! 6.12 Default rule_path_denies_exec
//! ```
//! A test that is renamed, taken out or no longer run on a kernel loses assertions; so none does in silence.

use std::collections::BTreeSet;

/// Name of the list, below this crate.
pub const FILE: &str = "vm_tests.txt";

/// First lines of the file of VM tests.
const HEAD: &str = "\
# Every VM test: kernel, boot, name. A line that goes takes assertions along: say in the commit where they are
# now. Written by `KRSI_BLESS=1 cargo xtask test list::`.
";

/// The text of a list, in the order of the tests.
pub fn text<'a>(tests: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> String {
    let lines = tests.map(|(kernel, boot, name)| format!("{kernel} {boot} {name}\n"));
    HEAD.to_owned() + &lines.collect::<String>()
}

/// What is in one text and not in the other, one line each; the order is no matter.
#[must_use]
pub fn differences(listed: &str, found: &str) -> Vec<String> {
    let lines = |text: &'static str, of: &str, other: &str| {
        let other: BTreeSet<&str> = tests(other).collect();
        let of = tests(of).filter(|line| !other.contains(line));
        of.map(|line| format!("{line} {text}")).collect::<Vec<_>>()
    };
    let gone = lines("is in the list and no test any more", listed, found);
    [gone, lines("is a test and not in the list", found, listed)].concat()
}

fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_what_comes_is_named() {
        let list =
            |names: &[&'static str]| text(names.iter().map(|name| ("6.12", "Default", *name)));
        assert!(differences(&list(&["a", "b"]), &list(&["b", "a"])).is_empty());
        let found = differences(&list(&["a", "b"]), &list(&["b", "c"]));
        let gone = "6.12 Default a is in the list and no test any more";
        assert_eq!(found, [gone, "6.12 Default c is a test and not in the list"]);
    }
}
