//! Opening a file that must be a regular one: nothing waits for a FIFO's writer, and no device is touched.

use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// A path leads to something that is no regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} lies there, not a regular file")]
pub(crate) struct NotRegular {
    /// What lies there, in words.
    pub found: &'static str,
}

impl NotRegular {
    fn of(kind: FileType) -> Option<Self> {
        let found = match kind {
            _ if kind.is_file() => return None,
            _ if kind.is_dir() => "a folder",
            _ if kind.is_fifo() => "a FIFO",
            _ if kind.is_socket() => "a socket",
            _ if kind.is_char_device() || kind.is_block_device() => "a device",
            _ => "something else",
        };
        Some(Self { found })
    }
}

fn checked(kind: FileType) -> io::Result<()> {
    NotRegular::of(kind).map_or(Ok(()), |not| Err(io::Error::new(io::ErrorKind::InvalidInput, not)))
}

/// Opens a regular file for reading; links are followed.
///
/// # Errors
/// [`NotRegular`] where another kind of file lies, or what the kernel says.
pub(crate) fn open(file: &Path) -> io::Result<File> {
    // Asked before it is opened, as opening a device can have an effect, and again after, as it may have become
    // another file meanwhile.
    checked(fs::metadata(file)?.file_type())?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    checked(opened.metadata()?.file_type())?;
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let folder = std::env::temp_dir().join(format!("krsi-regular-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder.wasm")).unwrap();
        let path = |name: &str| folder.join(name);
        mkfifoat(CWD, path("fifo.wasm"), Mode::RUSR).unwrap();
        symlink("/dev/zero", path("zero.wasm")).unwrap();
        symlink("absent", path("dangling.wasm")).unwrap();
        fs::write(path("file"), "x").unwrap();
        symlink("file", path("link.wasm")).unwrap();
        let said = |name: &str| open(&path(name)).map(drop).unwrap_err().to_string();
        assert_eq!(said("folder.wasm"), "a folder lies there, not a regular file");
        assert_eq!(said("fifo.wasm"), "a FIFO lies there, not a regular file");
        assert_eq!(said("zero.wasm"), "a device lies there, not a regular file");
        assert!(said("dangling.wasm").contains("No such file"));
        assert!(open(&path("link.wasm")).is_ok());
        fs::remove_dir_all(&folder).unwrap();
    }
}
