//! Which backend is used: found out once, at the start, and never given up.

use std::path::Path;
use std::sync::Arc;

use krsi_host_abi::deny::FileKey;

use super::error::AttachError;
use crate::config::Config;
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::trim;
use crate::kernel::map::Proofs;
use crate::kernel::program::backend::BackendKind;
use crate::kernel::program::load::Loader;
use crate::kernel::program::proof::{CanaryError, Proven, Prover};

/// Tells what a file is to programs; `None` for one that cannot be opened or was not seen.
pub(crate) type KeyOf<'a> = &'a dyn Fn(&Path) -> Option<FileKey>;

/// The proof of the backend.
pub(crate) struct BackendProof {
    proofs: Arc<Proofs>,
    /// Whether another backend may be tried when this one's programs are not called.
    auto: bool,
    /// Hooks that are left alone.
    without: Vec<String>,
    /// Why nothing is proven; `None` when a program was called.
    told: Option<String>,
}

impl BackendProof {
    pub(crate) fn new(proofs: Arc<Proofs>, config: &Config) -> Self {
        let (auto, without) = (config.backend.is_none(), config.without.clone());
        Self { proofs, auto, without, told: None }
    }

    /// Why nothing is proven, in words.
    pub(crate) fn told(&self) -> Option<String> {
        Some(format!("the backend: {}", self.told.as_ref()?))
    }

    /// Finds out whether programs of the backend are called at all, and takes another one if not. What cannot be
    /// found out is told, and the backend stays.
    pub(crate) fn prove(
        &mut self,
        loader: &mut Loader,
        types: &KernelTypes,
        learn: impl FnOnce(KeyOf<'_>),
    ) -> Result<(), AttachError> {
        loop {
            let prover = match self.start(loader, types) {
                Ok(prover) => prover,
                // The hooks will say what is wrong, if anything is.
                Err(why) => {
                    learn(&|_| None);
                    self.told = Some(why);
                    return Ok(());
                }
            };
            let told = match prover.prove()? {
                Proven::Called => None,
                Proven::Unable => Some("no file of the host's own could be opened".to_owned()),
                // Loaded, attached, and never called: the LSM does not ask BPF here.
                Proven::Silent if self.auto && loader.backend().kind() == BackendKind::Lsm => {
                    drop(prover);
                    loader.set_backend(BackendKind::FmodRet.backend());
                    continue;
                }
                Proven::Silent => return Err(CanaryError::Silent { hook: prover.hook() }.into()),
            };
            learn(&|path| prover.key_of(path));
            drop(prover);
            self.told = told;
            return Ok(());
        }
    }

    /// Attaches the program again, to tell what files are.
    pub(crate) fn learn(&self, loader: &Loader, learn: impl FnOnce(KeyOf<'_>)) {
        let types = KernelTypes::running().ok();
        let prover = types.and_then(|types| self.start(loader, &types).ok());
        trim::give_back();
        learn(&|path| prover.as_ref()?.key_of(path));
    }

    fn start(&self, loader: &Loader, types: &KernelTypes) -> Result<Prover<'_>, String> {
        let leaves = |hook: &str| self.without.iter().any(|name| name == hook);
        Prover::start(loader, types, &self.proofs, leaves).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        })
    }
}
