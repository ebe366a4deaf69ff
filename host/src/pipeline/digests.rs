//! Digests of executables: the program that has them hashed, and the proof that the kernel does.

use krsi_host_abi::deny::{SHA256, flag};
use krsi_host_abi::hook::Hook;

use crate::kernel::backend::BackendKind;
use crate::kernel::btf::KernelTypes;
use crate::kernel::canary;
use crate::kernel::job::Job;
use crate::kernel::load::{Live, Loader};
use crate::kernel::map::{Flags, Hashed, MapError};
use crate::kernel::trim;

/// Functions of the kernel that hash a file for BPF: the helper, and IMA's own.
const HASHES: [&str; 2] = ["bpf_ima_file_hash", "ima_file_hash"];

/// Why nothing is hashed while nobody asks for it.
const UNASKED: &str = "no plugin's manifest asks for rules on digests";

/// The program, if somebody asks for rules on digests and the kernel hashes files.
pub(super) struct Digests {
    hashed: Hashed,
    /// `None` while nobody asks.
    live: Option<Result<Live, String>>,
}

impl Digests {
    pub(super) fn new(hashed: Hashed) -> Self {
        Self { hashed, live: None }
    }

    /// Attaches the program, or detaches it. A kernel that hashes nothing is told of, once.
    pub(super) fn want(
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
        let live = match start(loader) {
            Ok(live) => self.prove(flags)?.map(|()| live),
            refused => refused,
        };
        trim::give_back();
        if let Err(why) = &live {
            tracing::warn!(why, "rules on digests are refused");
        }
        self.live = Some(live);
        Ok(())
    }

    /// Detaches the program.
    pub(super) fn end(&mut self) {
        self.live = None;
    }

    /// The program, while there is one.
    pub(super) fn program(&self) -> Option<&Live> {
        self.live.as_ref()?.as_ref().ok()
    }

    /// Whether executables are hashed, or why not.
    pub(super) fn are_read(&self) -> Result<(), String> {
        match &self.live {
            Some(live) => live.as_ref().map(drop).map_err(Clone::clone),
            None => Err(UNASKED.to_owned()),
        }
    }

    /// Has a small file executed, and sees what it was hashed with.
    fn prove(&self, flags: &Flags) -> Result<Result<(), String>, MapError> {
        let slot = Hook::BprmCheckSecurity.id();
        self.hashed.forget()?;
        flags.raise(slot, flag::CANARY)?;
        let done = canary::execute();
        flags.lower(slot, flag::CANARY)?;
        if let Err(error) = done {
            return Ok(Err(format!("no file could be executed to see it hashed: {error}")));
        }
        Ok(match self.hashed.algorithm()? {
            SHA256 => Ok(()),
            0 => Err("the kernel was not seen to hash what was executed".to_owned()),
            number @ ..0 => Err(format!("IMA hashes no file: errno {}", -number)),
            _ => Err("IMA of this kernel hashes with another algorithm: boot with ima_hash=sha256"
                .to_owned()),
        })
    }
}

fn start(loader: &Loader) -> Result<Live, String> {
    if loader.backend().kind() != BackendKind::Lsm {
        return Err("only programs of the BPF LSM can have a file hashed".to_owned());
    }
    let types = KernelTypes::running().map_err(|error| error.to_string())?;
    if !HASHES.iter().all(|name| types.has_function(name)) {
        return Err("this kernel's IMA hashes no files for BPF, which it does from 5.18 on".into());
    }
    loader.load(&types, &Job::Digest).map_err(|error| error.to_string())
}
