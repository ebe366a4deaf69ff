//! Records of mappings: made, and given another protection.

records! {
    /// A mapping is made. An anonymous one has no file.
    MmapFile<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// `PROT_*` that was asked for.
        requested: Number,
        /// `PROT_*` that it will have.
        protection: Number,
        /// `MAP_*` flags.
        flags: Number,
    }

    /// The protection of a mapping, or of a part of it, is changed.
    FileMprotect<'a> {
        /// Identity of the file; an anonymous mapping has none.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// First address of the mapping.
        vm_start: Number,
        /// First address after it.
        vm_end: Number,
        /// `VM_*` flags of now: 1 readable, 2 writable, 4 executable.
        vm_flags: Number,
        /// `PROT_*` that was asked for.
        requested: Number,
        /// `PROT_*` that it will have.
        protection: Number,
    }
}

/// Bit of `PROT_WRITE` and `VM_WRITE`.
const WRITE: u64 = 2;
/// Bit of `PROT_EXEC` and `VM_EXEC`.
const EXEC: u64 = 4;

impl MmapFile<'_> {
    /// Whether the mapping can be both written and executed.
    #[must_use]
    pub fn is_write_and_exec(&self) -> bool {
        self.protection.is_some_and(|protection| protection & (WRITE | EXEC) == WRITE | EXEC)
    }
}

impl FileMprotect<'_> {
    /// Bytes of the mapping.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.vm_end?.checked_sub(self.vm_start?)
    }

    /// What could not be executed can be from now on.
    #[must_use]
    pub fn gains_exec(&self) -> bool {
        let (Some(now), Some(then)) = (self.vm_flags, self.protection) else { return false };
        now & EXEC == 0 && then & EXEC != 0
    }

    /// What can be written now can be executed from now on: code that was just made, or both at once.
    #[must_use]
    pub fn write_to_exec(&self) -> bool {
        self.gains_exec() && self.vm_flags.is_some_and(|flags| flags & WRITE != 0)
    }
}
