//! One call of a hook as a list of values, and what a value can be.
//!
//! Why: docs/adr/0011-calls-are-lists-of-values.md.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::hook::Hook;
use super::process::FileKey;
use crate::codec::{CodecError, Composite, Decode, Encode, Reader, choice};
use crate::{composite, words};

/// A call of a curated hook. [`super::record`] has a struct with named fields for each hook:
/// `FileMprotect::try_from(&call)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    /// Hook that was called.
    pub hook: Hook,
    /// The values, in the order of [`Hook::fields`]. A later version may append some.
    pub values: Vec<Value<'a>>,
}

composite! {
    /// A call that one of a plugin's own watches saw.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Watch<'a> {
        /// Place of the watch in the manifest's list, from 0.
        pub index: u16,
        /// The kernel's name of the hook.
        pub hook: Cow<'a, str>,
        /// The values, in the order of the watch's fields.
        pub values: Vec<Value<'a>>,
    }
}

words! {
    /// Why a value is not there.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Why ("reason" else Unreadable) {
        /// This kernel has no such field.
        Kernel = 0,
        /// A pointer on the way to it was NULL: an anonymous mapping has no file.
        Null = 1,
        /// It could not be read, or is not there for a reason of a later version.
        #[default]
        Unreadable = 2,
    }
}

/// Value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// The value is not there.
    Absent(Why),
    /// A number without a sign, flags, an address of user space.
    Number(u64),
    /// A number with a sign.
    Signed(i64),
    /// A string, a name, a path.
    Text(Text<'a>),
    /// A byte range, such as a digest.
    Bytes(Cow<'a, [u8]>),
    /// A socket address.
    Address(Address<'a>),
    /// A file.
    File(FileKey),
    /// The first bytes of what is sent.
    Content(Content<'a>),
    /// One of a later version, by its number: there, but not known here.
    Unknown(u64),
}

impl Encode for Value<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Absent(why) => choice(out, 0, |out| why.encode(out)),
            Value::Number(number) => choice(out, 1, |out| number.encode(out)),
            Value::Signed(number) => choice(out, 2, |out| number.encode(out)),
            Value::Text(text) => choice(out, 3, |out| text.encode_fields(out)),
            Value::Bytes(bytes) => choice(out, 4, |out| bytes.encode(out)),
            Value::Address(address) => choice(out, 5, |out| address.encode_fields(out)),
            Value::File(file) => choice(out, 6, |out| file.encode_fields(out)),
            Value::Content(content) => choice(out, 7, |out| content.encode_fields(out)),
            Value::Unknown(number) => choice(out, *number, |_| ()),
        }
    }
}

impl<'a> Decode<'a> for Value<'a> {
    fn decode(from: &mut Reader<'a>) -> Result<Self, CodecError> {
        let (number, mut fields) = (from.number()?, from.sized()?);
        let from = &mut fields;
        Ok(match number {
            0 => Value::Absent(from.field()?),
            1 => Value::Number(from.field()?),
            2 => Value::Signed(from.field()?),
            3 => Value::Text(Text::decode_fields(from)?),
            4 => Value::Bytes(from.field()?),
            5 => Value::Address(Address::decode_fields(from)?),
            6 => Value::File(FileKey::decode_fields(from)?),
            7 => Value::Content(Content::decode_fields(from)?),
            number => Value::Unknown(number),
        })
    }
}

/// What is to be known of a [`Text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextFlags(pub u8);

impl TextFlags {
    /// Bit of a text that is cut, or of a path that could not be resolved in full.
    pub const TRUNCATED: u8 = 1;
    /// Bit of a path within one mount, whose own place is not known.
    pub const WITHIN_MOUNT: u8 = 2;

    /// The text is cut, or the path could not be resolved in full.
    #[must_use]
    pub const fn truncated(self) -> bool {
        self.0 & Self::TRUNCATED != 0
    }

    /// The path is one within its mount: `/shadow` can be `/etc/shadow`.
    #[must_use]
    pub const fn within_mount(self) -> bool {
        self.0 & Self::WITHIN_MOUNT != 0
    }
}

impl Encode for TextFlags {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode<'_> for TextFlags {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        u8::decode(from).map(TextFlags)
    }
}

composite! {
    /// A text. Bytes that are not UTF-8 are escaped as `\xNN`.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Text<'a> {
        /// The text. A path without a leading slash lacks its beginning.
        pub text: Cow<'a, str>,
        /// Flags of the text: whether it is cut, or a path within one mount.
        pub flags: TextFlags,
    }
}

impl Text<'_> {
    /// The text without its own copy of the string.
    #[must_use]
    pub fn borrowed(&self) -> Text<'_> {
        Text { text: Cow::Borrowed(&self.text), flags: self.flags }
    }
}

composite! {
    /// A socket address.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Address<'a> {
        /// Address family, `AF_*`.
        pub family: u16,
        /// Address of IPv4 and IPv6; IPv4-mapped is IPv4.
        pub ip: Option<IpAddr>,
        /// Port, 0 without one.
        pub port: u16,
        /// Path of a Unix socket, `@name` for an abstract one; empty for other families.
        pub path: Cow<'a, str>,
    }
}

impl Address<'_> {
    /// The address without its own copy of the path.
    #[must_use]
    pub fn borrowed(&self) -> Address<'_> {
        Address { path: Cow::Borrowed(&self.path), ..*self }
    }
}

words! {
    /// What became of the first bytes of what is sent.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum ContentState ("content state" else Unread) {
        /// The whole message was read.
        Whole = 0,
        /// The message goes on.
        Cut = 1,
        /// The rest of the message was not in memory, or is not told for a reason of a later version.
        #[default]
        Unread = 2,
        /// The rest of the message lies in further segments than the eight that are read.
        Segments = 3,
        /// The message lies in pages of the kernel's: splice, sendfile, registered buffers.
        Kernel = 4,
        /// The message has no bytes.
        Empty = 5,
    }
}

impl ContentState {
    /// The state in one word, as predicates of watches have it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cut => "cut",
            Self::Unread => "unread",
            Self::Segments => "segments",
            Self::Kernel => "kernel",
            Self::Empty => "empty",
        }
    }
}

composite! {
    /// The first bytes of what is sent. What was sent in the end may differ: the sender can change it after the check.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Content<'a> {
        /// The bytes that were read.
        pub bytes: Cow<'a, [u8]>,
        /// Whether the bytes are the whole message, or why the rest is missing.
        pub state: ContentState,
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

/// A field of a hook's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRow {
    /// Name, as in the hook's record.
    pub name: &'static str,
    /// Kind of its value.
    pub kind: Kind,
    /// Meaning of the field, in words.
    pub doc: &'static str,
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Absent(_) => f.write_str("-"),
            Value::Unknown(_) => f.write_str("?"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Signed(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(&text.text),
            Value::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Value::Address(address) => address.fmt(f),
            Value::File(file) => file.fmt(f),
            // The bytes may be secret: whoever shows them does so on purpose.
            Value::Content(content) => {
                write!(f, "{}:{}", content.state.word(), content.bytes.len())
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
