//! What the verifier goes through in each program, against the list in `tests/verified_instructions.toml`.

use std::process::Command;

use anyhow::{Context, bail, ensure};
use krsi_tests::verified::{self, List};

use super::{Boot, Test};
use crate::harness::Guest;

pub(crate) const TESTS: &[Test] =
    &[("verified_instructions", Boot::Default, verified_instructions)];

/// The runner tells the name that the kernel has in the matrix.
fn verified_instructions(_: &mut Guest) -> anyhow::Result<()> {
    let kernel = std::env::var("KRSI_KERNEL").context("KRSI_KERNEL")?;
    let output = Command::new("/krsi/kernel-bench").arg("verified").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let list = List::parse(include_str!("../verified_instructions.toml"))?;
    let differences = list.differences(&kernel, &verified::said(&said)?);
    if !differences.is_empty() {
        bail!("{}; if it must be so: `cargo xtask bench-kernel --bless`", differences.join("; "));
    }
    Ok(())
}
