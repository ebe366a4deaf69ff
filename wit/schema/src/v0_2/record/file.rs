//! Records of open files in use.

records! {
    /// A read or write of an open file.
    FilePermission<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// `MAY_*`: 4 to read, 2 to write, 8 to append.
        mask: Number,
        /// `O_*` flags it was opened with, as the kernel keeps them.
        flags: Number,
    }
}

/// `MAY_WRITE` of `include/linux/fs.h`.
const MAY_WRITE: u64 = 2;

impl FilePermission<'_> {
    /// Whether the check is for a write to the file.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.mask.is_some_and(|mask| mask & MAY_WRITE != 0)
    }
}
