//! krsi-host: LSM hooks below, sandboxed plugins above, changed while running.
//!
//! ```text
//! hook → ring → read → decode → enrich → route → plugin → policy → deny maps → hook
//! ```
//! Modules stand in the order of the flow; `ARCHITECTURE.md` walks one event through them.

#![warn(unreachable_pub)]
#![allow(
    missing_docs,
    reason = "no other project builds on the host: its interfaces are the contract and the SDK"
)]

mod decode;
mod enrich;
mod kernel;
mod output;
mod plugin;
mod policy;
mod read;
mod route;

mod attach;
mod author;
mod cli;
mod config;
mod control;
mod errno;
mod error_chain;
mod files;
mod loss;
mod machine;
mod pipeline;
mod record;
mod regular;
mod text;
mod thread;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod seeded;

pub mod facade;

pub use cli::main;
