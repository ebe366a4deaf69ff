//! The kernel room: what this kernel is, what is loaded into it, and the maps that link the two.

pub mod attach;
pub mod btf;
pub mod canary;
pub mod curated;
pub mod field_path;
pub mod load;
pub mod map;
pub mod plan;
pub mod predicate;
pub mod probe;
pub mod store;
pub mod syscall;
pub mod trim;
pub mod watch;
