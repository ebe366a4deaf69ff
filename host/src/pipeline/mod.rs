//! The wiring of stages, threads and queues: the only room that names all stages.
//!
//! ```text
//! reader thread:  rings → decode → enrich → route → queues          (owns rings and views)
//! plugin threads: queue → guest → actions → policy → maps           (one each)
//! main thread:    signals, ticks, expiry, reports → standard output (tokio)
//! ```

mod clock;
mod control;
mod reader;
mod report;
mod shared;
mod sink;
mod start;

use std::path::PathBuf;

use crate::config::{Config, ConfigError};
use crate::kernel::btf::BtfError;
use crate::kernel::canary::CanaryError;
use crate::kernel::load;
use crate::kernel::map::MapError;
use crate::kernel::probe::ProbeError;
use crate::plugin::{EngineError, LoadError, StartError};
use crate::read::ring::ReadError;

/// Why a run did not happen or ended early. `cli/exit.rs` says what to do about each.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine cannot take LSM programs.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The kernel's types cannot be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The object cannot be loaded.
    #[error(transparent)]
    Load(#[from] load::LoadError),
    /// No hook that a plugin wants can be attached.
    #[error("no hook could be attached; {hook}: {reason}")]
    NoHook {
        /// The first of them.
        hook: &'static str,
        /// Why.
        reason: String,
    },
    /// Attached hooks do not fire.
    #[error("the BPF LSM is not active")]
    Canary(#[from] CanaryError),
    /// A map is unusable.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The Wasm engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file is no plugin.
    #[error(transparent)]
    Plugin(#[from] LoadError),
    /// A plugin could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Two plugins with one name.
    #[error("{}: its name {name:?} is taken by another plugin", file.display())]
    SameName {
        /// The later file.
        file: PathBuf,
        /// The name of both.
        name: String,
    },
    /// The rings cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// Signals cannot be waited for.
    #[error("the control plane cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// The ready file cannot be created.
    #[error("{}: cannot be created", file.display())]
    ReadyFile {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Runs plugins until a signal.
///
/// # Errors
/// When the machine, the configuration or a plugin does not allow it.
pub fn run(config: Config) -> Result<(), RunError> {
    let running = start::start(&config)?;
    control::serve(running, &config)
}
