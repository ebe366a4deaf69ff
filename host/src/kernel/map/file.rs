//! What stat(2) tells of a file → what programs see, where the two agree.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use krsi_host_abi::deny::FileKey;

/// The key of a file as far as stat(2) tells it: not on btrfs and overlayfs, whose device numbers for user
/// space are others.
#[must_use]
pub(crate) fn key_of_stat(metadata: &Metadata) -> FileKey {
    let dev = metadata.dev();
    // The kernel's `MKDEV`: 12 bits of major number over 20 of minor.
    let device = rustix::fs::major(dev) << 20 | rustix::fs::minor(dev) & 0xf_ffff;
    FileKey { ino: metadata.ino(), dev: device, generation: 0 }
}

/// File systems that give each file a generation, and keep it for as long as the file is there. It may be 0 on
/// them, of a file that was put into an image without the kernel.
const WITH_GENERATIONS: [&str; 9] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "tmpfs", "devtmpfs"];

/// Whether the file system on a device (as programs see it) gives its files generations; not when it is not
/// mounted where the host sees it.
#[must_use]
pub(crate) fn has_generations(dev: u32) -> bool {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let kind = kind_of(&String::from_utf8_lossy(&mounts), dev).map(str::to_owned);
    kind.is_some_and(|kind| WITH_GENERATIONS.contains(&kind.as_str()))
}

/// Type of the file system on a device by the lines of `/proc/PID/mountinfo`.
fn kind_of(mounts: &str, dev: u32) -> Option<&str> {
    let number = format!("{}:{}", dev >> 20, dev & 0xf_ffff);
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&number))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_device_is_found_among_the_mounts() {
        let mounts = "21 1 0:19 / /proc rw,relatime shared:5 - proc proc rw\n\
                      30 1 254:16 / /a\\040b rw shared:1 master:2 - ext4 /dev/vdb rw\n\
                      31 1 0:191 / /x rw - overlay overlay rw,lowerdir=/l\n";
        let kind = |major: u32, minor| kind_of(mounts, major << 20 | minor);
        assert_eq!((kind(254, 16), kind(0, 19)), (Some("ext4"), Some("proc")));
        assert_eq!((kind(0, 191), kind(0, 1)), (Some("overlay"), None));
        let proc = key_of_stat(&std::fs::metadata("/proc/version").unwrap());
        assert!(!has_generations(proc.dev));
    }

    #[test]
    fn device_numbers_are_encoded_as_in_the_kernel() {
        let metadata = std::fs::metadata("/dev/null").unwrap();
        let (dev, key) = (metadata.dev(), key_of_stat(&metadata));
        assert_eq!((key.ino, key.generation), (metadata.ino(), 0));
        assert_eq!(key.dev >> 20, rustix::fs::major(dev));
        assert_eq!(key.dev & 0xf_ffff, rustix::fs::minor(dev));
    }
}
