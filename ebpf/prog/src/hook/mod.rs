//! The programs, one file per family of hooks, and what the template program reads and tests: rows and the predicate.

mod address;
mod content;
mod digest;
mod exec;
mod file;
mod path;
mod peer;
mod predicate;
mod processes;
mod proof;
mod row;
mod socket;
mod state;
mod task;
mod template;
mod text;
mod witness;

pub use address::{AF_INET, AF_INET6};
