//! The version of the layouts that a BPF object was built with, compared before anything of it is used.

use aya_obj::Object;
use krsi_host_abi::ABI_VERSION;
use krsi_host_abi::frozen::ABI_SECTION;

/// Why object and host do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AbiError {
    /// The object does not tell its layout version.
    #[error("the BPF object does not say which layout version it has")]
    Unknown,
    /// The object has another layout version.
    #[error("the BPF object has layout version {object}, this host reads {ABI_VERSION}")]
    Other {
        /// Layout version of the object.
        object: u32,
    },
}

/// Checks an object, and takes the section with its version out: no program reads it, so it becomes no
/// map.
///
/// # Errors
/// When it has another version than this host, or tells none.
pub(super) fn check(object: &mut Object) -> Result<(), AbiError> {
    let section = object.maps.remove(ABI_SECTION).ok_or(AbiError::Unknown)?;
    let bytes = section.data().try_into().map_err(|_| AbiError::Unknown)?;
    match u32::from_le_bytes(bytes) {
        ABI_VERSION => Ok(()),
        object => Err(AbiError::Other { object }),
    }
}
