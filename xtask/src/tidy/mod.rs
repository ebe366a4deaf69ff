//! `cargo xtask tidy`: the test of the house itself. Each check names a place and what is wrong there.

mod confine;
mod documents;
mod fillers;
mod layers;
mod names;
mod references;
mod source;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

/// Files beyond this are listed as places to look; a size is a question, not a verdict.
const LONG: usize = 400;

/// A source file.
pub(crate) struct File {
    /// Path below the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

/// Runs every check.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let files = files(root)?;
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).with_context(|| format!("{name} must be there"))
    };
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(source::check(file));
        findings.extend(confine::check(file));
        findings.extend(fillers::check(file));
    }
    findings.extend(layers::check(&read("ARCHITECTURE.md")?, &files));
    findings.extend(names::check(&files));
    let documents = documents(root)?;
    findings.extend(references::check(root, &documents, &files));
    findings.extend(references::links(root, &documents));
    findings.extend(documents::glossary(&read(documents::GLOSSARY)?));
    findings.extend(documents::dependencies(&read("Cargo.toml")?));
    findings.extend(documents::changelog(&read("CHANGELOG.md")?));
    findings.extend(documents::adr_links(root, &files)?);
    findings.extend(documents::contract(root)?);
    findings.extend(documents::evasions(&read(documents::EVASIONS)?, &files));
    findings.extend(documents::promises(&read(documents::RELIABILITY)?, &files));
    for file in files.iter().filter(|file| file.text.lines().count() > LONG) {
        println!("tidy: note: {} has {} lines", file.path, file.text.lines().count());
    }
    for finding in &findings {
        println!("{}:{}: {}", finding.path, finding.line, finding.what);
    }
    println!("tidy: {} files, {} findings", files.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every Rust file of the workspace.
fn files(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for folder in ["host", "ebpf", "guest-sdk", "plugins", "wit", "tests", "xtask"] {
        walk(root, &root.join(folder), ".rs", &mut files)?;
    }
    Ok(files)
}

/// Every document that people read.
fn documents(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for folder in ["docs", "plugins", "tests", "host"] {
        walk(root, &root.join(folder), ".md", &mut files)?;
    }
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root.join(name)).with_context(|| name.to_owned())?;
        files.push(File { path: name.to_owned(), text });
    }
    Ok(files)
}

/// Files below a folder whose names end so.
fn walk(root: &Path, folder: &Path, end: &str, files: &mut Vec<File>) -> anyhow::Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(root, &path, end, files)?;
        } else if path.to_string_lossy().ends_with(end) {
            let shown = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            files.push(File { path: shown, text: fs::read_to_string(&path)? });
        }
    }
    Ok(())
}
