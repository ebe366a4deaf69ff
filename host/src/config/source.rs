//! A file of the operator's words: read anew whenever it is asked for, or kept where it can be read only once.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ConfigError, PLUGIN_CONFIG_MAX};
use crate::regular;

/// A configuration file, or what once came from a pipe in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    /// What a pipe held: a second reading would find nothing, and grant what nobody said.
    once: Option<Arc<[u8]>>,
}

impl Source {
    /// A file that is read whenever it is asked for.
    #[must_use]
    pub const fn file(path: PathBuf) -> Self {
        Self { path, once: None }
    }

    /// A path that the operator named. What is no regular file, such as a pipe, is read now and kept.
    ///
    /// # Errors
    /// When a pipe cannot be read, or holds more than [`PLUGIN_CONFIG_MAX`].
    pub fn open(path: PathBuf) -> Result<Self, ConfigError> {
        let is_pipe = fs::metadata(&path).is_ok_and(|meta| !meta.is_file());
        if !is_pipe {
            return Ok(Self::file(path));
        }
        let once = bounded(&path, File::open(&path))?.into();
        Ok(Self { path, once: Some(once) })
    }

    /// Path of the file, which may be gone.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a file, which may become another.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        self.once.is_none()
    }

    /// Its bytes: those of now, or those that came from a pipe.
    ///
    /// # Errors
    /// When the file cannot be read or is too long.
    pub fn read(&self) -> Result<Vec<u8>, ConfigError> {
        match &self.once {
            Some(bytes) => Ok(bytes.to_vec()),
            None => bounded(&self.path, regular::open(&self.path)),
        }
    }
}

fn bounded(path: &Path, opened: io::Result<File>) -> Result<Vec<u8>, ConfigError> {
    opened.and_then(|opened| regular::bounded(opened, PLUGIN_CONFIG_MAX)).map_err(|source| {
        let file = path.into();
        match source.kind() {
            io::ErrorKind::FileTooLarge => ConfigError::TooLong { file },
            _ => ConfigError::Read { file, source },
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_pipe_is_read_once_and_a_file_each_time() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"mode = \"audit\"").unwrap();
        drop(writer);
        let pipe = Source::open(format!("/proc/self/fd/{}", reader.as_raw_fd()).into()).unwrap();
        let file = std::env::temp_dir().join(format!("krsi-source-{}", std::process::id()));
        let named = Source::open(file.clone()).unwrap();
        assert!(matches!(named.read(), Err(ConfigError::Read { .. })));
        for text in ["one", "two"] {
            fs::write(&file, text).unwrap();
            assert_eq!(named.read().unwrap(), text.as_bytes());
            assert_eq!(pipe.read().unwrap(), b"mode = \"audit\"");
        }
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn what_never_ends_and_what_is_no_file_is_refused() {
        let refused = Source::open("/dev/zero".into()).unwrap_err();
        assert!(matches!(refused, ConfigError::TooLong { .. }), "{refused}");
        let refused = Source::open("/proc".into()).unwrap_err();
        assert!(matches!(refused, ConfigError::Read { .. }), "{refused}");
    }
}
