//! A module with one export of its own and no contract.

/// An export that no host asks for.
#[unsafe(no_mangle)]
pub extern "C" fn nothing() {}
