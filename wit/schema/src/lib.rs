//! The schema of batches, actions and manifests, one module per version; `latest` is the host's own.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod codec;
pub mod frame;
pub mod lower;
mod schema;
pub mod v0_1;
pub mod v0_2;

pub use schema::Schema;

/// The newest schema: the host's `Event` is this one's.
pub use v0_2 as latest;

/// Growable list that the macros encode into.
#[doc(hidden)]
pub use alloc::vec::Vec as List;
/// Buffer that the macros encode into.
#[doc(hidden)]
pub type Bytes = List<u8>;
