//! What a rule can be about: the one list of kinds of keys, and the keys.
//!
//! A key never gains a field, as an older host would apply the rule to more than was meant: what
//! narrows a key is a new key, such as [`RuleKey::Transport`].

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::manifest::Manifest;
use super::process::{FileKey, ProcessKey};
use crate::codec::{CodecError, Decode, Encode, Reader, choice};
use crate::words;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $method:ident;)*) => {
        /// A kind of keys, as manifests ask for it and configurations name it. Its name is what
        /// crosses the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum KeyKind { $($(#[$doc])* $kind,)* }

        impl KeyKind {
            /// Every kind of keys.
            pub const ALL: &'static [KeyKind] = &[$(KeyKind::$kind,)*];

            /// Name of the kind.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(KeyKind::$kind => $name,)* }
            }
        }

        impl Manifest {
            $(#[doc = concat!("Asks to make rules on ", $name, " keys.")]
            #[must_use]
            pub fn $method(mut self) -> Self {
                self.deny_keys = self.deny_keys.with(KeyKind::$kind);
                self
            })*
        }
    };
}

kinds! {
    /// Rules on one process.
    Process = "process", deny_by_process;
    /// A process and its descendants, as key or as subject.
    Lineage = "lineage", deny_by_lineage;
    /// A file.
    File = "file", deny_by_file;
    /// A destination.
    Network = "network", deny_by_network;
    /// A cgroup.
    Cgroup = "cgroup", deny_by_cgroup;
    /// A path prefix.
    Path = "path", deny_by_path;
    /// A digest of the executable.
    Digest = "digest", deny_by_digest;
    /// Every call of a hook.
    Hook = "hook", deny_by_hook;
}

impl KeyKind {
    /// The kind with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// A set of kinds of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyKinds(u64);

const _: () = assert!(KeyKind::ALL.len() <= u64::BITS as usize);

impl KeyKinds {
    /// The set with a kind added.
    #[must_use]
    pub const fn with(self, kind: KeyKind) -> Self {
        Self(self.0 | 1 << kind as u64)
    }

    /// Whether a kind is in the set.
    #[must_use]
    pub const fn contains(self, kind: KeyKind) -> bool {
        self.0 & 1 << kind as u64 != 0
    }

    /// The kinds in both.
    #[must_use]
    pub const fn and(self, other: KeyKinds) -> Self {
        Self(self.0 & other.0)
    }

    /// The kinds that are not in `other`.
    #[must_use]
    pub const fn without(self, other: KeyKinds) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds, in order.
    pub fn iter(self) -> impl Iterator<Item = KeyKind> {
        KeyKind::ALL.iter().copied().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<KeyKind> for KeyKinds {
    fn from_iter<I: IntoIterator<Item = KeyKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for KeyKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, kind) in self.iter().enumerate() {
            write!(f, "{}{kind}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

words! {
    /// What a path that could not be resolved in full means to a rule on paths.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum IfUnresolved ("meaning of an unresolved path") {
        /// The rule does not apply.
        #[default]
        Pass = 0,
        /// The rule applies.
        Apply = 1,
    }
}

macro_rules! keys {
    ($(
        $(#[$doc:meta])* $key:ident $(($value:ident: $type:ty))?
        $({ $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)* })? = $number:literal, $kind:ident;
    )*) => {
        /// Object of a rule.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum RuleKey {
            $($(#[$doc])* $key $(($type))? $({ $($(#[$field_doc])* $field: $field_type,)* })?,)*
        }

        impl RuleKey {
            /// Kind of the key.
            #[must_use]
            pub const fn kind(&self) -> KeyKind {
                match self { $(RuleKey::$key { .. } => KeyKind::$kind,)* }
            }
        }

        impl Encode for RuleKey {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(RuleKey::$key $(($value))? $({ $($field),* })? => choice(out, $number, |_out| {
                        $($value.encode(_out);)?
                        $($($field.encode(_out);)*)?
                    }),)*
                }
            }
        }

        impl Decode<'_> for RuleKey {
            fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
                let (number, mut _fields) = (from.number()?, from.sized()?);
                match number {
                    $($number => Ok(RuleKey::$key
                        $(({ let $value: $type = Decode::decode(&mut _fields)?; $value }))?
                        $({ $($field: Decode::decode(&mut _fields)?,)* })?),)*
                    number => Err(CodecError::Unknown { what: "rule key", number }),
                }
            }
        }
    };
}

keys! {
    /// A process, by its id and its start.
    Process(key: ProcessKey) = 0, Process;
    /// A process and all its descendants, present and future.
    Lineage(root: ProcessKey) = 1, Lineage;
    /// A file, by whatever name.
    File(file: FileKey) = 2, File;
    /// A destination.
    Network {
        /// Address prefix.
        address: IpAddr,
        /// Bits of it that count; 0 for every address of the family.
        prefix: u8,
        /// Port, 0 for every port.
        port: u16,
    } = 3, Network;
    /// Everything that runs in a cgroup.
    Cgroup(id: u64) = 4, Cgroup;
    /// Files whose path starts with a text.
    Path {
        /// The text, from a slash on.
        prefix: String,
        /// What a path means that could not be resolved in full.
        if_unresolved: IfUnresolved,
    } = 5, Path;
    /// Executables with a SHA-256 digest, as the kernel's IMA hashes the file.
    Digest(digest: [u8; 32]) = 6, Digest;
    /// Every call of the rule's hooks.
    Hook = 7, Hook;
    /// A destination, by sockets of one protocol.
    Transport {
        /// Address prefix.
        address: IpAddr,
        /// Bits of it that count; 0 for every address of the family.
        prefix: u8,
        /// Port, 0 for every port.
        port: u16,
        /// `IPPROTO_*` of `include/uapi/linux/in.h`, 1 to 255; sockets of `IPPROTO_MPTCP` are TCP's.
        protocol: u16,
    } = 8, Network;
}
