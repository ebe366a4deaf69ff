//! `krsi-smith FOLDER COUNT SEED`: valid modules of `wasm-smith` from seeds, a file each.
//!
//! A package of its own, and in no list of packages that are tested: what `wasm-smith` wants of `arbitrary` would
//! have the compiler of plugins built anew.

use std::path::Path;
use std::process::ExitCode;

use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

/// Bytes that a module is made of.
const BYTES: usize = 2048;

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("krsi-smith: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [folder, count, seed] = arguments else { return Err("FOLDER COUNT SEED".into()) };
    let (count, mut state): (u64, u64) = (count.parse()?, seed.parse()?);
    std::fs::create_dir_all(folder)?;
    for number in 0..count {
        let mut bytes = Vec::with_capacity(BYTES);
        while bytes.len() < BYTES {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
        }
        let config = Config { max_memories: 2, max_instructions: 60, ..Config::default() };
        let module = Module::new(config, &mut Unstructured::new(&bytes))?;
        std::fs::write(Path::new(folder).join(format!("{number}.wasm")), module.to_bytes())?;
    }
    Ok(())
}
