//! Memory that the kernel's types took goes back to the system: tens of megabytes that are not needed again.

/// `M_TRIM_THRESHOLD` of `malloc.h`.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: core::ffi::c_int = -1;
/// Free bytes at the end of an arena that glibc's allocator may keep; by itself it comes to keep twice the
/// largest block that was ever returned.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: core::ffi::c_int = 128 << 10;

/// Lets glibc's allocator keep little of what is freed from now on.
#[cfg(target_env = "gnu")]
pub(crate) fn keep_little() {
    unsafe extern "C" {
        /// `mallopt(3)`.
        fn mallopt(param: core::ffi::c_int, value: core::ffi::c_int) -> core::ffi::c_int;
    }
    // SAFETY: it takes any numbers, changes only how the allocator works, and is thread safe.
    unsafe { mallopt(TRIM_THRESHOLD, KEPT_BYTES) };
}

/// Other allocators do so by themselves.
#[cfg(not(target_env = "gnu"))]
pub const fn keep_little() {}

/// Returns what glibc's allocator holds free.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back() {
    unsafe extern "C" {
        /// `malloc_trim(3)`.
        fn malloc_trim(pad: usize) -> core::ffi::c_int;
    }
    // SAFETY: it takes any number, touches only the allocator's own free memory, and is thread safe.
    unsafe { malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back() {}
