//! `cargo xtask demo`: a stand-in miner is detected, and the kernel refuses its next exec and connect.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::bail;

use crate::initramfs::Placed;
use crate::kernel;
use crate::vm::{Boot, Clock, boot};
use crate::{artefact, setup};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A kernel of tests/kernels.toml, or "all".
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Runs on this machine's own kernel instead of a VM.
    #[arg(long)]
    native: bool,
}

/// Runs the demo.
pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    setup::tools()?;
    if args.native {
        return native(root);
    }
    let kernels = kernel::named(root, &args.kernel)?;
    for kernel in &kernels {
        kernel::ensure(kernel, false)?;
    }
    let mut files = artefact::build_demo(root)?.files();
    files.push(Placed { from: root.join("tests/demo.sh"), to: "/krsi/demo.sh".into() });
    for kernel in &kernels {
        let release = kernel::ensure(kernel, false)?.release;
        println!("\n=== kernel {}: {release}", kernel.name);
        let command = ["sh", "/krsi/demo.sh"].map(str::to_owned);
        let code = boot(
            root,
            &Boot {
                kernel,
                append: "",
                files: &files,
                command: &command,
                timeout: Duration::from_secs(600),
                memory_mib: 1536,
                clock: Clock::Time,
                disk: false,
            },
        )?;
        if code != 0 {
            bail!("the demo failed on kernel {} with exit code {code}", kernel.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn native(root: &Path) -> anyhow::Result<ExitCode> {
    let list = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !list.trim().split(',').any(|name| name == "bpf") {
        bail!(
            "this kernel's LSMs are {:?}, without bpf: run `cargo xtask demo` for the VM",
            list.trim()
        );
    }
    artefact::build_demo(root)?;
    let folder = root.join("target");
    let status = Command::new("sh")
        .arg(root.join("tests/demo.sh"))
        .env("KRSI", folder.join("vm/bin"))
        .env("KRSI_PLUGINS", folder.join("wasm/wasm32-unknown-unknown/wasm"))
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
