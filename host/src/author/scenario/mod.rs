//! Scenarios of a plugin: acts in a bounded vocabulary, and what it must make of them, played as Wasm.
//!
//! Attacks must be found, their benign twins and a baseline must not. A plugin without one of each is untested,
//! whatever passes.

mod act;
mod file;
mod mutate;
mod report;
mod run;

pub use file::{Kind, ScenarioError};
pub use mutate::Mutations;
pub use report::{github, junit, text};
pub use run::{Case, TestError, Tested, test};
