//! BTF as bytes: what the types are called and of which kind they are, without a value made of each.
//!
//! Layouts and kinds are those of `include/uapi/linux/btf.h`.

/// Bytes of a type without what its kind adds.
pub(crate) const TYPE_BYTES: usize = 12;
/// Bytes of the header that are read.
const HEADER_BYTES: usize = 24;

/// Kinds of types.
pub(crate) mod kind {
    pub(crate) const INT: u32 = 1;
    const ARRAY: u32 = 3;
    pub(crate) const STRUCT: u32 = 4;
    pub(crate) const UNION: u32 = 5;
    pub(crate) const ENUM: u32 = 6;
    pub(crate) const TYPEDEF: u32 = 8;
    pub(crate) const VOLATILE: u32 = 9;
    pub(crate) const CONST: u32 = 10;
    pub(crate) const RESTRICT: u32 = 11;
    pub(crate) const FUNC: u32 = 12;
    pub(crate) const FUNC_PROTO: u32 = 13;
    const VAR: u32 = 14;
    const DATASEC: u32 = 15;
    const DECL_TAG: u32 = 17;
    const ENUM64: u32 = 19;

    /// Bytes that follow a type of a kind with a count.
    pub(super) fn more_bytes(kind: u32, count: usize) -> usize {
        match kind {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | DATASEC | ENUM64 => 12 * count,
            ENUM | FUNC_PROTO => 8 * count,
            _ => 0,
        }
    }
}

/// A type as the bytes have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawType<'a> {
    /// Where it begins among the bytes.
    pub(crate) at: usize,
    pub(crate) kind: u32,
    /// Number of what follows it, or the linkage of a function.
    pub(crate) count: usize,
    /// Type that it refers to.
    pub(crate) of: u32,
    /// The strings from its name on; the name ends with a zero.
    strings: &'a [u8],
}

impl<'a> RawType<'a> {
    /// Name of the type; empty if it has none.
    pub(crate) fn name(&self) -> &'a [u8] {
        self.strings.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Every type, in the order of their ids, which begin with 1; ends before one that is cut.
pub(crate) fn types(bytes: &[u8]) -> impl Iterator<Item = RawType<'_>> {
    let section = |offset, length| {
        let header = word(bytes, 4)? as usize;
        let first = header.checked_add(word(bytes, offset)? as usize)?;
        Some((first, first.checked_add(word(bytes, length)? as usize)?))
    };
    let whole = bytes.len() >= HEADER_BYTES;
    let (mut at, end) = section(8, 12).filter(|_| whole).unwrap_or_default();
    let strings =
        section(16, 20).and_then(|(first, end)| bytes.get(first..end)).unwrap_or_default();
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (name, info, of) = (word(bytes, at)?, word(bytes, at + 4)?, word(bytes, at + 8)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let strings = strings.get(name as usize..).unwrap_or_default();
        let found = RawType { at, kind, count, of, strings };
        at += TYPE_BYTES + kind::more_bytes(kind, count);
        (at <= bytes.len()).then_some(found)
    })
}

/// A number of four bytes.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
