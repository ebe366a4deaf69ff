//! The predicate of a spec: atoms on numbers, atoms on texts, and the terms over them, unrolled.
//!
//! An atom is true, false, or unknown: what could not be read, or the end of a text that was cut. What is
//! not there, as behind a NULL, makes every atom on it false. A word holds atoms that are true in its low
//! half and those that are unknown in its high half.

use krsi_host_abi::record::{PATH_LONG, PATH_SHORT, text_value};
use krsi_host_abi::spec::{ATOMS, CAPTURES, Compare, Read, TERMS, part};

use super::state::Values;
use super::text::{self, Rooms};
use crate::spec::{self, Alternative, Row, Test};
use crate::{capture, global};

macro_rules! sixteen {
    ($do:ident) => {
        $do!(0);
        $do!(1);
        $do!(2);
        $do!(3);
        $do!(4);
        $do!(5);
        $do!(6);
        $do!(7);
        $do!(8);
        $do!(9);
        $do!(10);
        $do!(11);
        $do!(12);
        $do!(13);
        $do!(14);
        $do!(15);
    };
}

/// Bit of an unknown atom, above that of a true one.
const UNKNOWN: u32 = 16;
/// Values of an atom.
const FALSE: u32 = 0;
const TRUE: u32 = 1;
const UNDECIDED: u32 = 1 << UNKNOWN;

/// Truth of a predicate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// The predicate is false.
    No,
    /// The predicate is undecided: a value that would decide it could not be read.
    Unknown,
    /// The predicate holds.
    Yes,
}

/// What the atoms on numbers come to.
#[inline(always)]
pub fn numbers(values: &Values) -> u32 {
    krsi_test_numbers(values)
}

/// What the atoms on numbers come to.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_test_numbers(values: &Values) -> u32 {
    let Some(values) = global::seen(values) else { return 0 };
    let mut bits = values.unknown_zero() as u32;
    macro_rules! one {
        ($at:literal) => {
            if $at < spec::atom_count() && !is_text::<$at>() {
                bits |= number::<$at>(values) << $at;
            }
        };
    }
    sixteen!(one);
    bits
}

/// Atoms on texts, and those on whether something is there.
#[inline(always)]
pub fn texts<const R: usize>(values: &Values, rooms: *mut Rooms<R>) -> u32 {
    if R == PATH_SHORT {
        krsi_test_short(values, rooms.cast())
    } else {
        krsi_test_long(values, rooms.cast())
    }
}

/// Tests texts in short rooms.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_test_short(values: &Values, rooms: *mut Rooms<PATH_SHORT>) -> u32 {
    match global::seen(values) {
        Some(values) if !rooms.is_null() => all_texts(values, rooms),
        _ => 0,
    }
}

/// Tests texts in long rooms.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_test_long(values: &Values, rooms: *mut Rooms<PATH_LONG>) -> u32 {
    match global::seen(values) {
        Some(values) if !rooms.is_null() => all_texts(values, rooms),
        _ => 0,
    }
}

#[inline(always)]
fn all_texts<const R: usize>(values: &Values, rooms: *mut Rooms<R>) -> u32 {
    let mut bits = values.unknown_zero() as u32;
    macro_rules! one {
        ($at:literal) => {
            if $at < spec::atom_count() && is_text::<$at>() {
                bits |= text::<$at, R>(values, rooms) << $at;
            }
        };
    }
    sixteen!(one);
    bits
}

/// Truth of the predicate.
#[inline(always)]
pub fn holds(bits: u32) -> Truth {
    // Bit 0: some alternative is unknown; bit 1: some holds.
    let mut found = 0;
    macro_rules! one {
        ($at:literal) => {
            if $at < spec::term_count() {
                let care = Alternative::<$at>::care();
                let unknown = bits >> UNKNOWN & care;
                if (bits ^ Alternative::<$at>::value()) & care & !unknown == 0 {
                    found |= if unknown == 0 { 2 } else { 1 };
                }
            }
        };
    }
    sixteen!(one);
    if found & 2 != 0 {
        Truth::Yes
    } else if found != 0 {
        Truth::Unknown
    } else {
        Truth::No
    }
}

/// Whether it can hold, as far as atoms on numbers tell.
#[inline(always)]
pub fn possible(bits: u32) -> bool {
    let known = !text_atoms();
    let mut found = false;
    macro_rules! one {
        ($at:literal) => {
            if $at < spec::term_count() {
                let care = Alternative::<$at>::care() & known & !(bits >> UNKNOWN);
                if (bits ^ Alternative::<$at>::value()) & care == 0 {
                    found = true;
                }
            }
        };
    }
    sixteen!(one);
    found
}

/// The atoms, as far as numbers tell them: those on texts are unknown.
#[inline(always)]
pub fn without_texts(bits: u32) -> u32 {
    bits | text_atoms() << UNKNOWN
}

#[inline(always)]
fn text_atoms() -> u32 {
    let mut atoms = 0;
    macro_rules! one {
        ($at:literal) => {
            if $at < spec::atom_count() && is_text::<$at>() {
                atoms |= 1 << $at;
            }
        };
    }
    sixteen!(one);
    atoms
}

/// Whether a test waits for the texts. Whether something could be read is asked last, of all; of a
/// spec without texts nothing comes after the numbers.
#[inline(always)]
fn is_text<const A: usize>() -> bool {
    let compare = Test::<A>::compare();
    if Test::<A>::part() != part::WHOLE {
        return true;
    }
    compare >= Compare::TextEqual as u8 && (compare != Compare::Present as u8 || spec::has_rooms())
}

/// What an atom comes to on a value that was not read.
#[inline(always)]
fn unread(values: &Values, capture: usize) -> u32 {
    if values.is_null(capture) { FALSE } else { UNDECIDED }
}

#[inline(always)]
fn number<const A: usize>(values: &Values) -> u32 {
    let capture = Test::<A>::capture() as usize;
    match values.get(capture) {
        Some(value) => compared::<A>(value),
        None => unread(values, capture),
    }
}

/// What an atom comes to on a number.
#[inline(always)]
fn compared<const A: usize>(value: u64) -> u32 {
    let (compare, number) = (Test::<A>::compare(), Test::<A>::number());
    let masked = value & Test::<A>::mask();
    let is_true = if compare == Compare::Equal as u8 {
        masked == number
    } else if compare == Compare::Below as u8 {
        masked < number
    } else if compare == Compare::BelowSigned as u8 {
        (value as i64) < number as i64
    } else if compare == Compare::AnyBit as u8 {
        masked != 0
    } else {
        compare == Compare::Present as u8
    };
    if is_true { TRUE } else { FALSE }
}

#[inline(always)]
fn text<const A: usize, const R: usize>(values: &Values, rooms: *mut Rooms<R>) -> u32 {
    let capture = Test::<A>::capture() as usize;
    let Some(value) = values.get(capture) else { return unread(values, capture) };
    let (compare, part) = (Test::<A>::compare(), Test::<A>::part());
    if part != part::WHOLE {
        let byte = u64::from(Test::<A>::len());
        if part == part::BYTE && length(value) <= byte {
            return if is_cut(value) { UNDECIDED } else { FALSE };
        }
        let room = text::room(rooms, Row::new(capture).room());
        return compared::<A>(if part == part::BYTE {
            u64::from(capture::byte(room.cast_const(), byte as usize & (R - 1)))
        } else {
            value
        });
    }
    if Row::new(capture).read() == Read::Content as u8 && compare != Compare::Present as u8 {
        let room = text::room(rooms, Row::new(capture).room()).cast_const();
        let (len, which) = (Test::<A>::len(), Test::<A>::number());
        return content::<R>(value, room, compare.into(), len.into(), which);
    }
    if compare == Compare::Present as u8 {
        return TRUE;
    }
    // Names from the leaf upwards are no text to compare.
    if value >> text_value::FLAG_SHIFT & text_value::UPWARDS != 0 {
        return UNDECIDED;
    }
    let is_cut = is_cut(value);
    let row = Row::new(capture);
    // Of a path that is cut the end is known, of other texts the beginning.
    let ends = row.read() == Read::Path as u8 || row.read() == Read::TaskExe as u8;
    let len = length(value) as usize;
    let wanted = Test::<A>::len() as usize;
    let is_suffix = compare == Compare::TextSuffix as u8;
    if is_cut && is_suffix != ends {
        return UNDECIDED;
    }
    if len < wanted {
        // What was read of a text that goes on may be the beginning of what is wanted.
        return if is_cut { UNDECIDED } else { FALSE };
    }
    if compare == Compare::TextEqual as u8 && len != wanted {
        return FALSE;
    }
    let start = if is_suffix { len.wrapping_sub(wanted) } else { 0 };
    let room = text::room(rooms, row.room());
    let which = Test::<A>::number() as usize;
    let mut same = TRUE;
    // The length is a constant for the verifier and unknown to the compiler, which would unroll.
    for at in 0..wanted {
        if capture::byte(room.cast_const(), (start + at) & (R - 1)) != spec::string_byte(which, at)
        {
            same = FALSE;
            break;
        }
    }
    if same == TRUE && is_cut && compare == Compare::TextEqual as u8 { UNDECIDED } else { same }
}

/// What a test of the first bytes of a message comes to: of what goes on, the bytes that are there may say that it is
/// something else. A function of its own, as few programs have one.
#[inline(never)]
fn content<const R: usize>(
    value: u64,
    room: *const [u8; R],
    compare: u64,
    wanted: u64,
    which: u64,
) -> u32 {
    let (len, is_cut) = (length(value), is_cut(value));
    let is_equal = compare == Compare::TextEqual as u64;
    let is_suffix = compare == Compare::TextSuffix as u64;
    if is_cut && is_suffix {
        return UNDECIDED;
    }
    if len < wanted && !is_cut || is_equal && len > wanted {
        return FALSE;
    }
    let start = if is_suffix { len.wrapping_sub(wanted) } else { 0 };
    let mut at = 0;
    while at < wanted && at < len {
        let held = capture::byte(room, (start + at) as usize & (R - 1));
        if held != spec::string_byte(which as usize, at as usize) {
            return FALSE;
        }
        at += 1;
    }
    if is_cut && (is_equal || len < wanted) { UNDECIDED } else { TRUE }
}

/// Length of a text.
#[inline(always)]
fn length(value: u64) -> u64 {
    value >> text_value::LEN_SHIFT & 0xffff
}

/// Whether a text goes on.
#[inline(always)]
fn is_cut(value: u64) -> bool {
    value >> text_value::FLAG_SHIFT & text_value::TRUNCATED != 0
}

const _: () = assert!(ATOMS == UNKNOWN as usize && TERMS == 16 && CAPTURES <= 16);
