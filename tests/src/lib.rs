//! Parts of the VM tests that can be tested without a VM.

pub mod budget;
pub mod list;
pub mod verified;
