//! What is known of the system beside single events: processes, their descent, cgroup names.

pub(crate) mod cgroup;
mod change;
mod descent;
mod identity;
mod proc_scan;
pub(crate) mod process_table;
mod running;
mod sample;
mod sockets;

pub(crate) use cgroup::CgroupNames;
pub use change::ProcessChange;
pub(crate) use identity::MachineRoot;
pub(crate) use proc_scan::{Stat, describe, runs, scan, stat_of};
pub use process_table::ProcessTable;
pub(crate) use process_table::{Joined, Missed, Observation, TableCounts};
pub(crate) use running::running;
pub(crate) use sample::{Around, SampleParts, sample};
