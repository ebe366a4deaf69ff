//! What a VM runs: the host and the fixtures, static, and the plugins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::initramfs::Placed;
use crate::setup::{self, run_quietly};

/// The target of everything that is built here; static binaries run in any guest.
pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The driver of the kernel bench, in the guest.
const KERNEL_BENCH: &str = "kernel-bench";
/// Binaries that go into a guest.
const BINARIES: [&str; 3] = ["krsi-host", "stand-in-miner", KERNEL_BENCH];

/// The dynamic loader of this machine, where its platform's ABI has it: a guest has no other.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

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
        let binaries = BINARIES.into_iter().map(binary);
        let loader = Placed { from: LOADER.into(), to: "/krsi/ld.so".to_owned() };
        binaries.chain(self.plugins.iter().map(plugin)).chain([loader]).collect()
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
    let binaries = stripped(root, &BINARIES)?;
    Ok(Artefacts { binaries, plugins: plugins(root, &root.join("target"))? })
}

/// Builds the driver of the kernel bench alone.
pub(crate) fn kernel_bench(root: &Path) -> anyhow::Result<Placed> {
    setup::tools()?;
    let mut driver = cargo(root, "build");
    driver.args(["--package", "krsi-tests", "--bin", KERNEL_BENCH]);
    ensure!(driver.status()?.success(), "building the kernel bench failed");
    let folder = stripped(root, &[KERNEL_BENCH])?;
    Ok(Placed { from: folder.join(KERNEL_BENCH), to: format!("/krsi/{KERNEL_BENCH}") })
}

/// The folder of binaries that were built, without what a guest has no use for.
fn stripped(root: &Path, names: &[&str]) -> anyhow::Result<PathBuf> {
    let built = root.join("target").join(TRIPLE).join("debug");
    let folder = root.join("target/vm/bin");
    fs::create_dir_all(&folder)?;
    for name in names {
        strip(&built.join(name), &folder.join(name))?;
    }
    Ok(folder)
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
