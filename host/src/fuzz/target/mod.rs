//! The targets: one file each, with its seeds, its words and what must hold whatever the input.

pub(crate) mod batch;
pub(crate) mod btf;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod module;
pub(crate) mod name;
pub(crate) mod parse;
pub(crate) mod recording;
pub(crate) mod ring;
pub(crate) mod watch;
