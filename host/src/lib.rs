//! krsi-host: LSM hooks below, sandboxed plugins above, changed while running.
//!
//! ```text
//! hook → ring → read → decode → enrich → route → plugin → policy → deny maps → hook
//! ```
//! Modules stand in the order of the flow; `ARCHITECTURE.md` walks one event through them.

pub mod decode;
pub mod enrich;
pub mod kernel;
pub mod output;
pub mod plugin;
pub mod policy;
pub mod read;
pub mod route;

pub mod attach;
pub mod author;
pub mod cause;
pub mod cli;
pub mod config;
pub mod control;
pub mod errno;
pub mod loss;
pub mod pipeline;
pub mod text;
pub mod thread;
