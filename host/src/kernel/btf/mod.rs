//! The running kernel's types: member offsets and hook prototypes, from its BTF.
//!
//! Two structures of one name that disagree about a member are refused, never guessed between.

pub(crate) mod kfunc;
pub(crate) mod signature;
pub(crate) mod trim;

use std::fs;
use std::path::Path;

use btf_rs::{Btf, Type};

mod id;
mod prototype;
mod walk;

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
        /// What the parser said.
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
        let invalid = |source| BtfError::Invalid { path: shown.clone(), source };
        // Read at once: the parser seeks before each type, a quarter of a million times.
        let parse = || {
            let bytes = fs::read(path).map_err(|error| invalid(error.into()))?;
            Self::parse(&bytes, &shown)
        };
        // On a thread: its allocations stand apart from those that stay, and can be given back whole.
        let parsed = std::thread::scope(|scope| scope.spawn(parse).join());
        parsed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Raw BTF that came from a place.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn parse(bytes: &[u8], place: &str) -> Result<Self, BtfError> {
        match Btf::from_bytes(bytes) {
            Ok(btf) => Ok(Self { btf }),
            Err(source) => Err(BtfError::Invalid { path: place.to_owned(), source }),
        }
    }

    /// Byte offset of a member; members of anonymous structs and unions are the structure's own.
    ///
    /// # Errors
    /// When the member is not there, or not in one place.
    pub fn offset(&self, structure: &str, member: &str) -> Result<u32, OffsetError> {
        let types = self.btf.resolve_types_by_name(structure).unwrap_or_default();
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
        self.btf
            .resolve_types_by_name(name)
            .is_ok_and(|types| types.iter().any(|found| matches!(found, Type::Func(_))))
    }

    /// Whether the kernel has a typed tracepoint of that name.
    #[must_use]
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.btf
            .resolve_types_by_name(&format!("btf_trace_{name}"))
            .is_ok_and(|types| !types.is_empty())
    }
}

#[cfg(test)]
pub(crate) mod maker;
#[cfg(test)]
pub(crate) mod tests;
