//! The baselines of the kernel bench: programs that do the work that cannot be avoided, and nothing else.
//!
//! No flags, no counters, no rules: what ours cost beyond these is ours to answer for. They read
//! through frozen offsets as ours do and write the same bytes. None ever refuses: a look-up misses.
#![no_std]
#![no_main]

mod file;
mod memory;
mod read;
mod record;
mod rule;
mod socket;

/// The kernel grants GPL-only helpers to this licence (`include/linux/license.h`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: nothing in the object can panic, or the verifier would refuse it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
