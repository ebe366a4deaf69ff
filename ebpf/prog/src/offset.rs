//! Read-only globals that the host sets before loading: structure offsets and what it knows of the
//! kernel.
//!
//! The verifier knows frozen globals as constants, so a load through them is a direct load. They
//! are read with `read_volatile`, or the compiler would use the initial value.

use krsi_host_abi::capture::ABSENT;
use krsi_host_abi::for_each_offset;
use krsi_host_abi::frozen::objects;
use krsi_host_abi::path::PREFIX_MAX;

use crate::skip::Skip;

/// A global of the program that holds an offset in a type of the kernel's.
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

impl Offset {
    /// One of [`krsi_host_abi::capture::VITAL`]: the host loads no program where it is absent.
    #[inline(always)]
    pub fn vital(&self) -> usize {
        // SAFETY: a shared reference to a static is always readable.
        unsafe { core::ptr::read_volatile(self.0) as usize }
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
static D_PATH: u32 = 0;
#[unsafe(no_mangle)]
static TASK_BTF: u32 = 0;
#[unsafe(no_mangle)]
static READS_AGAIN: u32 = 0;
#[unsafe(no_mangle)]
static OBJECTS: u32 = objects::FILE | objects::NETWORK;
#[unsafe(no_mangle)]
static ANCESTORS: u32 = 0;
#[unsafe(no_mangle)]
static MAY_SLEEP: u32 = 0;
#[unsafe(no_mangle)]
static CAN_DENY: u32 = 0;
#[unsafe(no_mangle)]
static WITNESS_SLOT: u32 = 0;
#[unsafe(no_mangle)]
static WITNESS_ANSWER: u32 = 0;
/// Names that a walk along dentries follows; frozen so that the compiler does not unroll the walk.
#[unsafe(no_mangle)]
static WALK_NAMES: u32 = 48;
#[unsafe(no_mangle)]
static PATH_SECRET_LOW: u32 = 0;
#[unsafe(no_mangle)]
static PATH_SECRET_HIGH: u32 = 0;
/// Bytes of a path that are looked at; frozen so that the compiler does not unroll the loop.
#[unsafe(no_mangle)]
static PATH_BYTES: u32 = PREFIX_MAX as u32;
#[unsafe(no_mangle)]
static DIGEST_MIB: u32 = 0;
#[unsafe(no_mangle)]
static ZERO: i64 = 0;

/// The host's thread group id: no rule decides its own calls, and none is reported.
#[inline(always)]
pub fn host_tgid() -> u32 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const HOST_TGID) }
}

/// How this program may have paths resolved.
#[inline(always)]
pub fn d_path() -> u32 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const D_PATH) }
}

/// Whether the kernel gives the calling task as a typed pointer.
#[inline(always)]
pub fn task_btf() -> bool {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const TASK_BTF) != 0 }
}

/// Whether leases that changed meanwhile are read again.
#[inline(always)]
pub fn reads_again() -> bool {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const READS_AGAIN) != 0 }
}

/// Whether calls of this program can be about some [`objects`].
#[inline(always)]
pub fn is_about(kind: u32) -> bool {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const OBJECTS) & kind != 0 }
}

/// Whether the cgroups above the caller's are told.
#[inline(always)]
pub fn ancestors() -> bool {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const ANCESTORS) != 0 }
}

/// Whether the answer of this program refuses; after a function it must be 0.
#[inline(always)]
pub fn can_deny() -> bool {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const CAN_DENY) != 0 }
}

/// Whether this program may sleep.
#[inline(always)]
pub fn may_sleep() -> bool {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const MAY_SLEEP) != 0 }
}

/// Slot that the witness counts in, and where it finds the answer.
#[inline(always)]
pub fn witness() -> (u32, u32) {
    // SAFETY: shared references to statics are always readable.
    unsafe {
        (
            core::ptr::read_volatile(&raw const WITNESS_SLOT),
            core::ptr::read_volatile(&raw const WITNESS_ANSWER),
        )
    }
}

/// Names that a walk along dentries follows.
#[inline(always)]
pub fn walk_names() -> u32 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const WALK_NAMES) }
}

/// Secret with which hashes of paths start.
#[inline(always)]
pub fn path_secret() -> u64 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe {
        let low = core::ptr::read_volatile(&raw const PATH_SECRET_LOW);
        let high = core::ptr::read_volatile(&raw const PATH_SECRET_HIGH);
        u64::from(low) | u64::from(high) << 32
    }
}

/// Bytes of a path that are looked at.
#[inline(always)]
pub fn path_bytes() -> u32 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const PATH_BYTES) }
}

/// Bytes of a file at most that is hashed.
#[inline(always)]
pub fn digest_bytes() -> u64 {
    // SAFETY: a shared reference to a static is always readable.
    u64::from(unsafe { core::ptr::read_volatile(&raw const DIGEST_MIB) }) << 20
}

/// Zero, which only the verifier knows.
#[inline(always)]
pub fn zero() -> i64 {
    // SAFETY: a shared reference to a static is always readable.
    unsafe { core::ptr::read_volatile(&raw const ZERO) }
}
