//! What is known of the system beside single events: processes, their descent, cgroup names.

pub(crate) mod cgroup;
mod change;
mod descent;
mod proc_scan;
pub(crate) mod process_table;

pub(crate) use cgroup::CgroupNames;
pub use change::ProcessChange;
pub(crate) use proc_scan::{Stat, describe, scan, stat_of};
pub use process_table::ProcessTable;
pub(crate) use process_table::{Joined, Missed, Observation, TableCounts};
