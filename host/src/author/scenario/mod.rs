//! Scenarios of a plugin: acts in a bounded vocabulary, and what it must make of them, played as Wasm.
//!
//! Attacks must be found, their benign twins and a baseline must not. A plugin without one of each is untested,
//! whatever passes.

mod act;
mod file;
mod mutate;
mod report;
mod run;

pub(crate) use report::{github, junit, text};
pub(crate) use run::{TestError, test};
