//! The predicate of a spec: atoms on numbers, atoms on texts, and the terms over them, unrolled.

use krsi_host_abi::record::{PATH_LONG, PATH_SHORT, text_value};
use krsi_host_abi::spec::{ATOMS, CAPTURES, Compare, TERMS};

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

/// Atoms on numbers that hold, as bits.
#[inline(always)]
pub fn numbers(values: &Values) -> u32 {
    krsi_test_numbers(values)
}

/// Atoms on numbers that hold, as bits.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_test_numbers(values: &Values) -> u32 {
    let Some(values) = global::seen(values) else { return 0 };
    let mut bits = values.unknown_zero() as u32;
    macro_rules! one {
        ($at:literal) => {
            if $at < spec::atom_count() && !is_text(Test::<$at>::compare()) {
                bits |= (number::<$at>(values) as u32) << $at;
            }
        };
    }
    sixteen!(one);
    bits
}

/// Atoms on texts that hold, as bits, and those on whether a text was read.
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
            if $at < spec::atom_count() && is_text(Test::<$at>::compare()) {
                bits |= (text::<$at, R>(values, rooms) as u32) << $at;
            }
        };
    }
    sixteen!(one);
    bits
}

/// Whether the predicate holds.
#[inline(always)]
pub fn holds(bits: u32) -> bool {
    any_term(bits, u32::MAX)
}

/// Whether it can hold, as far as atoms on numbers tell.
#[inline(always)]
pub fn possible(bits: u32) -> bool {
    any_term(bits, !text_atoms())
}

/// Whether it holds whatever the texts are.
#[inline(always)]
pub fn holds_without_texts(bits: u32) -> bool {
    let texts = text_atoms();
    let mut found = false;
    macro_rules! one {
        ($at:literal) => {
            let care = Alternative::<$at>::care();
            if $at < spec::term_count()
                && care & texts == 0
                && bits & care == Alternative::<$at>::value()
            {
                found = true;
            }
        };
    }
    sixteen!(one);
    found
}

#[inline(always)]
fn any_term(bits: u32, known: u32) -> bool {
    let mut found = false;
    macro_rules! one {
        ($at:literal) => {
            if $at < spec::term_count() {
                let care = Alternative::<$at>::care() & known;
                if bits & care == Alternative::<$at>::value() & known {
                    found = true;
                }
            }
        };
    }
    sixteen!(one);
    found
}

#[inline(always)]
fn text_atoms() -> u32 {
    let mut atoms = 0;
    macro_rules! one {
        ($at:literal) => {
            if $at < spec::atom_count() && is_text(Test::<$at>::compare()) {
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
fn is_text(compare: u8) -> bool {
    compare >= Compare::TextEqual as u8 && (compare != Compare::Present as u8 || spec::has_rooms())
}

#[inline(always)]
fn number<const A: usize>(values: &Values) -> bool {
    let Some(value) = values.get(Test::<A>::capture() as usize) else { return false };
    let (compare, number) = (Test::<A>::compare(), Test::<A>::number());
    let masked = value & Test::<A>::mask();
    if compare == Compare::Equal as u8 {
        masked == number
    } else if compare == Compare::Below as u8 {
        masked < number
    } else if compare == Compare::BelowSigned as u8 {
        (value as i64) < number as i64
    } else if compare == Compare::AnyBit as u8 {
        masked != 0
    } else if compare == Compare::Present as u8 {
        true
    } else {
        false
    }
}

#[inline(always)]
fn text<const A: usize, const R: usize>(values: &Values, rooms: *mut Rooms<R>) -> bool {
    let capture = Test::<A>::capture() as usize;
    let Some(value) = values.get(capture) else { return false };
    let compare = Test::<A>::compare();
    if compare == Compare::Present as u8 {
        return true;
    }
    // Names from the leaf upwards are no text to compare.
    if value >> text_value::FLAG_SHIFT & text_value::UPWARDS != 0 {
        return false;
    }
    let len = (value >> text_value::LEN_SHIFT) as usize & 0xffff;
    let wanted = Test::<A>::len() as usize;
    let start = if compare == Compare::TextSuffix as u8 { len.wrapping_sub(wanted) } else { 0 };
    if len < wanted || compare == Compare::TextEqual as u8 && len != wanted {
        return false;
    }
    let room = text::room(rooms, Row::new(capture).room());
    let which = Test::<A>::number() as usize;
    let mut same = true;
    // The length is a constant for the verifier and unknown to the compiler, which would unroll.
    for at in 0..wanted {
        if capture::byte(room.cast_const(), (start + at) & (R - 1)) != spec::string_byte(which, at)
        {
            same = false;
            break;
        }
    }
    same
}

const _: () = assert!(ATOMS == 16 && TERMS == 16 && CAPTURES <= 16);
