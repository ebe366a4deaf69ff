//! A plugin that is called step by step, on no thread of its own: what replays and scenarios are played with.

use super::candidate::describe;
use super::compile::{Identity, PluginPre};
use super::world::{CallError, KeptLog, Manifest, StartError, World};
use crate::record::Failing;

/// An instance that does what it is told, when it is told.
pub(crate) struct Stepped {
    manifest: Manifest,
    identity: Identity,
    world: Box<dyn World>,
}

impl Stepped {
    /// A fresh instance that has told its manifest.
    ///
    /// # Errors
    /// When a call fails or the manifest is refused.
    pub(crate) fn new(pre: &PluginPre) -> Result<Self, StartError> {
        let file = || pre.identity().file.clone();
        let described = describe(pre)
            .map_err(|source| StartError::Call { file: file(), source })?
            .map_err(|source| StartError::Manifest { file: file(), source })?;
        let (manifest, mut world) = described;
        // What it logs from here on is kept for whoever asks.
        let _before = world.take_log();
        Ok(Self { manifest, identity: pre.identity().clone(), world })
    }

    /// The plugin's manifest.
    #[must_use]
    pub(crate) const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// File, digest, signer and contract of the plugin.
    #[must_use]
    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Starts it; its first actions, or its own refusal.
    ///
    /// # Errors
    /// When the call fails; the instance is spent then.
    pub(crate) fn init(
        &mut self,
        config: &[u8],
        seed: u64,
    ) -> Result<Result<Vec<u8>, String>, CallError> {
        self.world.init(config, seed)
    }

    /// Hands it a batch of its schema; its actions.
    ///
    /// # Errors
    /// When the call fails; the instance is spent then.
    pub(crate) fn handle(&mut self, batch: &[u8]) -> Result<Vec<u8>, CallError> {
        self.world.handle(batch)
    }

    /// Its state.
    ///
    /// # Errors
    /// When the call fails; the instance is spent then.
    pub(crate) fn snapshot(&mut self) -> Result<Vec<u8>, CallError> {
        self.world.snapshot()
    }

    /// Hands it a state that a version wrote; its own refusal is the inner error.
    ///
    /// # Errors
    /// When the call fails; the instance is spent then.
    pub(crate) fn restore(
        &mut self,
        from: &str,
        state: &[u8],
    ) -> Result<Result<(), String>, CallError> {
        self.world.restore(from, state)
    }

    /// Lines that it logged since the last time.
    pub(crate) fn take_log(&mut self) -> KeptLog {
        self.world.take_log()
    }
}

/// What made a call fail, as a recording keeps it.
#[must_use]
pub(crate) const fn failing(error: &CallError) -> Failing {
    match error {
        CallError::Trap { .. } => Failing::Trap,
        CallError::Limit { .. } => Failing::Limit,
        CallError::Output { .. } => Failing::Output,
        CallError::Deadline { .. } | CallError::Stack { .. } => Failing::Machine,
    }
}
