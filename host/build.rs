//! Builds the BPF object from `ebpf/` and puts it where `kernel/load.rs` embeds it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("run by cargo")?);
    let root = manifest.parent().context("the host lies in the workspace")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("run by cargo")?);
    for watched in ["ebpf/abi", "ebpf/prog", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-changed={}", manifest.join("build.rs").display());
    match krsi_toolchain::build_object(root, &out.join("bpf")) {
        Ok(object) => copy(&object, &out.join("krsi-host-ebpf")),
        Err(error) => {
            // One sentence, not a backtrace of build scripts.
            println!("cargo::error={:#}", anyhow::Error::new(error));
            std::process::exit(1);
        }
    }
}

fn copy(object: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(object, to).with_context(|| format!("copying {}", object.display()))?;
    Ok(())
}
