//! The file of a recording: made for it, nobody else's to read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Something is there, and is left as it is.
    #[error("{}: is there already, and is not written over", file.display())]
    Taken {
        /// Path at which something lies.
        file: PathBuf,
    },
    /// The file cannot be created.
    #[error("{}: cannot be recorded to", file.display())]
    Create {
        /// Path of the file.
        file: PathBuf,
        /// Error that the kernel returned.
        #[source]
        source: io::Error,
    },
    /// Something is recorded already.
    #[error("{}: is being recorded to already", file.display())]
    Running {
        /// The file of that recording.
        file: PathBuf,
    },
    /// Nothing is recorded that could be ended.
    #[error("nothing is being recorded")]
    NotRunning,
    /// No flight recorder runs that something could be written of.
    #[error("no flight recorder runs here")]
    NoFlight,
    /// There is no thread to write it.
    #[error("the recorder's thread")]
    Thread(#[source] io::Error),
}

impl RecordError {
    /// What to do about it; empty when the error says it.
    #[must_use]
    pub(crate) const fn fix(&self) -> &'static str {
        match self {
            RecordError::Taken { .. } | RecordError::Create { .. } => {
                "give a file that is not there yet, in a folder that takes one"
            }
            RecordError::Running { .. } => "end that one first: `krsi-host record --stop`",
            RecordError::NoFlight => {
                "start the host with --flight-mib 32, or record from now on: `krsi-host record -o FILE`"
            }
            RecordError::NotRunning | RecordError::Thread(_) => "",
        }
    }
}

/// Makes the file of a recording, for its owner alone. What is there, a link too, is left alone.
///
/// # Errors
/// When something is there, or the folder takes no file.
pub(crate) fn create(file: &Path) -> Result<File, RecordError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => RecordError::Taken { file: file.to_owned() },
        _ => RecordError::Create { file: file.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_recording_is_its_owners_and_takes_no_place() {
        let folder = std::env::temp_dir().join(format!("krsi-record-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("a");
        let made = create(&file).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o600);
        assert!(matches!(create(&file), Err(RecordError::Taken { .. })));
        symlink(folder.join("elsewhere"), folder.join("link")).unwrap();
        assert!(matches!(create(&folder.join("link")), Err(RecordError::Taken { .. })));
        assert!(!folder.join("elsewhere").exists());
        let nowhere = folder.join("none/a");
        assert!(matches!(create(&nowhere), Err(RecordError::Create { .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
