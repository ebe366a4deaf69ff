//! The kernel room: what this kernel is, what is loaded into it, and the maps that link the two.

pub(crate) mod btf;
pub(crate) mod map;
pub(crate) mod program;
pub(crate) mod spec;
pub(crate) mod survey;
