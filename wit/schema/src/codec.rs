//! The encoding of what grows: numbers, texts, and composites that carry their length.
//!
//! ```text
//! composite: | length | field | field | … |       choice: | number | length | field | … |
//! ```
//! Fields that are numbers have the bytes of their type, little endian. Lengths, counts of items and numbers of
//! alternatives are little endian base 128. A reader stops at the fields it knows and skips
//! the rest; fields that an older writer does not have are read as their defaults. Why:
//! docs/adr/0021-composites-carry-their-length.md.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Bytes of the longest encoded number.
const NUMBER_MAX: usize = 10;
/// Largest length that needs one byte.
const SHORT: usize = 0x7f;
/// Items of a list at most: one of a byte can become a hundred bytes of memory.
const ITEMS_MAX: usize = 1 << 16;
/// Items that a list has room for before any was read.
const RESERVED: usize = 16;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end too early, or are no such value.
    #[error("does not decode")]
    Malformed,
    /// A word of a later version, where none may be left out.
    #[error("{what} {number} is not known to this version")]
    Unknown {
        /// Kind of the word, as messages name it.
        what: &'static str,
        /// Number of the word.
        number: u64,
    },
}

/// A value that can be written.
pub trait Encode {
    /// Appends the encoded value to `out`.
    fn encode(&self, out: &mut Vec<u8>);
}

/// A value that can be read.
pub trait Decode<'a>: Sized {
    /// Takes the value from the front.
    ///
    /// # Errors
    /// When it is not there.
    fn decode(from: &mut Reader<'a>) -> Result<Self, CodecError>;
}

/// A composite whose fields can also stand without a length, where a frame ends with them.
pub trait Composite<'a>: Encode + Decode<'a> {
    /// Names of the fields, in order.
    const FIELDS: &'static [&'static str];

    /// Appends the fields alone.
    fn encode_fields(&self, out: &mut Vec<u8>);
    /// Takes the fields alone; those that are missing have their defaults.
    ///
    /// # Errors
    /// When a field is not what it should be.
    fn decode_fields(from: &mut Reader<'a>) -> Result<Self, CodecError>;
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(CodecError::Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next `N` bytes.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(CodecError::Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next signed number, as [`signed`] writes it.
    ///
    /// # Errors
    /// When there is none, or one beyond 64 bits.
    pub fn signed(&mut self) -> Result<i64, CodecError> {
        let folded = self.number()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// The next number.
    ///
    /// # Errors
    /// When there is none, or one beyond 64 bits.
    pub fn number(&mut self) -> Result<u64, CodecError> {
        if let Some((byte, rest)) = self.0.split_first().filter(|(byte, _)| **byte <= 0x7f) {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        let mut number = 0;
        for at in 0..NUMBER_MAX as u32 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << (7 * at) >> (7 * at) != bits {
                return Err(CodecError::Malformed);
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::Malformed)
    }

    /// What a length says, for a reader of its own.
    ///
    /// # Errors
    /// When there is less.
    pub fn sized(&mut self) -> Result<Reader<'a>, CodecError> {
        let len = usize::decode(self)?;
        self.bytes(len).map(Reader)
    }

    /// The next field; its default if an older writer does not have it.
    ///
    /// # Errors
    /// When it is not what it should be.
    pub fn field<T: Decode<'a> + Default>(&mut self) -> Result<T, CodecError> {
        if self.is_empty() { Ok(T::default()) } else { T::decode(self) }
    }
}

/// Appends a number.
pub fn number(number: u64, out: &mut Vec<u8>) {
    if number <= SHORT as u64 {
        return out.push(number as u8);
    }
    let (mut rest, mut bytes, mut len) = (number, [0; NUMBER_MAX], 0);
    for byte in &mut bytes {
        let more = rest > 0x7f;
        *byte = (rest & 0x7f) as u8 | u8::from(more) << 7;
        rest >>= 7;
        len += 1;
        if !more {
            break;
        }
    }
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}

/// Appends what `fields` appends, after its length.
pub fn sized(out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    fields(out);
    let len = out.len() - at - 1;
    if len > SHORT {
        return lengthen(out, at, len);
    }
    if let Some(byte) = out.get_mut(at) {
        *byte = len as u8;
    }
}

/// Makes room for a length of more than one byte, and writes it.
#[cold]
fn lengthen(out: &mut Vec<u8>, at: usize, len: usize) {
    let (start, end) = (at + 1, out.len());
    // The number is written behind first, which says how long it is.
    number(len as u64, out);
    let more = out.len() - end - 1;
    let mut bytes = [0; NUMBER_MAX];
    bytes.iter_mut().zip(out.iter().skip(end)).for_each(|(byte, from)| *byte = *from);
    out.truncate(end);
    out.resize(end + more, 0);
    out.copy_within(start..end, start + more);
    out.iter_mut().skip(at).zip(bytes).take(more + 1).for_each(|(byte, from)| *byte = from);
}

/// Appends one of several alternatives: its number, and its fields after their length.
pub fn choice(out: &mut Vec<u8>, which: u64, fields: impl FnOnce(&mut Vec<u8>)) {
    number(which, out);
    sized(out, fields);
}

macro_rules! numbers {
    ($($number:ty)*) => { $(
        impl Encode for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }

        impl Decode<'_> for $number {
            fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
                from.array().map(Self::from_le_bytes)
            }
        }
    )* };
}

numbers! { u8 u16 u32 u64 i64 f64 }

impl Encode for usize {
    fn encode(&self, out: &mut Vec<u8>) {
        number(*self as u64, out);
    }
}

impl Decode<'_> for usize {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Self::try_from(from.number()?).map_err(|_| CodecError::Malformed)
    }
}

/// Appends a signed number: its distance from zero doubled, with the sign as the lowest bit.
pub fn signed(signed: i64, out: &mut Vec<u8>) {
    number((signed << 1 ^ signed >> 63) as u64, out);
}

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Decode<'_> for bool {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Malformed),
        }
    }
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Decode<'_> for [u8; N] {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.array()
    }
}

impl Encode for str {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode(out);
    }
}

impl Encode for [u8] {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        out.extend_from_slice(self);
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }
}

impl Decode<'_> for String {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Cow::<str>::decode(from).map(String::from)
    }
}

impl<T: Encode + alloc::borrow::ToOwned + ?Sized> Encode for Cow<'_, T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }
}

impl<'a> Decode<'a> for Cow<'a, str> {
    fn decode(from: &mut Reader<'a>) -> Result<Self, CodecError> {
        let Reader(bytes) = from.sized()?;
        core::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| CodecError::Malformed)
    }
}

impl<'a> Decode<'a> for Cow<'a, [u8]> {
    fn decode(from: &mut Reader<'a>) -> Result<Self, CodecError> {
        from.sized().map(|Reader(bytes)| Cow::Borrowed(bytes))
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<T> {
    fn decode(from: &mut Reader<'a>) -> Result<Self, CodecError> {
        bool::decode(from)?.then(|| T::decode(from)).transpose()
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        self.iter().for_each(|item| item.encode(out));
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    fn decode(from: &mut Reader<'a>) -> Result<Self, CodecError> {
        let len = usize::decode(from)?;
        if len > ITEMS_MAX {
            return Err(CodecError::Malformed);
        }
        // A length that lies reserves next to nothing.
        let mut items = Vec::with_capacity(len.min(RESERVED));
        for _ in 0..len {
            items.push(T::decode(from)?);
        }
        Ok(items)
    }
}

impl Encode for IpAddr {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            IpAddr::V4(v4) => v4.octets()[..].encode(out),
            IpAddr::V6(v6) => v6.octets()[..].encode(out),
        }
    }
}

impl Decode<'_> for IpAddr {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let Reader(bytes) = from.sized()?;
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| v6()).map_err(|_| CodecError::Malformed)
    }
}

/// Declares a composite: a struct, its encoding with its length, and that of its fields alone.
#[macro_export]
macro_rules! composite {
    ($(#[$meta:meta])* pub struct $name:ident<$life:lifetime> { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])* pub struct $name<$life> { $($(#[$doc])* pub $field: $type,)* }
        $crate::composite! { @impl [$name<'_>] [$life] [$name<$life>] $($field)* }
    };
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])* pub struct $name { $($(#[$doc])* pub $field: $type,)* }
        $crate::composite! { @impl [$name] ['de] [$name] $($field)* }
    };
    (@impl [$any:ty] [$life:lifetime] [$own:ty] $($field:ident)*) => {
        impl $crate::codec::Encode for $any {
            fn encode(&self, out: &mut $crate::Bytes) {
                $crate::codec::sized(out, |out| $crate::codec::Composite::encode_fields(self, out));
            }
        }

        impl<$life> $crate::codec::Decode<$life> for $own {
            fn decode(
                from: &mut $crate::codec::Reader<$life>,
            ) -> Result<Self, $crate::codec::CodecError> {
                <Self as $crate::codec::Composite<$life>>::decode_fields(&mut from.sized()?)
            }
        }

        impl<$life> $crate::codec::Composite<$life> for $own {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];

            #[allow(unused_variables, reason = "a composite can be without fields yet")]
            fn encode_fields(&self, out: &mut $crate::Bytes) {
                let Self { $($field),* } = self;
                $($crate::codec::Encode::encode($field, out);)*
            }

            #[allow(unused_variables, reason = "a composite can be without fields yet")]
            fn decode_fields(
                from: &mut $crate::codec::Reader<$life>,
            ) -> Result<Self, $crate::codec::CodecError> {
                Ok(Self { $($field: from.field()?),* })
            }
        }
    };
}

/// Declares words: an enum without fields, each with its number. A number of a later version is read
/// as the word after `else`, or is refused where there is none.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident ($what:literal $(else $other:ident)?) {
        $($(#[$doc:meta])* $word:ident = $number:literal,)*
    }) => {
        $(#[$meta])* pub enum $name { $($(#[$doc])* $word = $number,)* }

        impl $crate::codec::Encode for $name {
            fn encode(&self, out: &mut $crate::Bytes) {
                $crate::codec::number(*self as u64, out);
            }
        }

        impl $crate::codec::Decode<'_> for $name {
            fn decode(
                from: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::CodecError> {
                match from.number()? {
                    $($number => Ok(Self::$word),)*
                    number => $crate::words!(@other $what number $($other)?),
                }
            }
        }
    };
    (@other $what:literal $number:ident $other:ident) => { { let _ = $number; Ok(Self::$other) } };
    (@other $what:literal $number:ident) => {
        Err($crate::codec::CodecError::Unknown { what: $what, number: $number })
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    composite! {
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Old<'a> {
            pub number: u32,
            pub text: Cow<'a, str>,
        }
    }

    composite! {
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct New<'a> {
            pub number: u32,
            pub text: Cow<'a, str>,
            pub more: Option<i64>,
        }
    }

    fn written(value: &impl Encode) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        out
    }

    #[test]
    fn an_older_reader_skips_and_a_newer_one_has_defaults() {
        let new = New { number: 300, text: "x".into(), more: Some(-1) };
        let list = written(&Vec::from([new.clone(), new]));
        let old = Old { number: 300, text: "x".into() };
        assert_eq!(
            Vec::<Old<'_>>::decode(&mut Reader::new(&list)).unwrap(),
            [old.clone(), old.clone()]
        );
        let list = written(&Vec::from([old.clone(), old]));
        let read = Vec::<New<'_>>::decode(&mut Reader::new(&list)).unwrap();
        assert!(read.iter().all(|new| new.number == 300 && new.more.is_none()) && read.len() == 2);
    }

    #[test]
    fn lengths_and_numbers_at_their_edges_round_trip() {
        for len in [0, 1, 124, 125, 126, 127, 128, 129, 16_383, 16_384, 70_000] {
            let old = Old { number: 1, text: "y".repeat(len).into() };
            let bytes = written(&(old.clone()));
            let mut reader = Reader::new(&bytes);
            assert_eq!(Old::decode(&mut reader).unwrap(), old, "{len}");
            assert!(reader.is_empty());
        }
        for number in [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            assert_eq!(u64::decode(&mut Reader::new(&written(&number))), Ok(number));
            let minus = number as i64;
            assert_eq!(i64::decode(&mut Reader::new(&written(&minus))), Ok(minus));
            let mut out = Vec::new();
            super::number(number, &mut out);
            signed(minus, &mut out);
            let mut reader = Reader::new(&out);
            assert_eq!((reader.number(), reader.signed()), (Ok(number), Ok(minus)));
            assert!(reader.is_empty());
        }
        let too_long = [[0xff; 9].as_slice(), &[2]].concat();
        assert_eq!(Reader::new(&too_long).number(), Err(CodecError::Malformed));
        assert_eq!(Reader::new(&[0x80; 12]).number(), Err(CodecError::Malformed));
        // A list that claims more than there is.
        let lie = written(&usize::MAX);
        assert_eq!(Vec::<u64>::decode(&mut Reader::new(&lie)), Err(CodecError::Malformed));
        // As many items as a list may have, and one more.
        for (len, fits) in [(ITEMS_MAX, true), (ITEMS_MAX + 1, false)] {
            let list = written(&alloc::vec![0_u64; len]);
            assert_eq!(Vec::<u64>::decode(&mut Reader::new(&list)).is_ok(), fits, "{len}");
        }
    }

    #[test]
    fn a_cut_composite_is_malformed_wherever_it_is_cut() {
        let whole = written(&New { number: 300, text: "text".into(), more: Some(7) });
        for cut in 0..whole.len() {
            assert!(New::decode(&mut Reader::new(&whole[..cut])).is_err(), "{cut}");
        }
    }
}
