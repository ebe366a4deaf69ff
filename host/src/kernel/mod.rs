//! The kernel room: what this kernel is, what is loaded into it, and the maps that link the two.

pub mod abi;
pub mod attached;
pub mod backend;
pub mod btf;
pub mod canary;
pub mod facts;
pub mod hash;
pub mod job;
pub mod kfunc;
pub mod load;
pub mod map;
pub mod object;
pub mod plan;
pub mod probe;
pub mod processes;
pub mod proof;
pub mod reduce;
pub mod spec;
pub mod survey;
pub mod syscall;
pub mod target;
pub mod trial;
