//! Records of the template program: rows of values → named values, by the layout of their slot.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use krsi_host_abi::deny;
use krsi_host_abi::hook::HOOK_SLOTS;
use krsi_host_abi::record::{Call as Bytes, text_value};
use krsi_host_abi::spec::{CAPTURES, Capture, Read, content_state};
use krsi_plugin_schema::latest::{
    Address, Body, Call, Content, ContentState, Hook, Kind, Text, TextFlags, Value, Watch, Why,
};

use super::{DecodeError, Payload, file_key, text};

const AF_UNSPEC: u16 = 0;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Why a program's captures are not the values of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Rows for fewer or more fields than the hook has.
    #[error("{hook} has {wanted} fields, rows are given for {given}", hook = hook.name())]
    Fields {
        hook: Hook,
        /// Fields that the hook has.
        wanted: usize,
        /// Fields that were given.
        given: usize,
    },
    /// A row that is no capture, or not the first of its value.
    #[error("row {row} begins no value")]
    Row { row: usize },
    /// A capture that reads something else than the field's kind.
    #[error("row {row} reads another kind of value than field {field} of {hook} has", hook = hook.name())]
    Kind { hook: Hook, field: &'static str, kind: Kind, row: usize },
}

/// What one value of a record is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueShape {
    /// A number, with the bits that a signed one has.
    Number,
    Signed(u32),
    Text,
    Bytes,
    /// Two rows: inode number, device.
    File,
    /// Two rows: a room, and what the kernel's predicates look at.
    Address,
    /// Two rows: a room, and what became of the rest.
    Content,
}

/// Reads of texts.
const TEXTS: [Read; 6] =
    [Read::Text, Read::TextInline, Read::Path, Read::Dentry, Read::TaskExe, Read::Xattr];

/// Place of a field's value in a record: its first row and its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ValuePlace {
    row: u8,
    shape: ValueShape,
}

impl ValuePlace {
    /// The value that a row of a program begins.
    fn of(row: usize, captures: &[Capture]) -> Result<Self, LayoutError> {
        let wrong = LayoutError::Row { row };
        let capture = captures.get(row).filter(|_| row < CAPTURES).ok_or(wrong)?;
        let next = captures.get(row.saturating_add(1)).filter(|_| row < CAPTURES - 1);
        let is = |read: Read| capture.read == read as u8;
        let then = |read: Read| next.is_some_and(|next| next.read == read as u8);
        let shape = if is(Read::Scalar) && capture.signed == 1 {
            ValueShape::Signed(match capture.width {
                0 => u32::from(capture.size) * 8,
                width => u32::from(width),
            })
        } else if is(Read::Scalar) {
            ValueShape::Number
        } else if [Read::Bytes, Read::BytesBehind, Read::FsVerity].into_iter().any(is) {
            ValueShape::Bytes
        } else if is(Read::Inode) && then(Read::InodeDev) {
            ValueShape::File
        } else if (is(Read::SockAddr) || is(Read::Peer)) && then(Read::SockAddrPort) {
            ValueShape::Address
        } else if is(Read::Content) && then(Read::ContentState) {
            ValueShape::Content
        } else if TEXTS.into_iter().any(is) {
            ValueShape::Text
        } else {
            return Err(wrong);
        };
        // A row is below CAPTURES, which is far below 256.
        Ok(Self { row: u8::try_from(row).map_err(|_| wrong)?, shape })
    }

    /// The same as a value of a kind: a number has a sign or not as the contract says, not as the
    /// kernel's type does.
    fn as_kind(self, kind: Kind) -> Option<Self> {
        let shape = match (kind, self.shape) {
            (Kind::Number, ValueShape::Number | ValueShape::Signed(_)) => ValueShape::Number,
            (Kind::Signed, ValueShape::Number) => ValueShape::Signed(u64::BITS),
            (Kind::Signed, ValueShape::Signed(_))
            | (Kind::Text, ValueShape::Text)
            | (Kind::Bytes, ValueShape::Bytes)
            | (Kind::File, ValueShape::File)
            | (Kind::Address, ValueShape::Address) => self.shape,
            _ => return None,
        };
        Some(Self { shape, ..self })
    }
}

/// Hook or watch whose records have a slot.
#[derive(Clone, Debug)]
enum SlotOrigin {
    Hook(Hook),
    Watch { owner: u8, index: u16, hook: Box<str> },
}

/// What the records of one slot hold.
#[derive(Clone, Debug)]
pub struct CallLayout {
    origin: SlotOrigin,
    /// Where each value stands; nowhere for one that this kernel does not have.
    places: Vec<Option<ValuePlace>>,
}

impl CallLayout {
    /// The layout of a curated hook: for each field the row of `captures` that its value begins, or
    /// none where this kernel has no such field.
    ///
    /// # Errors
    /// When the rows are not values of the hook's fields.
    pub fn curated(
        hook: Hook,
        rows: &[Option<usize>],
        captures: &[Capture],
    ) -> Result<Self, LayoutError> {
        let (fields, given) = (hook.fields(), rows.len());
        if fields.len() != given {
            return Err(LayoutError::Fields { hook, wanted: fields.len(), given });
        }
        let places = fields.iter().zip(rows).map(|(field, row)| {
            let Some(row) = *row else { return Ok(None) };
            let (kind, field) = (field.kind, field.name);
            let place = ValuePlace::of(row, captures)?.as_kind(kind);
            place.map(Some).ok_or(LayoutError::Kind { hook, field, kind, row })
        });
        Ok(Self { origin: SlotOrigin::Hook(hook), places: places.collect::<Result<_, _>>()? })
    }

    /// The layout of a watch: the rows of `captures` that its values begin, in the order of its
    /// fields. `owner` is the slot of its plugin, `index` its place in the plugin's manifest.
    ///
    /// # Errors
    /// When a row begins no value.
    pub fn watch(
        owner: u8,
        index: u16,
        hook: &str,
        rows: &[usize],
        captures: &[Capture],
    ) -> Result<Self, LayoutError> {
        let places = rows.iter().map(|row| ValuePlace::of(*row, captures).map(Some));
        let origin = SlotOrigin::Watch { owner, index, hook: hook.into() };
        Ok(Self { origin, places: places.collect::<Result<_, _>>()? })
    }

    /// The body of a record, and the owner of the watch that it is of.
    pub(super) fn body<'a>(
        &'a self,
        payload: &Payload<'a>,
    ) -> Result<(Body<'a>, Option<u8>), DecodeError> {
        let (body, tail) = payload.body::<Bytes>()?;
        let record = Record { body, tail, slot: payload.slot };
        let mut values = Vec::with_capacity(self.places.len());
        for place in &self.places {
            values.push(match place {
                Some(place) => record.value(*place)?,
                None => Value::Absent(Why::Kernel),
            });
        }
        Ok(match &self.origin {
            SlotOrigin::Hook(hook) => (Body::Call(Call { hook: *hook, values }), None),
            SlotOrigin::Watch { owner, index, hook } => {
                let watch = Watch { index: *index, hook: Cow::Borrowed(hook), values };
                (Body::Watch(watch), Some(*owner))
            }
        })
    }
}

/// The layouts of all slots; a record of a slot without one is not decoded.
#[derive(Clone, Debug, Default)]
pub struct CallLayouts(Vec<Option<CallLayout>>);

impl CallLayouts {
    /// Says what the records of a slot hold, from now on. Slots beyond the kernel's arrays are
    /// ignored: no record can be of one.
    pub fn set(&mut self, slot: u16, layout: CallLayout) {
        let at = usize::from(slot);
        if at >= HOOK_SLOTS {
            return;
        }
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        if let Some(place) = self.0.get_mut(at) {
            *place = Some(layout);
        }
    }

    /// Forgets a slot.
    pub fn clear(&mut self, slot: u16) {
        if let Some(place) = self.0.get_mut(usize::from(slot)) {
            *place = None;
        }
    }

    /// The layout of a slot.
    #[must_use]
    pub fn get(&self, slot: u16) -> Option<&CallLayout> {
        self.0.get(usize::from(slot))?.as_ref()
    }
}

/// A record whose values are being read.
struct Record<'a> {
    body: Bytes,
    tail: &'a [u8],
    slot: u16,
}

impl<'a> Record<'a> {
    fn value(&self, place: ValuePlace) -> Result<Value<'a>, DecodeError> {
        let row = usize::from(place.row);
        let rows = match place.shape {
            ValueShape::File | ValueShape::Address | ValueShape::Content => 0b11 << row,
            _ => 1 << row,
        };
        if self.body.read & rows != rows {
            let null = self.body.null & rows != 0;
            return Ok(Value::Absent(if null { Why::Null } else { Why::Unreadable }));
        }
        let value = self.number(row);
        Ok(match place.shape {
            ValueShape::Number => Value::Number(value),
            ValueShape::Signed(bits) => Value::Signed(signed(value, bits)),
            ValueShape::Text => Value::Text(self.text(value)?),
            ValueShape::Bytes => Value::Bytes(Cow::Borrowed(self.room(value)?)),
            ValueShape::File => {
                Value::File(file_key(deny::FileKey::of(value, self.number(row + 1))))
            }
            ValueShape::Address => Value::Address(self.address(value)?),
            ValueShape::Content => Value::Content(Content {
                bytes: Cow::Borrowed(self.room(value)?),
                state: state(self.number(row + 1)),
            }),
        })
    }

    fn number(&self, row: usize) -> u64 {
        self.body.values.get(row).copied().unwrap_or(0)
    }

    /// The bytes that a text value describes.
    fn room(&self, value: u64) -> Result<&'a [u8], DecodeError> {
        let field = |shift: u32| usize::from((value >> shift) as u16);
        let (start, len) = (field(0), field(text_value::LEN_SHIFT));
        self.tail.get(start..start + len).ok_or(DecodeError::Text { slot: self.slot })
    }

    fn text(&self, value: u64) -> Result<Text<'a>, DecodeError> {
        let bytes = self.room(value)?;
        let is = |flag| value >> text_value::FLAG_SHIFT & flag != 0;
        let truncated = is(text_value::TRUNCATED);
        let mut flags = 0;
        if truncated {
            flags |= TextFlags::TRUNCATED;
        }
        if is(text_value::WITHIN_MOUNT) {
            flags |= TextFlags::WITHIN_MOUNT;
        }
        let text = if is(text_value::UPWARDS) {
            Cow::Owned(downwards(bytes, truncated))
        } else {
            text::until_nul(bytes)
        };
        Ok(Text { text, flags: TextFlags(flags) })
    }

    fn address(&self, value: u64) -> Result<Address<'a>, DecodeError> {
        let (head, rest) = match self.room(value)? {
            [a, b, rest @ ..] => (u16::from_ne_bytes([*a, *b]), rest),
            _ => (0, &[][..]),
        };
        let (family, port, ip) = match (head, rest) {
            // Datagrams to an address without a family go to it as one of IPv4.
            (AF_UNSPEC | AF_INET, [p, q, a, b, c, d, ..]) => {
                (head, [*p, *q], Some(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d))))
            }
            (AF_INET6, [p, q, _, _, _, _, rest @ ..]) => {
                let ip = rest.first_chunk::<16>().map(|ip| Ipv6Addr::from(*ip).to_canonical());
                (AF_INET6, [*p, *q], ip)
            }
            (family, _) => (family, [0, 0], None),
        };
        let port = u16::from_be_bytes(port);
        let path = match rest {
            path if family != AF_UNIX || path.is_empty() => Cow::Borrowed(""),
            // An abstract name is not ended by NUL; the kernel shows it behind an at sign.
            [0, name @ ..] => {
                let name = name.strip_suffix(&[0]).unwrap_or(name);
                Cow::Owned(format!("@{}", text::escape(name)))
            }
            path => text::until_nul(path),
        };
        Ok(Address { family, ip, port, path })
    }
}

/// Names from the leaf upwards, each ended by NUL → a path. Without its beginning it has no leading
/// slash, so that it is not taken for a whole one.
fn downwards(bytes: &[u8], truncated: bool) -> String {
    let names = bytes.split(|byte| *byte == 0).rev();
    let names = names.filter(|name| !name.is_empty() && *name != b"/").map(text::escape);
    let path = names.collect::<Vec<_>>().join("/");
    if truncated { path } else { format!("/{path}") }
}

/// What became of the rest of what is sent.
const fn state(number: u64) -> ContentState {
    match number {
        content_state::WHOLE => ContentState::Whole,
        content_state::CUT => ContentState::Cut,
        content_state::SEGMENTS => ContentState::Segments,
        content_state::KERNEL => ContentState::Kernel,
        content_state::EMPTY => ContentState::Empty,
        _ => ContentState::Unread,
    }
}

/// The number that the lowest `bits` are.
const fn signed(value: u64, bits: u32) -> i64 {
    if bits == 0 || bits >= u64::BITS {
        return value as i64;
    }
    let above = u64::BITS - bits;
    (value << above) as i64 >> above
}

#[cfg(test)]
mod tests;
