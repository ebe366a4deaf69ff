//! Why executables are not hashed on this kernel, or not now.

use crate::errno::errno_name;
use crate::kernel::btf::BtfError;
use crate::kernel::program::load::HookError;

/// Why there can be no rules on digests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    /// No plugin wants digests of executables.
    #[error("no plugin's manifest asks for rules on digests")]
    Unasked,
    /// The backend in use cannot.
    #[error("only programs of the BPF LSM can hash a file")]
    Backend,
    /// The kernel's types cannot be read.
    #[error(transparent)]
    Types(#[from] BtfError),
    /// The kernel lacks the functions.
    #[error("this kernel's IMA hashes no files for BPF, which it does from 5.18 on")]
    Lacking,
    /// The kernel refused the program.
    #[error(transparent)]
    Program(#[from] HookError),
    /// There was nothing to see hashed.
    #[error("no file could be executed to see it hashed: {why}")]
    Canary { why: std::io::Error },
    /// The program was not seen to have it hashed.
    #[error("the kernel did not hash a test file that was executed")]
    Silent,
    /// IMA refused.
    #[error("IMA hashes no file: {}", errno_name(*errno))]
    Refused {
        /// Errno of IMA, positive.
        errno: u16,
    },
    /// IMA uses another algorithm than rules do.
    #[error("IMA of this kernel hashes with another algorithm: boot with ima_hash=sha256")]
    Algorithm,
}
