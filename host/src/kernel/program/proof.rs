//! The proof that a backend's programs are called: a file that this thread opens, seen by a small program.
//!
//! It needs neither an exec nor a network, which a rule, a mount option or a namespace may take away. A
//! kernel booted without `bpf` in `lsm=` loads and attaches LSM programs without error and never runs them
//! (bpftrace #2716), so attaching proves nothing. The same program tells what a file is to programs: on
//! btrfs and overlayfs stat(2) tells something else.

use std::fs::File;
use std::path::Path;

use krsi_host_abi::deny::FileKey;
use krsi_host_abi::proof::Proof;

use super::job::Job;
use super::load::{HookError, LiveProgram, Loader};
use crate::kernel::btf::KernelTypes;
use crate::kernel::map::{MapError, Proofs};

/// Hooks whose first argument is a file that was opened or read, the first one that may be used is.
const HOOKS: [&str; 2] = ["file_open", "file_permission"];
/// Files that every machine lets root open.
const OPENED: [&str; 4] = ["/proc/self/exe", "/proc/self/status", "/dev/null", "/"];

/// Why nothing is proven.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    /// The program of the proof is not attached.
    #[error("its program is not attached")]
    Hook(#[from] HookError),
    /// The map of the proof cannot be used.
    #[error("its map")]
    Map(#[from] MapError),
}

/// Why life is not proven.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// A program was attached, the act was done, and the program was not called.
    #[error("attached but never called: {hook}")]
    Silent {
        /// Hook that the program was attached to.
        hook: &'static str,
    },
}

/// What the proof came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proven {
    /// The program was called.
    Called,
    /// A file was opened, and the program was not called.
    Silent,
    /// No file could be opened.
    Unable,
}

/// The program, attached until this is dropped. Only the thread that started it is seen.
pub(crate) struct Prover<'a> {
    proofs: &'a Proofs,
    hook: &'static str,
    _live: LiveProgram,
}

impl<'a> Prover<'a> {
    /// Attaches the program to a hook that is not left alone.
    ///
    /// # Errors
    /// When this kernel refuses it.
    pub(crate) fn start(
        loader: &Loader,
        types: &KernelTypes,
        proofs: &'a Proofs,
        leaves: impl Fn(&str) -> bool,
    ) -> Result<Self, ProofError> {
        let hook = HOOKS.into_iter().find(|hook| !leaves(hook)).ok_or(HookError::NoFunction)?;
        proofs.begin()?;
        let live = loader.load(types, &Job::Proof { hook })?;
        Ok(Self { proofs, hook, _live: live })
    }

    /// The hook that it is attached to.
    #[must_use]
    pub(crate) const fn hook(&self) -> &'static str {
        self.hook
    }

    /// Opens files of the host's own until one is seen.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub(crate) fn prove(&self) -> Result<Proven, MapError> {
        let before = self.proofs.seen()?.calls;
        let mut opened = false;
        for path in OPENED {
            opened |= open(Path::new(path)).is_ok();
            if self.proofs.seen()?.calls != before {
                return Ok(Proven::Called);
            }
        }
        Ok(if opened { Proven::Silent } else { Proven::Unable })
    }

    /// What a file is to programs; `None` when it cannot be opened or was not seen.
    #[must_use]
    pub(crate) fn key_of(&self, path: &Path) -> Option<FileKey> {
        let before = self.proofs.seen().ok()?.calls;
        open(path).ok()?;
        let Proof { calls, file, .. } = self.proofs.seen().ok()?;
        (calls != before && file != FileKey::default()).then_some(file)
    }
}

/// Opens a file, and reads of it what is enough for a hook to be called.
fn open(path: &Path) -> std::io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    // A FIFO or a device must not make the host wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let _read = std::io::Read::read(&mut &file, &mut [0; 1]);
    Ok(())
}
