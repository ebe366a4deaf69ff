//! What a VM runs: the host and the fixtures, static, and the plugins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::initramfs::Placed;
use crate::setup::{self, run_quietly};

/// The target of everything that is built here; static binaries run in any guest.
pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Paths of what was built.
pub(crate) struct Artefacts {
    binaries: PathBuf,
    plugins: Vec<PathBuf>,
}

impl Artefacts {
    /// All of it, placed below `/krsi` in the guest.
    pub(crate) fn files(&self) -> Vec<Placed> {
        let binary =
            |name: &str| Placed { from: self.binaries.join(name), to: format!("/krsi/{name}") };
        let plugin = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Placed { from: path.clone(), to: format!("/krsi/{name}") }
        };
        let binaries = [binary("krsi-host"), binary("stand-in-miner")].into_iter();
        binaries.chain(self.plugins.iter().map(plugin)).collect()
    }
}

/// Cargo with the flags that make static binaries, shared by builds and tests so that wasmtime is
/// compiled once.
pub(crate) fn cargo(root: &Path, verb: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).arg(verb).args(["--target", TRIPLE]);
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static");
    command.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    command
}

/// Builds all of it.
pub(crate) fn build(root: &Path) -> anyhow::Result<Artefacts> {
    setup::tools()?;
    let mut host = cargo(root, "build");
    host.args(["--package", "krsi-host", "--package", "krsi-tests", "--bins"]);
    ensure!(host.status()?.success(), "building the host failed");
    let target = root.join("target");
    let built = target.join(TRIPLE).join("debug");
    let binaries = target.join("vm/bin");
    fs::create_dir_all(&binaries)?;
    for name in ["krsi-host", "stand-in-miner"] {
        strip(&built.join(name), &binaries.join(name))?;
    }
    Ok(Artefacts { binaries, plugins: plugins(root, &target)? })
}

/// A copy without debug information: a guest's memory holds the whole file.
pub(crate) fn strip(from: &Path, to: &Path) -> anyhow::Result<()> {
    run_quietly(Command::new("strip").arg("--strip-debug").arg("-o").arg(to).arg(from))
}

fn plugins(root: &Path, target: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    let mut names = Vec::new();
    for folder in ["plugins", "tests/plugins"] {
        for entry in fs::read_dir(root.join(folder))? {
            let manifest = entry?.path().join("Cargo.toml");
            let text =
                fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
            let table: toml::Table = toml::from_str(&text)?;
            let value = |section: &str| {
                let name = table.get(section).and_then(|section| section.get("name"));
                name.and_then(toml::Value::as_str).map(str::to_owned)
            };
            let package = value("package").with_context(|| manifest.display().to_string())?;
            names.push(value("lib").unwrap_or_else(|| package.replace('-', "_")));
            packages.push(package);
        }
    }
    let folder = krsi_toolchain::build_plugins(root, &target.join("wasm"), &packages)?;
    Ok(names.iter().map(|name| folder.join(format!("{name}.wasm"))).collect())
}
