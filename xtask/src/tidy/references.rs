//! Paths of the repository that documents and comments name are there.

use std::path::Path;

use super::{File, Finding};

/// Folders of the repository, by which a path that is named is known for one.
const FOLDERS: [&str; 8] =
    ["host/", "ebpf/", "guest-sdk/", "plugins/", "wit/", "tests/", "xtask/", "docs/"];
/// What stands for something else in a path: `NAME.wasm`, `v0_N`, `{a,b}`, `*`.
const PLACEHOLDERS: [&str; 7] = ["*", "…", "{", "<", "NAME", "NNNN", "_N"];
/// Files of a plugin's own crate, which documents for authors name.
const AUTHORS: [&str; 1] = ["tests/scenario.rs"];

/// Looks at the documents whole, and at the comments of sources.
pub(crate) fn check(root: &Path, documents: &[File], sources: &[File]) -> Vec<Finding> {
    let exists = |path: &str| {
        let (path, is_source) = (path.trim_end_matches('/'), path.ends_with(".rs"));
        let ends = |file: &File| file.path == path || file.path.ends_with(&format!("/{path}"));
        root.join(path).exists() || (is_source && sources.iter().any(ends))
    };
    let missing = |file: &File, line: usize, path: &str| {
        (!exists(path)).then(|| Finding::new(&file.path, line, format!("{path} does not exist")))
    };
    let mut findings = Vec::new();
    for (file, is_source) in
        documents.iter().map(|file| (file, false)).chain(sources.iter().map(|file| (file, true)))
    {
        for (at, line) in file.text.lines().enumerate() {
            if is_source && !line.trim_start().starts_with("//") {
                continue;
            }
            let quoted = line.split('`').skip(1).step_by(2).filter(|text| is_path(text));
            findings.extend(quoted.filter_map(|path| missing(file, at + 1, path)));
        }
    }
    findings
}

/// Whether links of documents lead to files that are there. What is elsewhere, and places in a page, are left to readers.
pub(crate) fn links(root: &Path, documents: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in documents {
        let folder = root.join(&file.path).parent().map(Path::to_owned).unwrap_or_default();
        for (at, line) in file.text.lines().enumerate() {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let paths = targets.map(|target| target.split('#').next().unwrap_or_default());
            for path in paths.filter(|path| !path.is_empty() && !path.contains(':')) {
                if !folder.join(path).exists() {
                    let what = format!("the link to {path} leads nowhere");
                    findings.push(Finding::new(&file.path, at + 1, what));
                }
            }
        }
    }
    findings
}

/// Whether a text in back-ticks is a path of the repository.
fn is_path(text: &str) -> bool {
    let is_plain =
        !text.contains(char::is_whitespace) && !PLACEHOLDERS.iter().any(|word| text.contains(word));
    // `x.rs` is any file.
    let is_example =
        text.trim_end_matches(".rs").rsplit('/').next().is_some_and(|name| name.len() == 1);
    let is_ours = FOLDERS.iter().any(|folder| text.starts_with(folder));
    let is_path = is_ours || text.ends_with(".rs");
    is_plain && is_path && !is_example && !text.starts_with('/') && !AUTHORS.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let sources = [file("host/src/kernel/map/mod.rs", "")];
        let document = |text: &str| check(root, &[file("docs/a.md", text)], &sources).len();
        assert_eq!(document("as `host/src/lib.rs` and `docs/adr/` have it"), 0);
        assert_eq!(document("as `host/src/no_such_file.rs` has it"), 1);
        assert_eq!(document("as `host/no/such/folder/` has it"), 1);
        assert_eq!(
            document("`map/mod.rs`, `wit/schema/src/v0_N`, `plugins/<name>/`, `cargo run`"),
            0
        );
        assert_eq!(document("`kernel/map.rs`"), 1);
        let linked = |text: &str| links(root, &[file("docs/a.md", text)]).len();
        assert_eq!(linked("[a](glossary.md#words), [b](https://example.org/x), [c](#here)"), 0);
        assert_eq!(linked("[a](../README.md) and [b](no-such.md)"), 1);
        let comment = |text: &str| check(root, &[], &[file("host/src/a.rs", text)]).len();
        assert_eq!(comment("//! In `host/src/no_such_file.rs`.\nlet a = \"`host/x/y`\";\n"), 1);
    }
}
