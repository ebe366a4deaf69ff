//! Digests of executables: the program that has them hashed, and the proof that the kernel does.

use std::sync::Arc;

use krsi_host_abi::deny::{SHA256, flag};
use krsi_host_abi::hook::Hook;

use super::hash::HashError;
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::trim;
use crate::kernel::map::{Flags, Hashed, MapError};
use crate::kernel::program::backend::BackendKind;
use crate::kernel::program::canary;
use crate::kernel::program::job::Job;
use crate::kernel::program::load::{LiveProgram, Loader};
use crate::policy::NoDigests;

/// Functions of the kernel that hash a file for BPF: the helper, and IMA's own.
const HASHES: [&str; 2] = ["bpf_ima_file_hash", "ima_file_hash"];

/// The program, if somebody asks for rules on digests and the kernel hashes files.
pub(crate) struct DigestProgram {
    hashed: Hashed,
    /// Mebibytes of a file at most that is hashed.
    mib: u32,
    /// `None` while nobody asks.
    live: Option<Result<LiveProgram, Arc<HashError>>>,
}

impl DigestProgram {
    pub(crate) fn new(hashed: Hashed, mib: u32) -> Self {
        Self { hashed, mib, live: None }
    }

    /// Attaches the program, or detaches it. A kernel that hashes nothing is told of, once.
    pub(crate) fn want(
        &mut self,
        wanted: bool,
        loader: &Loader,
        flags: &Flags,
    ) -> Result<(), MapError> {
        if !wanted {
            self.end();
            return Ok(());
        }
        if self.live.is_some() {
            return Ok(());
        }
        let live = match start(loader, self.mib) {
            Ok(live) => self.prove(flags)?.map(|()| live),
            refused => refused,
        };
        let live = live.map_err(Arc::new);
        trim::give_back();
        if let Err(why) = &live {
            tracing::warn!(%why, "rules on digests are refused");
        }
        self.live = Some(live);
        Ok(())
    }

    /// Detaches the program.
    pub(crate) fn end(&mut self) {
        self.live = None;
    }

    /// The program, while there is one.
    pub(crate) fn program(&self) -> Option<&LiveProgram> {
        self.live.as_ref()?.as_ref().ok()
    }

    /// Whether executables are hashed, or why not.
    pub(crate) fn are_read(&self) -> Result<(), NoDigests> {
        match &self.live {
            Some(Ok(_)) => Ok(()),
            Some(Err(why)) => Err(Arc::clone(why) as NoDigests),
            None => Err(Arc::new(HashError::Unasked)),
        }
    }

    /// Has a small file executed, and sees what it was hashed with.
    fn prove(&self, flags: &Flags) -> Result<Result<(), HashError>, MapError> {
        let slot = Hook::BprmCheckSecurity.id();
        self.hashed.forget()?;
        flags.raise(slot, flag::CANARY)?;
        let done = canary::execute();
        flags.lower(slot, flag::CANARY)?;
        if let Err(why) = done {
            return Ok(Err(HashError::Canary { why }));
        }
        Ok(match self.hashed.algorithm()? {
            SHA256 => Ok(()),
            0 => Err(HashError::Silent),
            number @ ..0 => {
                let errno = u16::try_from(number.unsigned_abs()).unwrap_or(u16::MAX);
                Err(HashError::Refused { errno })
            }
            _ => Err(HashError::Algorithm),
        })
    }
}

fn start(loader: &Loader, mib: u32) -> Result<LiveProgram, HashError> {
    if loader.backend().kind() != BackendKind::Lsm {
        return Err(HashError::Backend);
    }
    let types = KernelTypes::running()?;
    if !HASHES.iter().all(|name| types.has_function(name)) {
        return Err(HashError::Lacking);
    }
    Ok(loader.load(&types, &Job::Digest { mib })?)
}
