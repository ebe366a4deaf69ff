//! Processes and files as plugins know them.

use alloc::borrow::Cow;
use alloc::string::String;

use serde::{Deserialize, Serialize};

/// A process: thread group id and start time, never a bare pid.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct ProcessKey {
    /// Start, nanoseconds of `CLOCK_BOOTTIME`.
    pub start_boot_ns: u64,
    /// Thread group id in the initial pid namespace.
    pub tgid: u32,
}

/// A file: the kernel's device number (major << 20 | minor) and inode.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct FileKey {
    /// Inode number.
    pub ino: u64,
    /// `s_dev`; not the encoding of `stat(2)`.
    pub dev: u32,
}

/// Arguments of a process, as many as were captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argv<'a> {
    /// Arguments, each ended by a NUL; the last may be cut.
    #[serde(borrow)]
    pub joined: Cow<'a, str>,
    /// Number of arguments that the process was given.
    pub argc: u32,
    /// Whether some are missing or cut here.
    pub truncated: bool,
}

impl<'a> Argv<'a> {
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

/// What is known of a process; sent before the first record that refers to it, and again after an exec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process<'a> {
    /// Key of the process.
    pub key: ProcessKey,
    /// Its parent at fork; a tgid of 0 when unknown.
    pub parent: ProcessKey,
    /// Path of the executable; empty when unknown.
    #[serde(borrow)]
    pub exe: Cow<'a, str>,
    /// Arguments of the process.
    #[serde(borrow)]
    pub argv: Argv<'a>,
    /// Executable's identity; zero when unknown.
    pub file: FileKey,
    /// User id in the initial namespace.
    pub uid: u32,
    /// Group id in the initial namespace.
    pub gid: u32,
    /// Path of its cgroup below the unified hierarchy's root; empty when unknown.
    #[serde(borrow)]
    pub cgroup: Cow<'a, str>,
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
        }
    }
}

/// A process that was described has ended; nothing later refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Key of the process that ended.
    pub key: ProcessKey,
}

fn own(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(String::from(text))
}
