//! The frozen [`Spec`] of an instance of the template, field by field.
//!
//! Each field is read where it is used: a copy on the stack would be unknown to the verifier.

use krsi_host_abi::spec::{Atom, CAPTURES, Capture, HOPS, STRING_LEN, Spec, Term, spec_flag};

#[unsafe(no_mangle)]
static SPEC: Spec = Spec::EMPTY;

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $name() -> $type {
                // SAFETY: a shared reference to a static is always readable.
                unsafe { core::ptr::read_volatile(&raw const SPEC.$name) }
            }
        )*
    };
}

fields! {
    /// Slot of the hook.
    slot: u32;
    /// Bits of `spec_flag`.
    flags: u32;
    /// Arguments that rows take for pointers.
    pointers: u32;
    /// Errno of a watch that refuses.
    errno: u32;
    /// Rule id of a watch that refuses.
    rule_id: u64;
    /// Kind of the object.
    object: u32;
    /// Capture of the object.
    object_capture: u32;
    /// Row plus one of the path that rules are about.
    path_row: u32;
    /// Row plus one of the name that is joined to it.
    name_row: u32;
    /// Capture plus one of a second file.
    second_capture: u32;
    /// Row plus one of the second path.
    second_path_row: u32;
    /// Row plus one of the name that is joined to that.
    second_name_row: u32;
    /// Row plus one of what tells the hook's own calls.
    gate_row: u32;
    /// Row plus one of the socket's protocol.
    protocol_row: u32;
    /// Number of the label that a watch gives.
    label: u32;
    /// Row plus one of what is sent.
    content_row: u32;
    /// Atoms in use.
    atom_count: u32;
    /// Terms in use.
    term_count: u32;
    /// Owner slot of a watch that refuses.
    owner: u32;
}

/// Whether some row takes a room.
#[inline(always)]
pub fn has_rooms() -> bool {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const SPEC.room_rows[0]) != 0 }
}

/// Whether a bit of the flags is set.
#[inline(always)]
pub fn has(flag: u32) -> bool {
    flags() & flag != 0
}

/// Whether leases and filters can be about the calls.
#[inline(always)]
pub fn has_rules() -> bool {
    !has(spec_flag::WATCH)
}

macro_rules! row_fields {
    ($row:ident, $array:ident, $index:ident: $($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        impl<const $index: usize> $row<$index> {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub fn $name() -> $type {
                    // SAFETY: a shared reference to a static is always readable.
                    unsafe { core::ptr::read_volatile(&raw const SPEC.$array[$index].$name) }
                }
            )*
        }
    };
}

/// A capture by its number, which is a constant for the verifier.
#[derive(Clone, Copy)]
pub struct Row(usize);

/// Atom `I`.
pub struct Test<const I: usize>;
/// Term `I`.
pub struct Alternative<const I: usize>;

macro_rules! capture_fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        impl Row {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub fn $name(self) -> $type {
                    // SAFETY: `Row` is below CAPTURES; a static is always readable.
                    unsafe { core::ptr::read_volatile(&raw const (*self.place()).$name) }
                }
            )*
        }
    };
}

capture_fields! {
    /// How the value is read, a number of `Read`.
    read: u8;
    /// Where the path starts, a number of `root`.
    root: u8;
    /// Index of the argument.
    arg: u8;
    /// Pointers to follow.
    hops: u8;
    /// Bytes of a scalar, or which string.
    size: u8;
    /// Bits to drop.
    shift: u8;
    /// Bits that count after the shift; 0 for all.
    width: u8;
    /// Whether the highest bit is a sign.
    signed: u8;
    /// Bytes at most of a text or byte range.
    bound: u16;
    /// Room in the tail.
    room: u16;
}

impl Row {
    /// Row number `at`.
    #[inline(always)]
    pub fn new(at: usize) -> Self {
        Self(if at < CAPTURES { at } else { 0 })
    }

    /// The row that takes room `R`, if one does.
    #[inline(always)]
    pub fn of_room<const R: usize>() -> Option<Self> {
        // SAFETY: a shared reference to a static is always readable.
        let row = unsafe { core::ptr::read_volatile(&raw const SPEC.room_rows[R]) } as usize;
        if row == 0 { None } else { Some(Self::new(row - 1)) }
    }

    /// Number of the row.
    #[inline(always)]
    pub fn at(self) -> usize {
        self.0
    }

    #[inline(always)]
    fn place(self) -> *const Capture {
        (&raw const SPEC.captures).cast::<Capture>().wrapping_add(self.0)
    }

    /// Offset number `hop`, below [`HOPS`] + 1.
    #[inline(always)]
    pub fn offset(self, hop: usize) -> usize {
        let hop = if hop > HOPS { HOPS } else { hop };
        // SAFETY: `hop` is within the array; a static is always readable.
        unsafe {
            let first = (&raw const (*self.place()).offsets).cast::<u32>();
            core::ptr::read_volatile(first.add(hop)) as usize
        }
    }

    /// Offset after the hops.
    #[inline(always)]
    pub fn last(self) -> usize {
        self.offset(self.hops() as usize)
    }
}

row_fields! { Test, atoms, I:
    /// How the capture is compared, a number of `Compare`.
    compare: u8;
    /// Number of the capture that is tested.
    capture: u8;
    /// Length of its string, or place of its byte.
    len: u8;
    /// Part of the capture that is compared, one of `part`.
    part: u8;
    /// Bits of the capture that are compared.
    mask: u64;
    /// Number, or number of a string, that the capture is compared with.
    number: u64;
}

row_fields! { Alternative, terms, I:
    /// Atoms that matter, as bits.
    care: u32;
    /// Truth that each atom of `care` must have, as bits.
    value: u32;
}

/// String `which`, which a name of an attribute is.
#[inline(always)]
pub fn string(which: usize) -> *const u8 {
    let which = if which < krsi_host_abi::spec::STRINGS { which } else { 0 };
    (&raw const SPEC.strings).cast::<u8>().wrapping_add(which * STRING_LEN)
}

/// Byte `at` of string `which`.
#[inline(always)]
pub fn string_byte(which: usize, at: usize) -> u8 {
    let first = (&raw const SPEC.strings).cast::<u8>();
    let at = which * STRING_LEN + at;
    if at >= size_of_val_of_strings() {
        return 0;
    }
    // SAFETY: `at` is within the array; a static is always readable.
    unsafe { core::ptr::read_volatile(first.add(at)) }
}

#[inline(always)]
const fn size_of_val_of_strings() -> usize {
    krsi_host_abi::spec::STRINGS * STRING_LEN
}

const _: () = assert!(size_of::<Capture>() == 40 && size_of::<Atom>() == 24);
const _: () = assert!(size_of::<Term>() == 8);
