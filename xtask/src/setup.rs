//! What the other verbs need from the machine: checked by looking at the real things, installed
//! where possible, told as commands where not.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use krsi_toolchain::{bpf_compiler, bpf_linker, cache_dir, wasm_compiler};

use crate::kernel;

/// Arguments of `cargo xtask setup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Looks for newer guest kernels even where some are there.
    #[arg(long)]
    refresh: bool,
}

/// Where Debian's package puts the LLVM that bpf-linker is built with.
const LLVM: &str = "/usr/lib/llvm-22";

/// Makes file systems for guests.
pub(crate) const MAKE_EXT4: &str = "/usr/sbin/mke2fs";

/// A part that can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    BpfCompiler,
    WasmCompiler,
    BpfLinker,
    Qemu,
    Busybox,
    Strip,
    FileSystem,
}

const PARTS: [Part; 7] = [
    Part::BpfCompiler,
    Part::WasmCompiler,
    Part::BpfLinker,
    Part::Qemu,
    Part::Busybox,
    Part::Strip,
    Part::FileSystem,
];

impl Part {
    fn is_there(self) -> bool {
        match self {
            Part::BpfCompiler => bpf_compiler().is_ok(),
            Part::WasmCompiler => wasm_compiler().is_ok(),
            Part::BpfLinker => bpf_linker().is_ok(),
            Part::Qemu => Path::new("/usr/bin/qemu-system-x86_64").exists(),
            Part::Busybox => is_static_busybox(&busybox()),
            Part::Strip => Path::new("/usr/bin/strip").exists(),
            Part::FileSystem => Path::new(MAKE_EXT4).exists(),
        }
    }

    /// Debian packages that bring it; bpf-linker is compiled with the last of its row.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Part::BpfCompiler => &["rustc-web", "libstd-rust-web-dev-bpf"],
            Part::WasmCompiler => &["rustc-web", "rust-web-src", "lld-22"],
            Part::BpfLinker => {
                &["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev", "g++"]
            }
            Part::Qemu => &["qemu-system-x86"],
            Part::Busybox => &["busybox-static"],
            Part::Strip => &["binutils"],
            Part::FileSystem => &["e2fsprogs"],
        }
    }
}

/// The shell of the guest.
pub(crate) fn busybox() -> PathBuf {
    PathBuf::from("/bin/busybox")
}

fn is_static_busybox(path: &Path) -> bool {
    // A dynamic busybox names its interpreter near the start of the file.
    std::fs::read(path).is_ok_and(|bytes| {
        let head = bytes.get(..4096).unwrap_or(&bytes);
        !head.windows(8).any(|window| window == b"ld-linux")
    })
}

/// `cargo xtask setup`.
pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<()> {
    tools()?;
    for kernel in kernel::table(root)? {
        let image = kernel::ensure(&kernel, args.refresh)?;
        println!("kernel {:<5} {}", kernel.name, image.release);
    }
    println!("set up; tools and kernels are in {}", cache_dir().display());
    Ok(())
}

/// Installs the tools that are missing. Quiet and quick when none is.
pub(crate) fn tools() -> anyhow::Result<()> {
    let missing: Vec<Part> = PARTS.into_iter().filter(|part| !part.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> =
        missing.iter().flat_map(|part| part.packages()).copied().collect();
    packages.dedup();
    if !can_install() {
        bail!("missing: {missing:?}; {}", by_hand(&packages));
    }
    install(&packages)?;
    if !Part::BpfLinker.is_there() {
        bpf_linker_from_source()?;
    }
    for part in missing {
        ensure!(part.is_there(), "{part:?} is still missing; {}", by_hand(&packages));
    }
    Ok(())
}

fn can_install() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    root && Path::new("/usr/bin/apt-get").exists()
}

fn by_hand(packages: &[&str]) -> String {
    format!(
        "on Debian or Ubuntu, as root, run\n    apt-get update\n    apt-get install --no-install-recommends {}\n\
         and as yourself\n    LLVM_PREFIX={LLVM} {}\n\
         elsewhere, a rustup nightly serves too:\n    rustup toolchain install nightly --component rust-src\n    \
         rustup target add wasm32-unknown-unknown\n    cargo install bpf-linker\n\
         together with qemu-system-x86_64, a static /bin/busybox, strip and mke2fs",
        packages.join(" "),
        linker_command(&cache_dir().join("bpf-linker")).join(" "),
    )
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    eprintln!("xtask: installing {}", packages.join(" "));
    run_quietly(Command::new("apt-get").args(["update", "-q"]))?;
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["install", "-q", "-y", "--no-install-recommends"]).args(packages);
    run_quietly(&mut apt)
}

fn linker_command(root: &Path) -> Vec<String> {
    let fixed = "cargo install bpf-linker --version ^0.13 --locked --no-default-features --features llvm-22 --root";
    let words = fixed.split(' ').map(str::to_owned);
    words.chain([root.display().to_string()]).collect()
}

fn bpf_linker_from_source() -> anyhow::Result<()> {
    let root = cache_dir().join("bpf-linker");
    eprintln!("xtask: building bpf-linker into {} (about a minute)", root.display());
    let words = linker_command(&root);
    let (program, arguments) = words.split_first().context("a command")?;
    let mut cargo = Command::new(program);
    cargo.args(arguments).env("LLVM_PREFIX", LLVM);
    // Neither the workspace's settings nor its toolchain file concern a foreign tool.
    cargo.current_dir("/").env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    run_quietly(&mut cargo)
}

/// Runs a command; its output is shown only when it fails.
pub(crate) fn run_quietly(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("starting {shown}"))?;
    if !output.status.success() {
        eprint!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        bail!("{shown} failed with {}", output.status);
    }
    Ok(())
}
