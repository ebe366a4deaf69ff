//! Checks of documents: purposes of dependencies, the changelog, links to decisions, the contract, the
//! table of evasions.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{File, Finding};

/// Each dependency states its purpose on its line.
pub(crate) fn dependencies(manifest: &str) -> Vec<Finding> {
    let mut inside = false;
    let mut findings = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        } else if inside && line.contains('=') && !line.contains("# ") {
            let name = line.split('=').next().unwrap_or_default().trim();
            findings.push(Finding::new(
                "Cargo.toml",
                at + 1,
                format!("what is {name} for? `# purpose`"),
            ));
        }
    }
    findings
}

/// The page of words.
pub(crate) const GLOSSARY: &str = "docs/glossary.md";
/// Words that a reader can be asked to know.
const WORDS_MAX: usize = 60;

/// The glossary explains no more words than a reader can be asked to know.
pub(crate) fn glossary(text: &str) -> Vec<Finding> {
    let rows = text.lines().filter(|line| line.starts_with("| ")).count();
    // The head of each table and the line below it are no words.
    let words = rows - 2 * text.lines().filter(|line| line.starts_with("| ---")).count();
    if words <= WORDS_MAX {
        return Vec::new();
    }
    vec![Finding::new(GLOSSARY, 1, format!("{words} words, more than {WORDS_MAX}: replace one"))]
}

/// The changelog has a place for what is not released yet.
pub(crate) fn changelog(text: &str) -> Vec<Finding> {
    if text.lines().any(|line| line == "## Unreleased") {
        return Vec::new();
    }
    vec![Finding::new("CHANGELOG.md", 1, "no `## Unreleased`")]
}

/// Every decision that is mentioned exists.
pub(crate) fn adr_links(root: &Path, files: &[File]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut check = |path: &str, text: &str| {
        for (at, line) in text.lines().enumerate() {
            for (start, _) in line.match_indices("docs/adr/") {
                let rest = line.get(start..).unwrap_or_default();
                let end = rest.find(".md").map_or(0, |end| end + 3);
                let link = rest.get(..end).unwrap_or_default();
                if !link.is_empty() && !link.contains(['N', '…', '{']) && !root.join(link).exists()
                {
                    findings.push(Finding::new(path, at + 1, format!("{link} does not exist")));
                }
            }
        }
    };
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        check(
            name,
            &fs::read_to_string(root.join(name))
                .with_context(|| format!("{name} must be there"))?,
        );
    }
    for file in files {
        check(&file.path, &file.text);
    }
    Ok(findings)
}

/// A contract that was released stays as it was: `wit/released.txt` holds the length and a checksum
/// of each released file.
pub(crate) fn contract(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let list = root.join("wit/released.txt");
    let mut findings = Vec::new();
    let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (Some(path), Some(sum)) = (words.next(), words.next()) else { continue };
        let bytes = fs::read(root.join(path)).with_context(|| path.to_owned())?;
        let now = checksum(&bytes);
        if now != sum {
            let what = format!("{path} was released as {sum} and is now {now}: make a new version");
            findings.push(Finding::new("wit/released.txt", at + 1, what));
        }
    }
    Ok(findings)
}

/// The table of evasions.
pub(crate) const EVASIONS: &str = "docs/evasions.md";

/// What is promised, and which test shows it.
pub(crate) const RELIABILITY: &str = "docs/reliability.md";

/// Names of the VM tests.
fn vm_tests(files: &[File]) -> Vec<&str> {
    let files = files.iter().filter(|file| file.path.starts_with("tests/vm/"));
    files
        .flat_map(|file| file.text.split("(\"").skip(1))
        .filter_map(|rest| rest.split_once("\", Boot::").map(|(name, _)| name))
        .collect()
}

/// The last column of each table of promises names tests that exist: of a VM, or functions.
pub(crate) fn promises(text: &str, files: &[File]) -> Vec<Finding> {
    let tests = vm_tests(files);
    let exists = |name: &str| {
        let function = format!("fn {name}(");
        tests.contains(&name) || files.iter().any(|file| file.text.contains(&function))
    };
    let rows = text.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let named = rows.flat_map(|(at, line)| {
        let last = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        last.split('`').skip(1).step_by(2).map(move |name| (at, name))
    });
    let absent = named.filter(|(_, name)| !name.contains(['/', ' ']) && !exists(name));
    absent
        .map(|(at, name)| Finding::new(RELIABILITY, at + 1, format!("there is no test {name}")))
        .collect()
}

/// The last column of the table of evasions names tests that exist, and every test of an evasion.
pub(crate) fn evasions(text: &str, files: &[File]) -> Vec<Finding> {
    let tests = vm_tests(files);
    let mut findings = Vec::new();
    let mut named = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(last) = line.trim_end_matches('|').rsplit('|').next() else { continue };
        if !line.starts_with('|') {
            continue;
        }
        for name in last.split('`').skip(1).step_by(2) {
            if !tests.contains(&name) {
                findings.push(Finding::new(EVASIONS, at + 1, format!("there is no test {name}")));
            }
            named.push(name);
        }
    }
    let missing = tests.iter().filter(|name| name.starts_with("evasion_") && !named.contains(name));
    let missing = missing.map(|name| Finding::new(EVASIONS, 1, format!("{name} has no row")));
    findings.extend(missing);
    findings
}

/// FNV-1a over all bytes: enough to notice an edit, which is all that is asked of it.
fn checksum(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_can_fail() {
        assert_eq!(dependencies("[workspace.dependencies]\na = \"1\"  # counts\n").len(), 0);
        assert_eq!(dependencies("[workspace.dependencies]\na = \"1\"\n[x]\nb = 1\n").len(), 1);
        assert_eq!(changelog("# Changelog\n\n## Unreleased\n").len(), 0);
        assert_eq!(changelog("# Changelog\n").len(), 1);
        let link =
            |name: &str| File { path: "a.rs".into(), text: format!("//! See docs/adr/{name}.md.") };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let missing = link("0000-no-such-decision");
        assert_eq!(adr_links(root, &[link("0002-postcard-batches")]).unwrap().len(), 0);
        assert_eq!(adr_links(root, &[missing]).unwrap().len(), 1);
        let tests = "(\"evasion_a\", Boot::Default, a), (\"file_b\", Boot::Default, b),";
        let tests = [File { path: "tests/vm/evasion/mod.rs".into(), text: tests.into() }];
        assert_eq!(evasions("| `act` | holds | `evasion_a`, `file_b` |\n", &tests).len(), 0);
        assert_eq!(evasions("| act | holds | `evasion_a`, `file_c` |\n", &tests).len(), 1);
        assert_eq!(evasions("| act | holds | `file_b` |\n`evasion_a`\n", &tests).len(), 1);
        let unit = File { path: "host/src/a.rs".into(), text: "fn it_holds() {".into() };
        let all: Vec<File> = tests.into_iter().chain([unit]).collect();
        assert_eq!(
            promises("| it holds | `evasion_a`, `it_holds`, `host/src/` |\n", &all).len(),
            0
        );
        assert_eq!(promises("| it holds | `it_does_not` |\n`neither`\n", &all).len(), 1);
        assert_eq!(checksum(b"a"), "af63dc4c8601ec8c");
    }
}
