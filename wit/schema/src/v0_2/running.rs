//! What runs already when a plugin starts: a record for each process, and one that ends them.

use alloc::vec::Vec;

use super::event::{Connect, ExecFlags};
use super::process::Process;
use crate::{composite, words};

words! {
    /// When a plugin is told of what runs already.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum ToldRunning ("when-running") {
        /// The plugin is not told of running processes.
        #[default]
        Never = 0,
        /// When the first version of its name starts that asks for it.
        Once = 1,
        /// When this version starts, also if one before it was told.
        EachVersion = 2,
    }
}

composite! {
    /// A process that ran when the plugin started, as it was a moment later.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Running<'a> {
        /// The process, with all its arguments up to 64 KiB. Its file is zero unless an event told of it.
        pub process: Process<'a>,
        /// Kind of executable, as far as `/proc` tells: `MEMFD` and `DELETED`.
        pub flags: ExecFlags,
        /// Its open connections, TCP and UDP, in its network namespace, at most 1024.
        pub connections: Vec<Connect>,
        /// Whether there are more connections, or some could not be read.
        pub connections_cut: bool,
    }
}

impl Running<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Running<'static> {
        let Self { process, flags, connections, connections_cut } = self;
        Running { process: process.into_owned(), flags, connections, connections_cut }
    }
}

composite! {
    /// Every process that ran has been told of.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RunningEnd {
        /// Processes that were told of.
        pub told: u32,
        /// Processes that ended before they could be read.
        pub ended: u32,
        /// Processes that are not known, as the host's table of processes is full.
        pub outside: u64,
        /// Processes that were read, and whose records found no room in the plugin's queue.
        pub lost: u32,
    }
}
