//! Samples: what a process uses and is, read again and again because its plugin asks for it.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::event::Connect;
use super::process::{Argv, ProcessKey, Whose};
use crate::{composite, words};

composite! {
    /// Have a process read some times, each of them told by a [`Sample`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AskSamples {
        /// The plugin's number for this action, which its outcome and its samples name.
        pub token: u32,
        /// The process that is read.
        pub process: ProcessKey,
        /// Milliseconds between two samples; the first is read at once.
        pub every_ms: u64,
        /// How many samples are taken before the ask is at its end.
        pub times: u32,
        /// Whether memory and connections are read.
        pub usage: bool,
        /// Whether all arguments are read.
        pub arguments: bool,
    }
}

words! {
    /// What became of a sample.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum SampleState ("state of a sample" else Unread) {
        /// The process was read.
        Read = 0,
        /// The process has ended: this is the last sample of it.
        Ended = 1,
        /// The process is there, and could not be read.
        #[default]
        Unread = 2,
    }
}

composite! {
    /// A process at a moment, as its plugin asked. Of a state other than `Read` everything else is as if it were nothing.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Sample<'a> {
        /// Token of the ask.
        pub token: u32,
        /// The process that was to be read.
        pub process: ProcessKey,
        /// Number of the sample of its ask, from 1 on.
        pub number: u32,
        /// Whether no further sample of the ask comes.
        pub is_last: bool,
        /// Time of the reading, nanoseconds of `CLOCK_BOOTTIME`.
        pub boot_ns: u64,
        /// Result of the reading.
        pub state: SampleState,
        /// Path of the executable; empty when unknown.
        pub exe: Cow<'a, str>,
        /// Whether the root folder is the machine's.
        pub root: Whose,
        /// Whether the mount namespace is the machine's.
        pub mounts: Whose,
        /// Processor time of all its threads since it started, in steps of 10 ms.
        pub cpu_ns: u64,
        /// Number of threads.
        pub threads: u32,
        /// Bytes of memory that are resident.
        pub resident_bytes: u64,
        /// Bytes of huge pages that it asked for by name (hugetlb).
        pub huge_bytes: u64,
        /// Bytes of anonymous memory that is mapped executable: code made at run time.
        pub executable_bytes: u64,
        /// Whether there is more executable memory than could be counted.
        pub executable_cut: bool,
        /// Its open connections, TCP and UDP, in its network namespace, at most 1024.
        pub connections: Vec<Connect>,
        /// Whether there are more connections, or some could not be read.
        pub connections_cut: bool,
        /// All its arguments up to 64 KiB, if they were asked for.
        pub argv: Option<Argv<'a>>,
    }
}

impl Sample<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Sample<'static> {
        let Self { exe, argv, connections, .. } = self;
        Sample {
            exe: Cow::Owned(exe.into_owned()),
            argv: argv.map(Argv::into_owned),
            connections,
            token: self.token,
            process: self.process,
            number: self.number,
            is_last: self.is_last,
            boot_ns: self.boot_ns,
            state: self.state,
            root: self.root,
            mounts: self.mounts,
            cpu_ns: self.cpu_ns,
            threads: self.threads,
            resident_bytes: self.resident_bytes,
            huge_bytes: self.huge_bytes,
            executable_bytes: self.executable_bytes,
            executable_cut: self.executable_cut,
            connections_cut: self.connections_cut,
        }
    }
}
