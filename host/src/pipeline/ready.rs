//! The ready file: there while hooks are live and rules in force, and at no other time that the host can help.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;

use super::RunError;

/// The file that was asked for, if one was; removed when dropped.
pub(super) struct ReadyFile {
    file: Option<PathBuf>,
    is_created: bool,
}

impl ReadyFile {
    /// Takes away the ready file of a run before: whoever waits for it must not take that for this run's.
    ///
    /// # Errors
    /// When something lies there that no run left, which stays, or when it cannot be removed.
    pub(super) fn new(file: Option<PathBuf>) -> Result<Self, RunError> {
        let Some(path) = &file else { return Ok(Self { file, is_created: false }) };
        let failed = |source| RunError::ReadyFile { file: path.clone(), source };
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_file() && meta.len() == 0 => {
                fs::remove_file(path).map_err(failed)?
            }
            Ok(_) => return Err(RunError::ReadyFileTaken { file: path.clone() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Self { file, is_created: false })
    }

    /// Says that the host is ready.
    ///
    /// # Errors
    /// When the file cannot be created, or lies there again.
    pub(super) fn create(&mut self) -> Result<(), RunError> {
        let Some(path) = &self.file else { return Ok(()) };
        File::create_new(path)
            .map_err(|source| RunError::ReadyFile { file: path.clone(), source })?;
        self.is_created = true;
        Ok(())
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // It may be gone already.
        let _removed = self.file.as_ref().filter(|_| self.is_created).map(fs::remove_file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_one_goes_a_new_one_comes_and_what_is_none_stays() {
        let path = std::env::temp_dir().join(format!("krsi-ready-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        let mut ready = ReadyFile::new(Some(path.clone())).unwrap();
        assert!(!path.exists(), "the old one is still there");
        ready.create().unwrap();
        assert!(path.exists());
        drop(ready);
        assert!(!path.exists(), "there is nobody who is ready any more");
        fs::write(&path, "precious").unwrap();
        let refused = ReadyFile::new(Some(path.clone())).map(drop).unwrap_err();
        assert!(matches!(refused, RunError::ReadyFileTaken { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }
}
