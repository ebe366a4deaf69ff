//! Modules: whatever the bytes, code or a fault in words, by the compiler that the child runs.

use std::path::Path;
use std::time::Duration;

use crate::plugin::compile_here;

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome, words};

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "plugin modules",
    seeds,
    words: &[
        "\0asm\u{1}\0\0\0",
        "\0asm\u{d}\0\u{1}\0",
        "component-type",
        "krsi:plugin/log@0.1.0",
        "wasi_snapshot_preview1",
        "describe",
        "memory",
        "\u{0}\u{b}",
        "cm32p2||",
    ],
    run,
    // A child is given a minute, and killed.
    slow: Duration::from_secs(60),
    longest: 256 << 10,
};

/// What `cargo xtask fuzz` had made by `wasm-smith`: lengths and modules; and more where a folder is named.
const SMITH: &[u8] = include_bytes!("../corpus/modules");

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        b"\0asm\x01\0\0\0".to_vec(),
        b"\0asm\x0d\0\x01\0".to_vec(),
        include_bytes!("../../../../tests/contract/0.1.0/census.wasm").to_vec(),
    ];
    let mut rest = SMITH;
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (module, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        seeds.push(module.to_vec());
        rest = after;
    }
    for version in ["v0.1", "v0.2"] {
        let text = Path::new("../wit").join(version).join("plugin.wit");
        seeds.push(dummy(&std::fs::read_to_string(text).unwrap()));
    }
    let more = std::env::var_os("KRSI_FUZZ_MODULES").into_iter();
    let files = more.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    seeds.extend(files.map(|file| std::fs::read(file.unwrap().path()).unwrap()));
    seeds
}

/// A module that does nothing, built against a contract's text.
fn dummy(text: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("plugin.wit", text).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module =
        wit_component::dummy_module(&resolve, world, wit_parser::ManglingAndAbi::Standard32);
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
    module
}

fn run(input: &[u8]) -> FuzzOutcome {
    match compile_here(input.to_vec()) {
        Ok(code) => {
            assert!(!code.is_empty());
            outcome(code.len() / 4096)
        }
        Err(fault) => {
            assert!(!fault.to_string().is_empty() && !fault.fix().is_empty());
            words(&fault.to_string())
        }
    }
}
