//! The BPF object: hook → capture → filter → verdict → ring, one small program per hook.
//!
//! Every program answers 0 when nothing applies, which leaves the kernel its own default, and on a
//! skipped capture, which is counted.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "the only atomic add that the BPF target has")]

mod call;
mod capture;
mod emit;
mod exempt;
mod filter;
mod gather;
mod global;
mod hook;
mod kfunc;
mod label;
mod map;
mod object;
mod offset;
mod path_read;
mod prefix;
mod resolve;
mod skip;
mod spec;
mod verdict;

/// Version of the layouts that this object was built with; the section is `frozen::ABI_SECTION`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.abi")]
static OBJECT_ABI: [u8; 4] = krsi_host_abi::ABI_VERSION.to_le_bytes();

/// The kernel grants GPL-only helpers to this licence (`include/linux/license.h`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: nothing in the object can panic, or the verifier would refuse it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
