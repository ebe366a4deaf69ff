//! Reading files that others name: one that must be regular waits for no FIFO's writer and touches no device, and
//! nothing is read without end.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// A path leads to something that is no regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} lies there, not a regular file")]
pub(crate) struct NotRegular {
    /// Type of the file that was found, in words.
    pub found: &'static str,
}

/// A file holds more than whoever reads it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("longer than {most} bytes")]
pub(crate) struct TooLong {
    /// The most that is taken, bytes.
    pub most: u64,
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

/// Reads a regular file of at most so many bytes.
///
/// # Errors
/// [`NotRegular`], [`TooLong`], or what the kernel says.
pub(crate) fn read(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    bounded(open(file)?, most)
}

/// Reads a regular file of at most so many bytes, which are text.
///
/// # Errors
/// As [`read`], and when the bytes are no UTF-8.
pub(crate) fn read_text(file: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read(file, most)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Reads what was opened, whatever kind of file it is, up to at most so many bytes.
///
/// # Errors
/// [`TooLong`], or what the kernel says.
pub(crate) fn bounded(opened: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    opened.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, TooLong { most }));
    }
    Ok(bytes)
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
        assert_eq!(read(&path("file"), 1).unwrap(), b"x");
        let long = |read: io::Result<Vec<u8>>| read.unwrap_err().to_string();
        assert_eq!(long(read(&path("file"), 0)), "longer than 0 bytes");
        assert_eq!(long(bounded(File::open("/dev/zero").unwrap(), 9)), "longer than 9 bytes");
        fs::remove_dir_all(&folder).unwrap();
    }
}
