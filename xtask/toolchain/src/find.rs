//! Where the compilers and linkers are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's rustc (packages `rustc` and `rustc-web`), the one with targets for the web and BPF.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Target of the BPF object.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";
/// Target of the plugins.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// Debian's Wasm linker, of package `lld-22`.
pub(crate) const WASM_LINKER: &str = "/usr/bin/wasm-ld-22";

/// A tool that was not found: all that a build lacks is said in one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingTool {
    /// No compiler for BPF.
    #[error("the BPF toolchain is missing (no rustc with {BPF_TARGET}): run `cargo xtask setup`")]
    BpfCompiler,
    /// No `bpf-linker` was found.
    #[error("the BPF toolchain is missing (no bpf-linker): run `cargo xtask setup`")]
    BpfLinker,
    /// No compiler for Wasm.
    #[error("the Wasm toolchain is missing (no rustc with {WASM_TARGET}): run `cargo xtask setup`")]
    WasmCompiler,
}

/// A compiler and how its standard library comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// Debian's: `core` for BPF is prebuilt, `std` for Wasm is built from its sources.
    Debian {
        /// Path of rustc.
        rustc: PathBuf,
    },
    /// A rustup toolchain.
    Rustup {
        /// Name of the toolchain.
        toolchain: &'static str,
        /// Whether the target's standard library must be built from `rust-src`.
        build_std: bool,
    },
}

/// The project's cache: tools and guest kernels. `KRSI_HOST_CACHE` moves it.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("KRSI_HOST_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("krsi-host")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/krsi-host")))
        .unwrap_or_else(|| PathBuf::from("/var/cache/krsi-host"))
}

/// A compiler for BPF.
///
/// # Errors
/// When there is none.
pub fn bpf_compiler() -> Result<Compiler, MissingTool> {
    debian(|sysroot| has_core(sysroot, BPF_TARGET))
        .or_else(|| rustup("nightly", "rust-src").map(|toolchain| from_rustup(toolchain, true)))
        .ok_or(MissingTool::BpfCompiler)
}

/// A compiler for Wasm.
///
/// # Errors
/// When there is none.
pub fn wasm_compiler() -> Result<Compiler, MissingTool> {
    let sources = |sysroot: &Path| {
        sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").exists()
            && Path::new(WASM_LINKER).exists()
    };
    rustup("stable", WASM_TARGET)
        .map(|toolchain| from_rustup(toolchain, false))
        .or_else(|| debian(sources))
        .or_else(|| rustup("nightly", "rust-src").map(|toolchain| from_rustup(toolchain, true)))
        .ok_or(MissingTool::WasmCompiler)
}

/// bpf-linker, from the cache or the path.
///
/// # Errors
/// When there is none.
pub fn bpf_linker() -> Result<PathBuf, MissingTool> {
    let cached = cache_dir().join("bpf-linker/bin/bpf-linker");
    if cached.is_file() {
        return Ok(cached);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join("bpf-linker"))
        .find(|file| file.is_file())
        .ok_or(MissingTool::BpfLinker)
}

const fn from_rustup(toolchain: &'static str, build_std: bool) -> Compiler {
    Compiler::Rustup { toolchain, build_std }
}

fn debian(usable: impl Fn(&Path) -> bool) -> Option<Compiler> {
    let sysroot = said(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]))?;
    usable(Path::new(sysroot.trim())).then(|| Compiler::Debian { rustc: DEBIAN_RUSTC.into() })
}

fn has_core(sysroot: &Path, target: &str) -> bool {
    let Ok(files) = sysroot.join("lib/rustlib").join(target).join("lib").read_dir() else {
        return false;
    };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

/// The toolchain, if rustup has it with a component or target of that name.
fn rustup(toolchain: &'static str, part: &str) -> Option<&'static str> {
    let list = |kind| {
        said(Command::new("rustup").args([kind, "list", "--installed", "--toolchain", toolchain]))
    };
    let has = |kind| list(kind).is_some_and(|text| text.lines().any(|line| line.starts_with(part)));
    (has("component") || has("target")).then_some(toolchain)
}

fn said(command: &mut Command) -> Option<String> {
    // Inside a build script rustup's proxies would answer for the toolchain of the outer cargo.
    let output = command.env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
