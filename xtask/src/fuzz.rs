//! `cargo xtask fuzz`: the targets of `host/src/fuzz/` for as long as is asked, with modules that `wasm-smith` makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, ensure};

use crate::artefact;

/// Where the modules lie that every run of the tests begins with: length and bytes of each.
const CORPUS: &str = "host/src/fuzz/corpus/modules";
/// Modules there, and in a run.
const MODULES: [u64; 2] = [48, 400];
/// Longest module that is kept there.
const KEPT_BYTES: usize = 1200;

/// Arguments of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the targets whose name contains this, such as `watches`.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Where its numbers begin: the same seed makes the same inputs.
    #[arg(long)]
    seed: Option<u64>,
    /// Writes the modules anew that every run of the tests begins with, and fuzzes nothing.
    #[arg(long, conflicts_with_all = ["target", "minutes", "seed"])]
    bless_modules: bool,
}

/// Fuzzes one target or all of them.
pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    if args.bless_modules {
        return bless(root);
    }
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let seed = args.seed.unwrap_or(now);
    let modules = smith(root, MODULES[1], seed)?;
    let mut tests = artefact::tests(root);
    let named = format!("fuzz::{}", args.target.as_deref().unwrap_or_default());
    tests.args(["--lib", "--", &named, "--nocapture"]);
    tests.env("KRSI_FUZZ_SECONDS", (args.minutes * 60.0).to_string());
    tests.env("KRSI_FUZZ_SEED", seed.to_string());
    tests.env("KRSI_FUZZ_MODULES", modules);
    eprintln!(
        "xtask: fuzz, each target {} minutes; the result belongs into docs/reliability.md",
        args.minutes
    );
    Ok(if tests.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Each target for a while, as a part of a soak.
pub(crate) fn soak(root: &Path) -> anyhow::Result<()> {
    let args = Args { target: None, minutes: 1.0, seed: None, bless_modules: false };
    ensure!(run(root, &args)? == ExitCode::SUCCESS, "fuzzing found something");
    Ok(())
}

/// Has modules made; the folder they lie in.
fn smith(root: &Path, count: u64, seed: u64) -> anyhow::Result<PathBuf> {
    let folder = root.join("target/fuzz/modules");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["run", "--quiet", "--package", "krsi-smith", "--"]);
    command.arg(&folder).arg(count.to_string()).arg(seed.to_string());
    command.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    ensure!(command.status().context("krsi-smith")?.success(), "krsi-smith failed");
    Ok(folder)
}

fn bless(root: &Path) -> anyhow::Result<ExitCode> {
    let folder = smith(root, MODULES[1], 1)?;
    let (mut corpus, mut count) = (Vec::new(), 0);
    for number in 0..MODULES[1] {
        let module = fs::read(folder.join(format!("{number}.wasm")))?;
        if module.len() > KEPT_BYTES || count == MODULES[0] {
            continue;
        }
        corpus.extend(u32::try_from(module.len())?.to_le_bytes());
        corpus.extend(module);
        count += 1;
    }
    fs::write(root.join(CORPUS), &corpus)?;
    eprintln!("xtask: {count} modules, {} bytes in {CORPUS}", corpus.len());
    Ok(ExitCode::SUCCESS)
}
