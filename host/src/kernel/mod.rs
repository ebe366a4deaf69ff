//! The kernel room: what this kernel is, what is loaded into it, and the maps that link the two.

pub mod btf;
pub mod map;
pub mod program;
pub mod spec;
pub mod survey;
