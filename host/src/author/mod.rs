//! What an author of plugins needs: a crate to start from, its build, and what a host would say of the result.
//!
//! Nothing here runs beside a host, and nothing is downloaded but by the author's own cargo.

mod build;
mod check;
mod describe;
mod scaffold;

pub(crate) use build::{BuildError, build};
pub(crate) use check::{KernelLack, lacks};
pub(crate) use describe::{Description, describe};
pub(crate) use scaffold::create;
