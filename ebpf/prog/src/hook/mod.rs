//! The programs, one file per family.

mod address;
mod content;
mod digest;
mod exec;
mod file;
mod path;
mod peer;
mod processes;
mod proof;
mod row;
mod socket;
mod state;
mod task;
mod template;
mod test;
mod text;
mod witness;

pub use address::{AF_INET, AF_INET6};
