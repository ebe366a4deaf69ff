//! Where `unsafe` and the big libraries may appear.

use super::tokens::{Token, is_colons, tokens};
use super::{File, Finding};

/// A word, and the path prefixes where it may stand. `unsafe` is each block, function, trait and implementation;
/// another word is a crate that is named.
const CONFINED: &[(&str, &[&str])] = &[
    (
        "unsafe",
        &[
            "ebpf/prog/src/map.rs",
            "ebpf/prog/src/capture.rs",
            "ebpf/prog/src/offset.rs",
            "ebpf/prog/src/spec.rs",
            "ebpf/prog/src/emit.rs",
            "ebpf/prog/src/gather.rs",
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
    ("wasmtime", &["host/src/plugin/"]),
    (
        "aya",
        &[
            "host/src/kernel/",
            "host/src/read/ring.rs",
            "host/benches/feed/",
            "tests/src/bin/kernel_bench/baseline.rs",
        ],
    ),
    ("clap", &["host/src/cli/", "xtask/src/"]),
    (
        "tokio",
        &[
            "host/src/control/",
            "host/src/output/",
            "host/src/cli/",
            "host/src/fuzz/",
            "host/src/files/sign.rs",
            "host/src/pipeline",
        ],
    ),
    (
        "anyhow",
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

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let words = tokens(&file.text);
    let mut findings = Vec::new();
    for (at, token) in words.iter().enumerate() {
        let place = CONFINED.iter().find(|(word, _)| *word == token.text);
        let Some((word, places)) = place.filter(|_| is_use(&words, at)) else { continue };
        if !places.iter().any(|place| file.path.starts_with(place)) {
            let what = format!("{word:?} may not stand here");
            findings.push(Finding::new(&file.path, token.line, what));
        }
    }
    findings
}

/// Whether a word is used as what it is in [`CONFINED`].
fn is_use(words: &[Token], at: usize) -> bool {
    let is = |at: usize, text: &str| words.get(at).is_some_and(|token| token.text == text);
    match words.get(at).map(|token| token.text.as_str()) {
        // `#[unsafe(no_mangle)]` is an attribute.
        Some("unsafe") => !is(at + 1, "("),
        // `mod wasmtime;` or a member of that name is none of the crate's.
        _ => is_colons(words, at + 1) || (at > 0 && is(at - 1, "use")),
    }
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
        assert_eq!(findings("host/src/decode/mod.rs", "fn f() { let x = unsafe { y }; }"), 1);
        assert_eq!(findings("host/src/decode/mod.rs", "unsafe fn f() {}"), 1);
        assert_eq!(findings("host/src/decode/mod.rs", "unsafe impl Send for X {}"), 1);
        assert_eq!(findings("host/src/decode/mod.rs", "#[unsafe(no_mangle)] fn f() {}"), 0);
        assert_eq!(findings("host/src/decode/mod.rs", "use {\n    aya::maps,\n};"), 1);
        assert_eq!(findings("host/src/decode/mod.rs", "use aya as x;"), 1);
        assert_eq!(findings("ebpf/prog/src/map.rs", "fn f() { unsafe { y }; }"), 0);
        assert_eq!(findings("host/src/route/queue.rs", "use tokio::sync;"), 1);
        assert_eq!(findings("host/src/route/queue.rs", "// tokio::sync is not used"), 0);
        assert_eq!(findings("host/src/route/queue.rs", "use my_aya::x;"), 0);
    }
}
