//! Builds the BPF object from `ebpf/` and puts it where `kernel/program/load.rs` embeds it; lists the files of the SDK for
//! `author/scaffold.rs`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("run by cargo")?);
    let root = manifest.parent().context("the host lies in the workspace")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("run by cargo")?);
    fs::write(out.join("sdk.rs"), sdk(root)?).context("the list of the SDK's files")?;
    for watched in ["ebpf/abi", "ebpf/prog", "guest-sdk", "wit", "Cargo.lock"] {
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

/// The SDK as an array of paths and contents: its crate, the schema's and the contract that it is built against.
fn sdk(root: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for part in ["guest-sdk", "wit/schema", "wit/v0.2"] {
        collect(&root.join(part), &mut files)?;
    }
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let path = file.strip_prefix(root)?.to_str().context("a path in UTF-8")?;
        let whole = file.to_str().context("a path in UTF-8")?;
        list += &format!("    ({path:?}, include_bytes!({whole:?})),\n");
    }
    Ok(list + "]")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
