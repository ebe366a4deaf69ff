//! The byte contract between kernel and host: what crosses a ring or a map is declared here, once.
//!
//! No features, no allocation, no dependency but layout traits, so that the same source compiles
//! for `bpfel-unknown-none` and for the host. Bytes become types only through `zerocopy`'s checked
//! conversions; enums cross as integers and are validated by the reader.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod capture;
pub mod counter;
pub mod deny;
pub mod filter;
pub mod frozen;
pub mod hook;
pub mod kfunc;
pub mod path;
pub mod proof;
pub mod record;
pub mod spec;

/// Version of every layout in this crate; the object carries it and the host refuses another one.
pub const ABI_VERSION: u32 = 2;
