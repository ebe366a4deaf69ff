//! A compiled plugin → one that has described itself, and is ready to start or to take over.

use std::sync::Arc;

use super::compile::{Identity, PluginPre};
use super::world::{CallError, Manifest, StartError, World};
use crate::record::RecorderSlot;

/// A plugin with its manifest, not yet started.
pub struct Candidate {
    /// Manifest: what the plugin asks for.
    pub manifest: Manifest,
    pub(super) pre: Arc<PluginPre>,
    pub(super) world: Box<dyn World>,
}

/// Arguments with which a plugin is started.
#[derive(Clone)]
pub struct Start {
    /// Configuration, as the operator wrote it.
    pub config: Arc<[u8]>,
    /// Seed; a recording keeps it.
    pub seed: u64,
    /// Where its calls are recorded, while somebody records.
    pub recorder: RecorderSlot,
}

impl Candidate {
    /// Instantiates a plugin and asks what it wants.
    ///
    /// # Errors
    /// When a call fails or the manifest is refused.
    pub fn describe(pre: PluginPre) -> Result<Self, StartError> {
        let pre = Arc::new(pre);
        let file = || pre.identity().file.clone();
        let described = describe(&pre)
            .map_err(|source| StartError::Call { file: file(), source })?
            .map_err(|source| StartError::Manifest { file: file(), source })?;
        let (manifest, world) = described;
        Ok(Self { manifest, pre, world })
    }

    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.pre.identity()
    }
}

type Described = Result<(Manifest, Box<dyn World>), super::world::ManifestError>;

/// A fresh instance that has told its manifest.
pub(super) fn describe(pre: &PluginPre) -> Result<Described, CallError> {
    let mut world = pre.instantiate()?;
    let manifest = world.describe()?;
    Ok(manifest.map(|manifest| {
        world.set_name(&manifest.name);
        (manifest, world)
    }))
}

/// Why a plugin did not start, or did not take over.
pub(super) enum StartRefusal {
    /// A call failed.
    Call(CallError),
    /// The plugin refused its configuration, for this reason.
    Config(String),
    /// The plugin refused its predecessor's state, for this reason.
    State(String),
}

impl From<CallError> for StartRefusal {
    fn from(error: CallError) -> Self {
        StartRefusal::Call(error)
    }
}

impl StartRefusal {
    /// The error, with the plugin's file added.
    pub(super) fn of(self, identity: &Identity) -> StartError {
        let file = identity.file.clone();
        match self {
            StartRefusal::Call(source) => StartError::Call { file, source },
            StartRefusal::Config(reason) => StartError::Config { file, reason },
            StartRefusal::State(reason) => StartError::State { file, reason },
        }
    }
}

/// A state of a plugin.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    /// The version that wrote it.
    pub(super) version: String,
    /// Bytes of the state, as that version wrote them.
    pub(super) state: Vec<u8>,
}

/// Initialises an instance and hands it a state; its first actions.
pub(super) fn start(
    world: &mut dyn World,
    start: &Start,
    state: Option<&Checkpoint>,
) -> Result<Vec<u8>, StartRefusal> {
    let actions = world.init(&start.config, start.seed)?.map_err(StartRefusal::Config)?;
    if let Some(Checkpoint { version, state }) = state {
        world.restore(version, state)?.map_err(StartRefusal::State)?;
    }
    Ok(actions)
}
