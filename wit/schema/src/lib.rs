//! The schema of batches and actions, one module per released version; `latest` is the host's own.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod frame;
pub mod v0_1;
pub mod v0_2;

/// The newest schema: the host's `Event` is this one's.
pub use v0_2 as latest;

/// What [`frame::push`] takes, for crates that do not name serde themselves.
pub use serde::Serialize;
