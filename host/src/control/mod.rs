//! The control room: a socket for the administrator, and the verbs that use it.
//!
//! One line of JSON asks, one line answers, the connection ends. Lines are bounded, and only root and
//! the host's own user are heard.

mod client;
mod protocol;
mod server;

use std::io;
use std::path::PathBuf;

pub(crate) use self::client::send_query;
pub(crate) use self::protocol::{Answer, LabelledProcesses, Query};
pub(crate) use self::server::Server;

/// Why the control socket does not work.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be created.
    #[error("{}: the control socket cannot be created", path.display())]
    Bind {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Something else lies there.
    #[error("{}: is there already and is not a socket", path.display())]
    NoSocket { path: PathBuf },
    /// Another host listens at the path.
    #[error("{}: another krsi-host listens there", path.display())]
    Taken { path: PathBuf },
    /// No host listens at the path.
    #[error("{}: no krsi-host answers there", path.display())]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The host's answer does not come.
    #[error("{}: the answer cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The answer is no answer.
    #[error("{}: the answer cannot be read", path.display())]
    Answer {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl ControlError {
    /// Tells the user what to do about the error.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            ControlError::Bind { .. } | ControlError::NoSocket { .. } => {
                "give --control another path, or --no-control"
            }
            ControlError::Taken { .. } => "stop it, or give --control another path",
            ControlError::Connect { .. } => {
                "start krsi-host, give its --control path, and ask as root"
            }
            ControlError::Read { .. } | ControlError::Answer { .. } => {
                "are client and host of the same version?"
            }
        }
    }
}
