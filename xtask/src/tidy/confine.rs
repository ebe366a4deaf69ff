//! Where `unsafe` and the big libraries may appear.

use super::{File, Finding};

/// A word, and the path prefixes where it may stand.
const CONFINED: &[(&str, &[&str])] = &[
    (
        "unsafe {",
        &[
            "ebpf/prog/src/map.rs",
            "ebpf/prog/src/capture.rs",
            "ebpf/prog/src/offset.rs",
            "ebpf/prog/src/spec.rs",
            "ebpf/prog/src/emit.rs",
            "ebpf/prog/src/global.rs",
            "ebpf/prog/src/kfunc.rs",
            "ebpf/prog/src/resolve.rs",
            "ebpf/feeder/src/main.rs",
            "host/src/kernel/program/syscall.rs",
            "host/src/kernel/btf/trim.rs",
            "host/src/plugin/compile/native.rs",
            "host/tests/allocation.rs",
            "tests/vm/act/",
            "tests/vm/rule.rs",
            "ebpf/bench/src/",
            "tests/src/bin/kernel_bench/act.rs",
        ],
    ),
    ("unsafe impl", &["host/tests/allocation.rs"]),
    ("wasmtime::", &["host/src/plugin/"]),
    (
        "aya::",
        &[
            "host/src/kernel/",
            "host/src/read/ring.rs",
            "host/benches/feed/",
            "tests/src/bin/kernel_bench/baseline.rs",
        ],
    ),
    ("clap::", &["host/src/cli/", "xtask/src/"]),
    ("tokio::", &["host/src/control/", "host/src/output/", "host/src/cli/", "host/src/pipeline"]),
    (
        "anyhow::",
        &[
            "host/src/cli/",
            "host/src/main.rs",
            "host/build.rs",
            "xtask/src/",
            "tests/",
            "host/benches/",
        ],
    ),
];

/// This file names the words.
const SELF: &str = "xtask/src/tidy/confine.rs";

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("//") || file.path == SELF {
            continue;
        }
        for (word, places) in CONFINED {
            let whole = line.match_indices(word).any(|(at, _)| {
                let before = line.get(..at).and_then(|before| before.chars().last());
                !before.is_some_and(|before| before.is_alphanumeric() || before == '_')
            });
            if whole && !places.iter().any(|place| file.path.starts_with(place)) {
                findings.push(Finding::new(
                    &file.path,
                    at + 1,
                    format!("{word:?} may not stand here"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&File { path: path.into(), text: text.into() }).len()
    }

    #[test]
    fn a_word_is_found_outside_its_place_and_only_there() {
        assert_eq!(findings("host/src/plugin/engine.rs", "use wasmtime::Engine;"), 0);
        assert_eq!(findings("host/src/policy/apply.rs", "use wasmtime::Engine;"), 1);
        assert_eq!(findings("host/src/kernel/map/mod.rs", "use aya::maps;"), 0);
        assert_eq!(findings("host/src/decode/mod.rs", "use aya::maps;"), 1);
        assert_eq!(findings("host/src/decode/mod.rs", "let x = unsafe { y };"), 1);
        assert_eq!(findings("ebpf/prog/src/map.rs", "unsafe { y };"), 0);
        assert_eq!(findings("host/src/route/queue.rs", "use tokio::sync;"), 1);
        assert_eq!(findings("host/src/route/queue.rs", "// tokio::sync is not used"), 0);
        assert_eq!(findings("host/src/route/queue.rs", "my_aya::x"), 0);
    }
}
