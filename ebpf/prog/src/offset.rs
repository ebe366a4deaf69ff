//! Read-only globals that the host sets before loading: structure offsets and the host's own tgid.
//!
//! The verifier knows frozen globals as constants, so a load through them is a direct load. They
//! are read with `read_volatile`, or the compiler would use the initial value.

use krsi_host_abi::capture::ABSENT;
use krsi_host_abi::{ABI_VERSION, for_each_offset};

use crate::capture::Skip;

/// One offset global.
pub struct Offset(&'static u32);

impl Offset {
    /// The offset on this kernel.
    #[inline(always)]
    pub fn get(&self) -> Result<usize, Skip> {
        // SAFETY: a shared reference to a static is always readable.
        let offset = unsafe { core::ptr::read_volatile(self.0) };
        if offset == ABSENT { Err(Skip::Field) } else { Ok(offset as usize) }
    }
}

macro_rules! define {
    ($($name:ident)*) => {
        mod global {
            use super::ABSENT;
            $(#[unsafe(no_mangle)] pub static $name: u32 = ABSENT;)*
        }
        $(pub const $name: Offset = Offset(&global::$name);)*
    };
}
for_each_offset!(define);

#[unsafe(no_mangle)]
static HOST_TGID: u32 = 0;
#[unsafe(no_mangle)]
static ZERO: i64 = 0;
#[unsafe(no_mangle)]
static OBJECT_ABI: u32 = ABI_VERSION;

/// The host's thread group id: its own calls are never judged nor reported.
#[inline(always)]
pub fn host_tgid() -> u32 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const HOST_TGID) }
}

/// The layout version this object was built with, readable by the host before loading.
#[inline(always)]
pub fn abi() -> u16 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const OBJECT_ABI) as u16 }
}

/// Zero, which only the verifier knows.
#[inline(always)]
pub fn zero() -> i64 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const ZERO) }
}
