//! What the tests in VMs know that can be tested without one.

pub mod budget;
pub mod list;
pub mod verified;
