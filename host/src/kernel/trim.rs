//! Memory that the kernel's types took goes back to the system: tens of megabytes that are not needed again.

/// Returns what glibc's allocator holds free.
#[cfg(target_env = "gnu")]
pub fn give_back() {
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
