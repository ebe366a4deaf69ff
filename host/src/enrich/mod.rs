//! What is known of the system beside single events: processes, their descent, cgroup names.

pub mod cgroup;
mod change;
mod descent;
mod proc_scan;
pub mod process_table;

pub use cgroup::CgroupNames;
pub use change::ProcessChange;
pub use proc_scan::{Stat, describe, runs, scan, stat_of};
pub use process_table::{Joined, Missed, Observation, ProcessTable, TableCounts};
