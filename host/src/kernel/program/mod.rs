//! Programs: by which backend they are attached, how the object becomes instances, and what shows that they are called.

pub(crate) mod abi;
pub(crate) mod backend;
pub(crate) mod canary;
mod function_types;
pub(crate) mod job;
pub(crate) mod kfunc;
pub(crate) mod load;
pub(crate) mod object;
pub(crate) mod plan;
pub(crate) mod processes;
pub(crate) mod proof;
pub(crate) mod reduce;
pub(crate) mod syscall;
pub(crate) mod target;
pub(crate) mod trial;
