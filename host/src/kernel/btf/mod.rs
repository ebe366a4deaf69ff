//! The running kernel's types: member offsets and hook prototypes, from its BTF.
//!
//! Two structures of one name that disagree about a member are refused, never guessed between.

pub(crate) mod kfunc;
pub(crate) mod signature;
pub(crate) mod trim;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use btf_rs::{Backend, Btf, Type};
use rustix::fs::{MemfdFlags, memfd_create};

mod id;
mod names;
mod prototype;
pub(crate) mod raw;
mod walk;

use names::TypeNames;
pub(crate) use prototype::{Argument, Prototype, PrototypeError, Returns};
pub(crate) use walk::{Form, MemberAt, Sort};

/// Where the kernel shows its BTF.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Anonymous structs and unions are searched this deep.
const MAX_DEPTH: u32 = 4;

/// Why the kernel's types could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel was built without `CONFIG_DEBUG_INFO_BTF`.
    #[error("{path} is missing: this kernel was built without BTF")]
    Missing {
        /// Path that was tried.
        path: String,
    },
    /// The bytes are not BTF.
    #[error("{path} is not valid BTF")]
    Invalid {
        /// Path that was read.
        path: String,
        /// Error of the BTF parser.
        #[source]
        source: btf_rs::Error,
    },
}

/// Why a member has no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// No structure of that name.
    #[error("no such structure")]
    NoStructure,
    /// The structure has no such member.
    #[error("no such member")]
    NoMember,
    /// Structures of that name disagree.
    #[error("several structures of this name disagree")]
    Ambiguous,
    /// The member does not start at a byte.
    #[error("a bit field")]
    BitField,
}

/// The types of one kernel.
pub struct KernelTypes {
    btf: Btf,
    names: TypeNames,
}

impl KernelTypes {
    /// Reads the types of the running kernel.
    ///
    /// # Errors
    /// When the kernel has no BTF or it does not parse.
    pub fn running() -> Result<Self, BtfError> {
        Self::read(Path::new(VMLINUX))
    }

    /// Reads raw BTF from a file.
    ///
    /// # Errors
    /// When the file is missing or does not parse.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let shown = path.display().to_string();
        if !path.exists() {
            return Err(BtfError::Missing { path: shown });
        }
        let parse = || {
            let read = fs::read(path).map_err(btf_rs::Error::from);
            let bytes = read.map_err(|source| BtfError::Invalid { path: shown.clone(), source })?;
            match Self::mapped(&bytes) {
                Some(types) => Ok(types),
                None => Self::parse(&bytes, &shown),
            }
        };
        // On a thread: its allocations stand apart from those that stay, and can be given back whole.
        let parsed = std::thread::scope(|scope| scope.spawn(parse).join());
        parsed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Types that are read where they lie: a quarter of the time and memory of those that are kept as values. Before
    /// 6.16 the kernel's file cannot be mapped, so that a copy of it is. Nothing where that cannot be had.
    fn mapped(bytes: &[u8]) -> Option<Self> {
        let mut copy = File::from(memfd_create("krsi-host-btf", MemfdFlags::CLOEXEC).ok()?);
        copy.write_all(bytes).ok()?;
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        Some(Self::of(Btf::from_file_with_backend(path, Backend::Mmap).ok()?, bytes))
    }

    fn of(btf: Btf, bytes: &[u8]) -> Self {
        Self { btf, names: TypeNames::of(bytes) }
    }

    /// Types of a name.
    fn named(&self, name: &str) -> Vec<Type> {
        self.ids(name).filter_map(|id| self.btf.resolve_type_by_id(id).ok()).collect()
    }

    /// Ids of the types of a name, in order.
    fn ids<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.names.ids(&self.btf, name)
    }

    /// Raw BTF that came from a place.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn parse(bytes: &[u8], place: &str) -> Result<Self, BtfError> {
        match Btf::from_bytes(bytes) {
            Ok(btf) => Ok(Self::of(btf, bytes)),
            Err(source) => Err(BtfError::Invalid { path: place.to_owned(), source }),
        }
    }

    /// Byte offset of a member; members of anonymous structs and unions are the structure's own.
    ///
    /// # Errors
    /// When the member is not there, or not in one place.
    pub fn offset(&self, structure: &str, member: &str) -> Result<u32, OffsetError> {
        let types = self.named(structure);
        let mut seen = false;
        let mut found = None;
        for candidate in types {
            let Type::Struct(candidate) = candidate else { continue };
            seen = true;
            let Some(MemberAt { bits, .. }) = self.member_at(&candidate, member, 0) else {
                continue;
            };
            if found.is_some_and(|before| before != bits) {
                return Err(OffsetError::Ambiguous);
            }
            found = Some(bits);
        }
        match found {
            Some(bits) if bits % 8 == 0 => Ok(bits / 8),
            Some(_) => Err(OffsetError::BitField),
            None if seen => Err(OffsetError::NoMember),
            None => Err(OffsetError::NoStructure),
        }
    }

    /// Whether the kernel has a function of that name.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named(name).iter().any(|found| matches!(found, Type::Func(_)))
    }

    /// Whether the kernel has a typed tracepoint of that name.
    #[must_use]
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.ids(&format!("btf_trace_{name}")).next().is_some()
    }
}

#[cfg(test)]
pub(crate) mod maker;
#[cfg(test)]
pub(crate) mod tests;
