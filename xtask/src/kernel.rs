//! The kernel matrix, and the images that Debian publishes for it.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use krsi_toolchain::cache_dir;
use serde::Deserialize;

use crate::setup::run_quietly;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    kernel: Vec<Kernel>,
}

/// A block of `tests/kernels.toml`, which documents the keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    package: String,
    suites: Vec<String>,
    #[serde(default)]
    pub(crate) append: String,
    #[serde(default, rename = "without")]
    _without: Vec<String>,
}

/// An image that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) vmlinuz: PathBuf,
    pub(crate) release: String,
}

/// Every kernel of the matrix.
pub(crate) fn table(root: &Path) -> anyhow::Result<Vec<Kernel>> {
    let path = root.join("tests/kernels.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let table: Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(table.kernel)
}

/// The kernels that `--kernel` names.
pub(crate) fn named(root: &Path, name: &str) -> anyhow::Result<Vec<Kernel>> {
    let table = table(root)?;
    let known: Vec<String> = table.iter().map(|kernel| kernel.name.clone()).collect();
    let found: Vec<Kernel> =
        table.into_iter().filter(|kernel| name == "all" || kernel.name == name).collect();
    if found.is_empty() {
        bail!("no kernel {name:?}: tests/kernels.toml has {} and \"all\"", known.join(", "));
    }
    Ok(found)
}

/// The image of a kernel, fetched when it is not there or when a newer one is asked for.
pub(crate) fn ensure(kernel: &Kernel, refresh: bool) -> anyhow::Result<Image> {
    let folder = cache_dir().join("kernels").join(&kernel.name);
    let image = |release: String| Image { vmlinuz: folder.join("vmlinuz"), release };
    if !refresh
        && let Ok(release) = fs::read_to_string(folder.join("release"))
        && folder.join("vmlinuz").is_file()
    {
        return Ok(image(release));
    }
    eprintln!("xtask: fetching kernel {}", kernel.name);
    let release = fetch(kernel, &folder).with_context(|| format!("kernel {}", kernel.name))?;
    Ok(image(release))
}

fn fetch(kernel: &Kernel, folder: &Path) -> anyhow::Result<String> {
    let apt = Apt::new(kernel, &folder.with_file_name(format!("{}.apt", kernel.name)))?;
    apt.run("apt-get", &["update", "-q"])?;
    let listed =
        apt.output("apt-cache", &["pkgnames", kernel.package.split('*').next().unwrap_or("")])?;
    let mut packages: Vec<&str> =
        listed.lines().filter(|name| matches(&kernel.package, name)).collect();
    packages.sort_by(|a, b| newest_first(a, b));
    // A name can be listed although only its source is still published.
    for package in packages {
        if apt.run("apt-get", &["download", "-q", package]).is_ok() {
            unpack(&apt.folder, folder)?;
            fs::write(folder.join("release"), package)?;
            fs::remove_dir_all(&apt.folder)?;
            return Ok(package.to_owned());
        }
    }
    bail!("no package {} in {}", kernel.package, kernel.suites.join(", "))
}

/// apt with its own sources and lists, so that the machine's are neither needed nor touched.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(kernel: &Kernel, folder: &Path) -> anyhow::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        for inner in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(inner))?;
        }
        let mut sources = String::new();
        for suite in &kernel.suites {
            let (archive, suite) = suite.split_once(' ').context("a suite is \"ARCHIVE SUITE\"")?;
            sources.push_str(&format!(
                "deb [arch=amd64 signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} main\n"
            ));
        }
        let list = folder.join("sources.list");
        fs::write(&list, sources)?;
        let set = |key: &str, value: &Path| format!("{key}={}", value.display());
        let options = vec![
            set("Dir::Etc::sourcelist", &list),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            set("Dir::State::lists", &folder.join("lists")),
            set("Dir::Cache", &folder.join("cache")),
            "Acquire::Languages=none".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ];
        Ok(Self { folder: folder.to_path_buf(), options })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.args(arguments).current_dir(&self.folder);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        run_quietly(&mut self.command(program, arguments))
    }

    fn output(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(program, arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    name.len() >= before.len() + after.len()
        && name.starts_with(before)
        && name.ends_with(after)
        && !name
            .get(before.len()..name.len() - after.len())
            .is_some_and(|middle| middle.contains("-rt"))
}

/// Compares the numbers in two package names.
fn newest_first(a: &str, b: &str) -> Ordering {
    let numbers = |name: &str| {
        let words = name.split(|character: char| !character.is_ascii_digit());
        words.filter_map(|word| word.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    numbers(b).cmp(&numbers(a))
}

/// Keeps only the kernel image of the downloaded package.
fn unpack(from: &Path, to: &Path) -> anyhow::Result<()> {
    let package = fs::read_dir(from)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    let tree = from.join("tree");
    run_quietly(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree))?;
    let image = find_image(&tree)?.context("the package holds no vmlinuz")?;
    fs::create_dir_all(to)?;
    fs::copy(image, to.join("vmlinuz"))?;
    Ok(())
}

fn find_image(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find_image(&entry.path())? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_matching_package_comes_first() {
        let pattern = "linux-image-6.1.0-*-cloud-amd64-unsigned";
        assert!(matches(pattern, "linux-image-6.1.0-56-cloud-amd64-unsigned"));
        assert!(!matches(pattern, "linux-image-6.1.0-56-rt-amd64-unsigned"));
        assert!(!matches(pattern, "linux-image-6.12.1-cloud-amd64-unsigned"));
        let mut names = ["a-6.1.0-9-b", "a-6.1.0-56-b", "a-6.1.0-10-b"];
        names.sort_by(|a, b| newest_first(a, b));
        assert_eq!(names, ["a-6.1.0-56-b", "a-6.1.0-10-b", "a-6.1.0-9-b"]);
    }
}
