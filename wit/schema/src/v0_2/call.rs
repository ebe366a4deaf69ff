//! One call of a hook as a list of values, and what a value can be.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::hook::Hook;
use crate::v0_1::FileKey;

/// A call of a curated hook. [`super::record`] has a struct with named fields for each hook:
/// `FileMprotect::try_from(&call)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    /// The hook.
    pub hook: Hook,
    /// The values, in the order of [`Hook::fields`]. A later version may append some.
    pub values: Vec<Value<'a>>,
}

/// A call that one of a plugin's own watches saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch<'a> {
    /// Place of the watch in the manifest's list, from 0.
    pub index: u16,
    /// The kernel's name of the hook.
    #[serde(borrow)]
    pub hook: Cow<'a, str>,
    /// The values, in the order of the watch's fields.
    #[serde(borrow)]
    pub values: Vec<Value<'a>>,
}

/// Why a value is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// This kernel has no such field.
    Kernel,
    /// A pointer on the way to it was NULL: an anonymous mapping has no file.
    Null,
    /// It could not be read.
    Unreadable,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value<'a> {
    /// There is none.
    Absent(Why),
    /// A number without a sign, flags, an address of user space.
    Number(u64),
    /// A number with a sign.
    Signed(i64),
    /// A string, a name, a path.
    Text(#[serde(borrow)] Text<'a>),
    /// Bytes.
    Bytes(#[serde(borrow)] Cow<'a, [u8]>),
    /// A socket address.
    Address(#[serde(borrow)] Address<'a>),
    /// A file.
    File(FileKey),
}

/// What is to be known of a [`Text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFlags(pub u8);

impl TextFlags {
    /// Bit of a text that is cut, or of a path that could not be resolved in full.
    pub const TRUNCATED: u8 = 1;
    /// Bit of a path within one mount, whose own place is not known.
    pub const MOUNT_BLIND: u8 = 2;

    /// The text is cut, or the path could not be resolved in full.
    #[must_use]
    pub const fn truncated(self) -> bool {
        self.0 & Self::TRUNCATED != 0
    }

    /// The path is one within its mount: `/shadow` can be `/etc/shadow`.
    #[must_use]
    pub const fn mount_blind(self) -> bool {
        self.0 & Self::MOUNT_BLIND != 0
    }
}

/// A text. Bytes that are not UTF-8 are escaped as `\xNN`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text<'a> {
    /// The text. A path without a leading slash lacks its beginning.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    /// What is to be known of it.
    pub flags: TextFlags,
}

impl Text<'_> {
    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> Text<'_> {
        Text { text: Cow::Borrowed(&self.text), flags: self.flags }
    }
}

/// A socket address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address<'a> {
    /// `AF_*`.
    pub family: u16,
    /// Address of IPv4 and IPv6; IPv4-mapped is IPv4.
    pub ip: Option<IpAddr>,
    /// Port, 0 without one.
    pub port: u16,
    /// Path of a Unix socket, `@name` for an abstract one; empty for other families.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
}

impl Address<'_> {
    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> Address<'_> {
        Address { path: Cow::Borrowed(&self.path), ..*self }
    }
}

/// What kind of value a field has when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Value::Number`].
    Number,
    /// [`Value::Signed`].
    Signed,
    /// [`Value::Text`].
    Text,
    /// [`Value::Bytes`].
    Bytes,
    /// [`Value::Address`].
    Address,
    /// [`Value::File`].
    File,
}

/// One field of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRow {
    /// Name, as in the hook's record.
    pub name: &'static str,
    /// Kind of its value.
    pub kind: Kind,
    /// What it is, in words.
    pub doc: &'static str,
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Absent(_) => f.write_str("-"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Signed(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(&text.text),
            Value::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Value::Address(address) => address.fmt(f),
            Value::File(file) => {
                write!(f, "{}:{} inode {}", file.dev >> 20, file.dev & 0xf_ffff, file.ino)
            }
        }
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => core::net::SocketAddr::new(ip, self.port).fmt(f),
            None if !self.path.is_empty() => f.write_str(&self.path),
            None => write!(f, "address family {}", self.family),
        }
    }
}
