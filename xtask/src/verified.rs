//! Writes the list of verified instructions, which a VM test holds every program to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};

use crate::initramfs::Placed;
use crate::kernel;

/// File of the verified instructions, below the root.
const LIST: &str = "tests/verified_instructions.toml";
/// First lines of that file.
const HEAD: &str = "\
# Instructions that the verifier goes through in each program, by kernel; 5.10 tells none.
# Growth over 10 % fails `cargo xtask test`. Written by `cargo xtask bench-kernel --bless`.
";

/// Programs, and under each its count by kernel, in the order of the matrix.
type Counts = BTreeMap<String, Vec<(String, u32)>>;

/// Loads every program on every kernel and writes what the kernels tell.
pub(crate) fn bless(root: &Path, driver: &Placed) -> anyhow::Result<ExitCode> {
    let mut counts = Counts::new();
    for kernel in kernel::table(root)? {
        kernel::ensure(&kernel, false)?;
        let mut vm = Command::new(std::env::current_exe()?);
        vm.args(["vm", "--kernel", &kernel.name, "--file"]);
        vm.arg(format!("{}={}", driver.from.display(), driver.to));
        vm.args(["--", &driver.to, "verified"]).stderr(Stdio::inherit());
        let output = vm.output()?;
        ensure!(output.status.success(), "loading failed on kernel {}", kernel.name);
        add(&mut counts, &kernel.name, &String::from_utf8_lossy(&output.stdout))?;
    }
    let text = list(&counts);
    print!("{text}");
    fs::write(root.join(LIST), text).context(LIST)?;
    Ok(ExitCode::SUCCESS)
}

fn add(counts: &mut Counts, kernel: &str, said: &str) -> anyhow::Result<()> {
    for line in said.lines() {
        let (program, count) = line.split_once(' ').with_context(|| line.to_owned())?;
        let count = count.parse().with_context(|| line.to_owned())?;
        counts.entry(program.to_owned()).or_default().push((kernel.to_owned(), count));
    }
    Ok(())
}

fn list(counts: &Counts) -> String {
    let mut text = HEAD.to_owned();
    for (program, kernels) in counts {
        let kernels = kernels.iter().map(|(kernel, count)| format!("\"{kernel}\" = {count}"));
        text += &format!("{program} = {{ {} }}\n", kernels.collect::<Vec<_>>().join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_a_line_with_its_kernels() {
        let mut counts = Counts::new();
        add(&mut counts, "5.10", "file_open 0\n").unwrap();
        add(&mut counts, "6.12", "file_open 700\nbpf 9\n").unwrap();
        let lines = "bpf = { \"6.12\" = 9 }\nfile_open = { \"5.10\" = 0, \"6.12\" = 700 }\n";
        assert_eq!(list(&counts), format!("{HEAD}{lines}"));
        assert!(add(&mut counts, "6.1", "file_open\n").is_err());
    }
}
