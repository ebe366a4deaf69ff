//! What stat(2) tells of a file → what programs see, where the two agree.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use krsi_host_abi::deny::FileKey;

/// The key of a file as far as stat(2) tells it: not on btrfs and overlayfs, whose device numbers for user
/// space are others.
#[must_use]
pub fn key_of_stat(metadata: &Metadata) -> FileKey {
    let dev = metadata.dev();
    // The kernel's `MKDEV`: 12 bits of major number over 20 of minor.
    let device = rustix::fs::major(dev) << 20 | rustix::fs::minor(dev) & 0xf_ffff;
    FileKey { ino: metadata.ino(), dev: device, pad: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_encoded_as_in_the_kernel() {
        let metadata = std::fs::metadata("/dev/null").unwrap();
        let (dev, key) = (metadata.dev(), key_of_stat(&metadata));
        assert_eq!((key.ino, key.pad), (metadata.ino(), 0));
        assert_eq!(key.dev >> 20, rustix::fs::major(dev));
        assert_eq!(key.dev & 0xf_ffff, rustix::fs::minor(dev));
    }
}
