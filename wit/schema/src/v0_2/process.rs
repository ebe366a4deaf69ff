//! Processes and files as plugins know them.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, Decode, Encode, Reader};
use crate::{composite, words};

pub use crate::v0_1::ProcessKey;

/// Start time and id are what a process is, in every version: the key has no length.
impl Encode for ProcessKey {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { start_boot_ns, tgid } = self;
        start_boot_ns.encode(out);
        tgid.encode(out);
    }
}

impl Decode<'_> for ProcessKey {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { start_boot_ns: u64::decode(from)?, tgid: u32::decode(from)? })
    }
}

composite! {
    /// A file: the kernel's device number (major << 20 | minor), inode number and generation.
    ///
    /// A file system gives the number of a file that is gone to the next one, with another generation: a rule
    /// takes the key of an event as it is.
    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
    )]
    pub struct FileKey {
        /// Inode number.
        pub ino: u64,
        /// `s_dev`; not the encoding of `stat(2)`.
        pub dev: u32,
        /// What tells the file from those that had its number before; 0 where the file system has none.
        pub generation: u32,
    }
}

impl FileKey {
    /// Whether another file has its number on its device; not whether it is the same.
    #[must_use]
    pub const fn is_numbered_as(&self, other: &Self) -> bool {
        self.ino == other.ino && self.dev == other.dev
    }
}

/// `MAJOR:MINOR inode INO generation GENERATION`, without the last where there is none.
impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ino, dev, generation } = self;
        write!(f, "{}:{} inode {ino}", dev >> 20, dev & 0xf_ffff)?;
        if *generation == 0 { Ok(()) } else { write!(f, " generation {generation}") }
    }
}

composite! {
    /// Arguments of a process, as many as were captured.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Argv<'a> {
        /// Arguments, each ended by a NUL; the last may be cut.
        pub joined: Cow<'a, str>,
        /// Number of arguments that the process was given.
        pub argc: u32,
        /// Whether some are missing or cut here.
        pub truncated: bool,
    }
}

impl Argv<'_> {
    /// The captured arguments, `argv[0]` first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let text: &str = &self.joined;
        text.strip_suffix('\0').unwrap_or(text).split('\0').filter(move |_| !text.is_empty())
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Argv<'static> {
        Argv { joined: own(self.joined), argc: self.argc, truncated: self.truncated }
    }
}

words! {
    /// Whether something of a process is the machine's: that of process 1.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum Whose ("whose it is" else Unknown) {
        /// What the process has is not known, or could not be read.
        #[default]
        Unknown = 0,
        /// The process has the same one as process 1: the machine's.
        Machine = 1,
        /// The process has another one, such as a container's.
        Own = 2,
    }
}

composite! {
    /// What is known of a process; sent before the first record that refers to it, and again after an
    /// exec.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Process<'a> {
        /// Key of the process.
        pub key: ProcessKey,
        /// Its parent at fork; a tgid of 0 when unknown.
        pub parent: ProcessKey,
        /// Path of the executable; empty when unknown.
        pub exe: Cow<'a, str>,
        /// Arguments of the process.
        pub argv: Argv<'a>,
        /// Executable's identity; zero when unknown.
        pub file: FileKey,
        /// User id in the initial namespace.
        pub uid: u32,
        /// Group id in the initial namespace.
        pub gid: u32,
        /// Path of its cgroup below the unified hierarchy's root; empty when unknown.
        pub cgroup: Cow<'a, str>,
        /// Whether its root folder is the machine's; only records of what runs already and samples tell it.
        pub root: Whose,
        /// Whether its mount namespace is the machine's.
        pub mounts: Whose,
    }
}

impl Process<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Process<'static> {
        Process {
            exe: own(self.exe),
            argv: self.argv.into_owned(),
            cgroup: own(self.cgroup),
            key: self.key,
            parent: self.parent,
            file: self.file,
            uid: self.uid,
            gid: self.gid,
            root: self.root,
            mounts: self.mounts,
        }
    }
}

composite! {
    /// A process that was described has ended; nothing later refers to it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Gone {
        /// Key of the process that ended.
        pub key: ProcessKey,
    }
}

fn own(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(String::from(text))
}
