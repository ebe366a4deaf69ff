//! Why nothing is replayed, and what to do about it.

use std::path::PathBuf;

use super::super::describe::DescribeError;
use super::super::stage::StageError;
use crate::plugin::CacheError;
use crate::record::RecordingError;

/// Why nothing is replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// The file is no recording, or cannot be read.
    #[error(transparent)]
    Read(#[from] RecordingError),
    /// The folder of compiled code is none.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A host would not run a plugin.
    #[error(transparent)]
    Plugin(#[from] DescribeError),
    /// Two files are one plugin.
    #[error("{}: its name {name:?} is that of {} too", file.display(), other.display())]
    SameName {
        /// Path of the later file.
        file: PathBuf,
        /// The name of both.
        name: String,
        /// The file before it.
        other: PathBuf,
    },
    /// A plugin does not start on the stream.
    #[error("{name}: {why}")]
    Stage {
        /// Name of the plugin.
        name: String,
        /// Why it does not start.
        #[source]
        why: StageError,
    },
    /// The output of the replay cannot be written.
    #[error("what is replayed cannot be told")]
    Tell(#[source] std::io::Error),
}

impl ReplayError {
    /// What to do about it; empty when the error says it.
    #[must_use]
    pub(crate) const fn fix(&self) -> &'static str {
        match self {
            ReplayError::Plugin(error) => error.fix(),
            ReplayError::Read(RecordingError::Format { .. }) => {
                "replay it with the krsi-host that wrote it, or a later one"
            }
            ReplayError::Cache(_)
            | ReplayError::Stage { .. }
            | ReplayError::Read(_)
            | ReplayError::SameName { .. }
            | ReplayError::Tell(_) => "",
        }
    }
}
