//! Files that a VM runs: the host and the fixtures, static, and the plugins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow, ensure};

use crate::initramfs::Placed;
use crate::setup::{self, run_quietly};

/// The target of everything that is built here; static binaries run in any guest.
pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The driver of the kernel bench, in the guest.
const KERNEL_BENCH: &str = "kernel-bench";
/// Binaries that go into a guest.
const BINARIES: [&str; 3] = ["krsi-host", "stand-in-miner", KERNEL_BENCH];
/// Artefacts that the demo runs.
const DEMO_BINARIES: [&str; 2] = ["krsi-host", "stand-in-miner"];

/// Packages that have tests; those of the last boot VMs, if `cargo xtask test` tells it what of.
const TESTED: [&str; 8] = [
    "krsi-host-abi",
    "krsi-plugin-schema",
    "krsi-plugin",
    "krsi-plugin-miner",
    "krsi-toolchain",
    "krsi-host",
    "xtask",
    "krsi-tests",
];

/// A plugin of contract 0.1, as it was built then; what it is called in a guest.
const OLDER: (&str, &str) = ("tests/contract/0.1.0/census.wasm", "census-0.1.0.wasm");

/// Where a guest finds plugins compiled: they need seconds each on an emulated processor.
const CODE: &str = "/krsi/code";

/// The dynamic loader of this machine, where its platform's ABI has it: a guest has no other.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Paths of what was built.
pub(crate) struct Artefacts {
    /// Folder of the binaries.
    folder: PathBuf,
    binaries: &'static [&'static str],
    plugins: Vec<PathBuf>,
    /// A cache of compiled plugins.
    code: Vec<PathBuf>,
}

impl Artefacts {
    /// All of it, placed below `/krsi` in the guest.
    pub(crate) fn files(&self) -> Vec<Placed> {
        let binary =
            |name: &str| Placed { from: self.folder.join(name), to: format!("/krsi/{name}") };
        let plugin = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Placed { from: path.clone(), to: format!("/krsi/{name}") }
        };
        let binaries = self.binaries.iter().copied().map(binary);
        let code = self.code.iter().map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Placed { from: path.clone(), to: format!("{CODE}/{name}") }
        });
        let loader = Placed { from: LOADER.into(), to: "/krsi/ld.so".to_owned() };
        binaries.chain(self.plugins.iter().map(plugin)).chain(code).chain([loader]).collect()
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

/// `cargo test` of everything but plugins and BPF programs. Features of dependencies follow from the
/// packages that are named: whoever names all of them finds everything compiled.
pub(crate) fn tests(root: &Path) -> Command {
    let mut tests = cargo(root, "test");
    for package in TESTED {
        tests.args(["--package", package]);
    }
    tests
}

/// Builds all tests, and with them what a VM needs.
pub(crate) fn build(root: &Path) -> anyhow::Result<Artefacts> {
    let mut tests = tests(root);
    tests.arg("--no-run");
    let mut built = build_with(root, &mut tests, &BINARIES, &plugin_folders(root)?)?;
    let older = root.join("target/vm").join(OLDER.1);
    fs::copy(root.join(OLDER.0), &older)?;
    built.plugins.push(older);
    built.code = compiled(root, &built)?;
    Ok(built)
}

/// Builds what the demo runs, and no more.
pub(crate) fn build_demo(root: &Path) -> anyhow::Result<Artefacts> {
    let mut host = cargo(root, "build");
    host.args(["--package", "krsi-host", "--package", "krsi-tests"]);
    for name in DEMO_BINARIES {
        host.args(["--bin", name]);
    }
    build_with(root, &mut host, &DEMO_BINARIES, &[root.join("plugins/miner")])
}

/// Builds binaries, and the plugins meanwhile: where cargo compiles the host, one core is idle.
fn build_with(
    root: &Path,
    cargo: &mut Command,
    binaries: &'static [&'static str],
    plugin_folders: &[PathBuf],
) -> anyhow::Result<Artefacts> {
    setup::tools()?;
    let plugins = std::thread::scope(|scope| {
        let plugins = scope.spawn(|| plugins(root, &root.join("target"), plugin_folders));
        let built = cargo.status();
        let plugins = plugins.join().map_err(|_| anyhow!("building the plugins panicked"))?;
        ensure!(built?.success(), "building failed");
        plugins
    })?;
    Ok(Artefacts { folder: stripped(root, binaries)?, binaries, plugins, code: Vec::new() })
}

/// Has the host compile all plugins for any processor; the files of its cache. Some fixtures are no plugins, which
/// is what they are for.
fn compiled(root: &Path, built: &Artefacts) -> anyhow::Result<Vec<PathBuf>> {
    let folder = root.join("target/vm/code");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut host = Command::new(built.folder.join("krsi-host"));
    host.arg("precompile").arg("--cache-dir").arg(&folder).args(&built.plugins);
    let output = host.output().context("krsi-host precompile")?;
    let files: Result<Vec<PathBuf>, _> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let files = files?;
    let refused = String::from_utf8_lossy(&output.stderr);
    let of_plugins = files.iter().filter(|path| path.extension().is_some_and(|is| is == "code"));
    // What was not refused is there.
    ensure!(of_plugins.count() + refused.lines().count() == built.plugins.len(), "{refused}");
    Ok(files)
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

/// Folders of every plugin and fixture.
fn plugin_folders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for folder in ["plugins", "tests/plugins"] {
        for entry in fs::read_dir(root.join(folder))? {
            folders.push(entry?.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn plugins(root: &Path, target: &Path, folders: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    let mut names = Vec::new();
    for folder in folders {
        let manifest = folder.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
        let table: toml::Table = toml::from_str(&text)?;
        let value = |section: &str| {
            let name = table.get(section).and_then(|section| section.get("name"));
            name.and_then(toml::Value::as_str).map(str::to_owned)
        };
        let package = value("package").with_context(|| manifest.display().to_string())?;
        names.push(value("lib").unwrap_or_else(|| package.replace('-', "_")));
        packages.push(package);
    }
    let folder = krsi_toolchain::build_plugins(root, &target.join("wasm"), &packages)?;
    Ok(names.iter().map(|name| folder.join(format!("{name}.wasm"))).collect())
}
