//! Checks of single source files: first line, names, attributes.

use super::{File, Finding};

/// Names that say nothing about what a file holds.
const REFUSED: &[&str] = &[
    "util",
    "utils",
    "common",
    "core",
    "helper",
    "helpers",
    "misc",
    "types",
    "manager",
    "handler",
    "base",
    "prelude",
    "constants",
];

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let first = file.text.lines().next().unwrap_or_default();
    if !first.starts_with("//! ") {
        findings.push(Finding::new(
            &file.path,
            1,
            "the first line must say what the file holds: `//! …`",
        ));
    }
    for part in file.path.trim_end_matches(".rs").split('/') {
        if REFUSED.contains(&part) {
            findings.push(Finding::new(
                &file.path,
                1,
                format!("{part:?} is a name that says nothing"),
            ));
        }
    }
    // Spelled apart, or this file would find itself.
    let (allow, ignore) = (concat!("#[", "allow("), concat!("#[", "ignore"));
    for (at, line) in file.text.lines().enumerate() {
        let line = line.trim_start();
        let inner = line.replacen("#![", "#[", 1);
        if inner.starts_with(allow) && !line.contains("reason") && !follows_reason(&file.text, at) {
            findings.push(Finding::new(&file.path, at + 1, "an allowed lint needs a reason"));
        }
        if inner.starts_with(ignore) {
            findings.push(Finding::new(&file.path, at + 1, "an ignored test is no test"));
        }
    }
    findings
}

/// An attribute that was wrapped has its reason on one of the next lines.
fn follows_reason(text: &str, at: usize) -> bool {
    text.lines().skip(at).take(4).any(|line| line.contains("reason ="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&File { path: path.into(), text: text.into() }).len()
    }

    #[test]
    fn each_check_can_fail() {
        assert_eq!(findings("host/src/loss.rs", "//! Losses.\n"), 0);
        assert_eq!(findings("host/src/loss.rs", "use x;\n"), 1);
        assert_eq!(findings("host/src/utils.rs", "//! Things.\n"), 1);
        assert_eq!(findings("host/src/common/mod.rs", "//! Things.\n"), 1);
        assert_eq!(findings("a.rs", concat!("//! A.\n#[", "allow(dead_code)]\n")), 1);
        assert_eq!(
            findings("a.rs", concat!("//! A.\n#[", "allow(dead_code, reason = \"x\")]\n")),
            0
        );
        assert_eq!(findings("a.rs", concat!("//! A.\n#[", "ignore]\n")), 1);
    }
}
