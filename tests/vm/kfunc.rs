//! Functions of the kernel that only some kernels have: used where they are, missed without harm.

use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, expect_errno, wait_for_ok};

pub(crate) const TESTS: &[Test] =
    &[("kfunc_resolves_what_the_helper_may_not", Boot::Default, resolves)];

const EACCES: i32 = 13;
const HOOK: &str = "file_permission";

/// Whether the kernel has `bpf_path_d_path`.
fn has_function() -> bool {
    std::env::var("KRSI_KERNEL").is_ok_and(|kernel| !matches!(&*kernel, "5.10" | "6.1"))
}

/// `bpf_d_path` is not allowed in `file_permission`: rules on paths hold there by the function alone.
/// Without it they pass what they cannot resolve, and each such call is counted.
fn resolves(guest: &mut Guest) -> anyhow::Result<()> {
    let open = |folder: &str| -> anyhow::Result<File> {
        fs::create_dir_all(guest.path(folder))?;
        Ok(File::create(guest.path(folder).join("file"))?)
    };
    let (mut inside, mut outside) = (open("vault")?, open("other")?);
    let rule = format!("deny {} 13 {HOOK}", guest.path("vault").display());
    let host = guest.host("ruler", &rule)?;
    wait_for_ok(|| outside.write_all(b"neighbour"))?;
    if has_function() {
        expect_errno(EACCES, inside.write(b"intruder"))?;
        let object = format!("path={}", guest.path("vault/file").display());
        let record = host.report(&[("kind", "verdict"), ("hook", HOOK), ("object", &object)])?;
        ensure!(record["rule_id"].as_u64() > Some(0) && record["errno"] == "EACCES", "{record}");
    } else {
        inside.write_all(b"intruder")?;
    }
    let summary = host.stop(Signal::INT)?;
    let rows = summary["hooks"].as_array().context("hooks")?;
    let row = rows.iter().find(|row| row["hook"] == HOOK).context("the hook")?;
    let errors = row["errors"].as_u64().context("errors")?;
    ensure!(if has_function() { errors == 0 } else { errors > 0 }, "{row}");
    inside.write_all(b"afterwards")?;
    Ok(())
}
