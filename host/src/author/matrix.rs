//! What of a plugin the kernels of the matrix do not have, from the lists of what each lets BPF attach to.
//!
//! A list names hooks only: whether a kernel has the fields of a watch is asked on that kernel.

use krsi_host_abi::hook::{Attach, Hook};
use serde::{Deserialize, Serialize};

use super::describe::Description;
use crate::errno::errno_number;
use crate::kernel::spec::watch;

/// The lists, oldest kernel first; VM tests hold the kernels against them.
const LISTS: [&str; 4] = [
    include_str!("../../../tests/coverage/5.10.toml"),
    include_str!("../../../tests/coverage/6.1.toml"),
    include_str!("../../../tests/coverage/6.12.toml"),
    include_str!("../../../tests/coverage/7.x.toml"),
];

/// A list, as far as it is of use here.
#[derive(Deserialize)]
struct KernelList {
    kernel: String,
    /// Hooks, separated by blanks.
    lsm: String,
}

/// A kernel, and what it does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MatrixRow {
    pub(crate) kernel: String,
    /// Hooks that a plugin asks for, of its watches too.
    pub(crate) without: Vec<String>,
}

/// What each kernel of the matrix lacks of what a plugin asks for.
pub(crate) fn on_matrix(description: &Description) -> Vec<MatrixRow> {
    let own =
        description.hooks.iter().chain(&description.deny_hooks).map(|hook| (*hook).to_owned());
    let watched = description.watches.iter().filter_map(|text| {
        // What does not parse is told where it is resolved.
        watch::parse(text, errno_number).ok().map(|watch| watch.hook)
    });
    let mut asked: Vec<String> = own.chain(watched).filter(|hook| !is_tracepoint(hook)).collect();
    asked.sort_unstable();
    asked.dedup();
    // A list that cannot be read is found by the test below.
    let lists = LISTS.iter().filter_map(|text| toml::from_str::<KernelList>(text).ok());
    let row = |KernelList { kernel, lsm }| {
        let has = |hook: &String| lsm.split_whitespace().any(|name| name == hook);
        let without = asked.iter().filter(|hook| !has(hook)).cloned().collect();
        MatrixRow { kernel, without }
    };
    lists.map(row).collect()
}

/// Tracepoints are no LSM hooks; every kernel of the matrix has those that hooks of krsi-host are.
fn is_tracepoint(hook: &str) -> bool {
    Hook::from_name(hook).is_some_and(|hook| hook.row().attach == Attach::Tracepoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_says_what_it_lacks() {
        let description = Description {
            hooks: vec!["file_open", "sched_process_fork"],
            deny_hooks: vec!["uring_cmd"],
            watches: vec!["userns_create: cred.uid".into(), "no watch".into()],
            ..Description::default()
        };
        let rows = on_matrix(&description);
        let row = |kernel: &str| rows.iter().find(|row| row.kernel == kernel).unwrap();
        assert_eq!(rows.len(), LISTS.len());
        assert_eq!(row("5.10").without, ["uring_cmd", "userns_create"]);
        assert!(row("6.12").without.is_empty(), "{rows:?}");
    }
}
