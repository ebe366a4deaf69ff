//! The guests themselves: each kernel has what the tests of its boot stand on.

use std::fs;
use std::path::Path;

use anyhow::ensure;

use super::{Boot, Test};
use crate::harness::Guest;

pub(crate) const TESTS: &[Test] = &[
    ("boot_has_btf_and_bpf_lsm", Boot::Default, has_btf_and_bpf_lsm),
    ("boot_without_bpf_lsm", Boot::WithoutBpf, without_bpf_lsm),
];

/// Whether the kernel asks the BPF LSM.
pub(crate) fn lists_bpf() -> anyhow::Result<bool> {
    let list = fs::read_to_string("/sys/kernel/security/lsm")?;
    Ok(list.trim().split(',').any(|name| name == "bpf"))
}

fn has_btf_and_bpf_lsm(_guest: &mut Guest) -> anyhow::Result<()> {
    ensure!(Path::new("/sys/kernel/btf/vmlinux").exists(), "no BTF");
    ensure!(lists_bpf()?, "no bpf among the LSMs");
    Ok(())
}

fn without_bpf_lsm(_guest: &mut Guest) -> anyhow::Result<()> {
    ensure!(!lists_bpf()?, "bpf is among the LSMs");
    Ok(())
}
