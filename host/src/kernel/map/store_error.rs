//! What the kernel answers to a map's update or look-up → [`StoreError`].

use aya::maps;

use super::MapError;
use super::store::StoreError;

/// What came of putting a key or a value into a map.
pub(super) fn stored(
    map: &'static str,
    result: Result<(), maps::MapError>,
) -> Result<(), StoreError> {
    result.map_err(|error| failed(map, error))
}

/// What came of removing a key: one that is not there is removed.
pub(super) fn removed(
    map: &'static str,
    result: Result<(), maps::MapError>,
) -> Result<(), StoreError> {
    match result {
        Err(maps::MapError::KeyNotFound) => Ok(()),
        Err(maps::MapError::SyscallError(error)) if errno(&error.io_error) == libc::ENOENT => {
            Ok(())
        }
        other => stored(map, other),
    }
}

/// The errno of a failed system call; 0 for an error that has none.
fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// Why a map did not do what it was asked. Hash maps answer `E2BIG`, and tries `ENOSPC`, when there is no room for another key; both answer
/// `ENOMEM` when the kernel has no memory for it.
pub(super) fn failed(map: &'static str, error: maps::MapError) -> StoreError {
    match error {
        maps::MapError::SyscallError(error) => match errno(&error.io_error) {
            libc::E2BIG | libc::ENOSPC | libc::ENOMEM => StoreError::Full { map },
            _ => StoreError::Kernel { map, source: error.io_error },
        },
        other => StoreError::Kernel { map, source: std::io::Error::other(other) },
    }
}

impl From<MapError> for StoreError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Missing { name } => StoreError::Missing { map: name },
            MapError::Slot { slot } => StoreError::Slot { slot },
            MapError::Access { name, source } => failed(name, source),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::sys::SyscallError;

    use super::*;

    /// What a refused update of a map comes to.
    fn refused(number: i32) -> StoreError {
        let io_error = io::Error::from_raw_os_error(number);
        let call = "bpf_map_update_elem";
        failed("PATH", maps::MapError::SyscallError(SyscallError { call, io_error }))
    }

    #[test]
    fn only_a_full_map_is_full() {
        for number in [libc::E2BIG, libc::ENOSPC, libc::ENOMEM] {
            assert_eq!(refused(number).to_string(), "the PATH map is full", "{number}");
        }
        for number in [libc::EPERM, libc::EINVAL, libc::EBUSY] {
            let error = refused(number);
            let StoreError::Kernel { map: "PATH", source } = &error else { panic!("{error}") };
            assert_eq!(errno(source), number);
        }
        let missing = StoreError::from(MapError::Missing { name: "PATH" });
        assert_eq!(missing.to_string(), "the object has no PATH map");
        let odd = failed("PATH", maps::MapError::OutOfBounds { index: 1, max_entries: 1 });
        assert_eq!(odd.to_string(), "updating the PATH map");
    }

    #[test]
    fn what_was_not_there_is_removed() {
        let gone = SyscallError {
            call: "bpf_map_delete_elem",
            io_error: io::Error::from_raw_os_error(libc::ENOENT),
        };
        assert!(removed("PATH", Err(maps::MapError::SyscallError(gone))).is_ok());
        assert!(removed("PATH", Err(maps::MapError::KeyNotFound)).is_ok());
        assert!(
            removed("PATH", Err(maps::MapError::OutOfBounds { index: 1, max_entries: 1 })).is_err()
        );
    }
}
