//! Programs: by which backend they are attached, how the object becomes instances, and what shows that they are called.

pub mod abi;
pub mod backend;
pub mod canary;
pub mod job;
pub mod kfunc;
pub mod load;
pub mod object;
pub mod plan;
pub mod processes;
pub mod proof;
pub mod reduce;
pub mod syscall;
pub mod target;
pub mod trial;
