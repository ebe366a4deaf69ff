//! Compilers for the two foreign targets: found, never downloaded here, and run by one recipe each.
//!
//! Used by the host's build script, by `krsi-host plugin build` and by `cargo xtask`. Either Debian's rustc, which comes with a
//! `core` for BPF and the sources for Wasm, or a rustup nightly with `rust-src`.

mod bpf;
mod find;
mod recipe;
mod wasm;

pub use bpf::{build_baselines, build_feeder, build_object};
pub use find::{Compiler, MissingTool, bpf_compiler, bpf_linker, cache_dir, wasm_compiler};
pub use recipe::BuildError;
pub use wasm::{build_plugin, build_plugins};
