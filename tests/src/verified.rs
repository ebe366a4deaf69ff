//! The instructions that the verifier goes through in each program: the checked-in list and what may change.
//!
//! A program that grows costs time at each start and, at a million, is refused. Kernels count
//! differently, so each has its own number; one before 5.16 tells none, which is written as 0.

use std::collections::BTreeMap;

use anyhow::Context;

/// How much a program may grow before somebody has to look.
pub const GROWTH_PERCENT: u32 = 10;

/// Programs of one kernel and their counts.
pub type Counts = BTreeMap<String, u32>;

/// Reads the lines of `kernel-bench verified`: a program and its count.
///
/// # Errors
/// When a line is something else, or there is none.
pub fn said(text: &str) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for line in text.lines() {
        let (program, count) = line.split_once(' ').with_context(|| line.to_owned())?;
        counts.insert(program.to_owned(), count.parse().with_context(|| line.to_owned())?);
    }
    anyhow::ensure!(!counts.is_empty(), "no program was loaded");
    Ok(counts)
}

/// The list: programs, and under each its count by kernel.
#[derive(Debug)]
pub struct List(BTreeMap<String, Counts>);

impl List {
    /// Reads `tests/verified_instructions.toml`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map(Self).context("the list of verified instructions")
    }

    /// What differs on a kernel by more than may be, one line each; a program that shrank is no
    /// difference.
    #[must_use]
    pub fn differences(&self, kernel: &str, counts: &Counts) -> Vec<String> {
        let mut found = Vec::new();
        for (program, &count) in counts {
            match self.0.get(program).and_then(|kernels| kernels.get(kernel)) {
                None => found.push(format!("{program} is not in the list; it has {count}")),
                Some(0) if count == 0 => {}
                Some(&listed) if grew(listed, count) => {
                    found.push(format!("{program} grew from {listed} to {count}"));
                }
                Some(_) if count == 0 => found.push(format!("{program} has no count any more")),
                Some(_) => {}
            }
        }
        for (program, kernels) in &self.0 {
            if kernels.contains_key(kernel) && !counts.contains_key(program) {
                found.push(format!("{program} is in the list and was not loaded"));
            }
        }
        found
    }
}

fn grew(from: u32, to: u32) -> bool {
    u64::from(to) * 100 > u64::from(from) * u64::from(100 + GROWTH_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "file_open = { \"5.10\" = 0, \"6.12\" = 1000 }\n\
        task_kill = { \"6.12\" = 50 }\n";

    fn check(kernel: &str, text: &str, expected: &[&str]) {
        let list = List::parse(LIST).unwrap();
        assert_eq!(list.differences(kernel, &said(text).unwrap()), expected, "{kernel}: {text}");
    }

    #[test]
    fn growth_beyond_a_tenth_and_every_other_surprise_is_a_difference() {
        check("6.12", "file_open 1100\ntask_kill 10", &[]);
        check("6.12", "file_open 1101\ntask_kill 50", &["file_open grew from 1000 to 1101"]);
        check("6.12", "file_open 1000", &["task_kill is in the list and was not loaded"]);
        check("6.12", "file_open 0\ntask_kill 1", &["file_open has no count any more"]);
        check("5.10", "file_open 0", &[]);
        check("5.10", "file_open 7", &["file_open grew from 0 to 7"]);
        check("7.x", "file_open 7", &["file_open is not in the list; it has 7"]);
        check("5.10", "file_open 0\nbpf 9", &["bpf is not in the list; it has 9"]);
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for text in ["", "file_open", "file_open many", "file_open -1"] {
            assert!(said(text).is_err(), "{text:?}");
        }
        for text in ["file_open = 1", "file_open = { \"6.12\" = \"many\" }", "x"] {
            assert!(List::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_list_of_this_version_is_one() {
        assert!(List::parse(include_str!("../verified_instructions.toml")).is_ok());
    }
}
