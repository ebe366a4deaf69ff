//! Global functions: what makes a reference theirs, and values that the verifier knows nothing about.
//!
//! A function with a name of its own in the object is verified once, by itself, and not once for each
//! way that leads to it (`Documentation/bpf/verifier.rst`). Its arguments are plain numbers and plain
//! memory that may be NULL for all the verifier knows: no kernel pointer, nothing read-only.

use core::arch::asm;

/// A reference that a global function was given, once the verifier has seen that it is not NULL.
#[inline(always)]
pub fn seen<T>(given: &T) -> Option<&T> {
    let mut pointer = core::ptr::from_ref(given);
    // SAFETY: nothing is done; the compiler forgets that a reference is never NULL, and so keeps the
    // test that the verifier wants.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack)) };
    // SAFETY: the pointer is the reference's.
    unsafe { pointer.as_ref() }
}

/// Same as [`seen`], for a mutable reference.
#[inline(always)]
pub fn seen_mut<T>(given: &mut T) -> Option<&mut T> {
    let mut pointer = core::ptr::from_mut(given);
    // SAFETY: nothing is done, as in `seen`.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack)) };
    // SAFETY: the pointer is the reference's, which is not used any more.
    unsafe { pointer.as_mut() }
}

/// A value, read anew: the verifier would keep what each test tells it of one that was read before,
/// and go through every combination.
#[inline(always)]
pub fn anew<T: Copy>(value: &T) -> T {
    // SAFETY: a reference is always readable.
    unsafe { core::ptr::read_volatile(value) }
}

/// A number that is there on every way to here. The compiler would leave it unwritten on those where it is not
/// looked at in the end, and read it all the same, which Linux 5.10 refuses of the stack.
#[inline(always)]
pub fn written(number: u64) -> u64 {
    let mut number = number;
    // SAFETY: nothing is done.
    unsafe { asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// A pointer of which the compiler knows nothing: what it leads to is written by the host, and in this
/// object by nobody.
#[inline(always)]
pub fn unknown<T>(pointer: *const T) -> *const T {
    let mut pointer = pointer;
    // SAFETY: nothing is done.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack)) };
    pointer
}
