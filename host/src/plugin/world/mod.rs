//! The contract-neutral view of a live plugin, the table of contracts, and how calls fail.

mod contract;
mod instance;
mod log;
mod manifest;
mod v0_1;
mod v0_2;

use std::path::{Path, PathBuf};
use std::time::Duration;

use wasmtime::component::Component;

use super::engine::Engine;
use super::limit::Limits;

pub(crate) use self::log::KeptLog;
pub(crate) use self::manifest::{Manifest, ManifestError, is_label_name, is_plugin_name};
pub(crate) use crate::route::filter::Filter;

/// Package of the contract.
pub(super) const PACKAGE: (&str, &str) = ("krsi", "plugin");

/// What a contract's `describe` returns: what tells its plugins from those of others, as a component
/// does not say for which version of a contract it was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Describes {
    /// A record, of 0.1 only: a field more is another contract.
    Record,
    /// Bytes, which name the schema and grow.
    Bytes,
}

/// A contract that this host serves. Old rows stay for ever; a newer one is appended with its module.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContractRow {
    /// Version: major and minor.
    pub(super) version: (u64, u64),
    /// Functions that a plugin must export.
    pub(super) exports: &'static [&'static str],
    /// Functions and types that a plugin may import.
    pub(super) imports: &'static [&'static str],
    /// Form of the manifest that `describe` returns.
    pub(super) describes: Describes,
    /// Binds a component to it.
    pub(super) bind: fn(&Engine, &Component) -> wasmtime::Result<Contract>,
}

/// The contracts, oldest first.
pub(super) const CONTRACTS: &[ContractRow] = &[v0_1::ROW, v0_2::ROW];

/// A compiled plugin of some contract.
pub(super) type Contract = Box<dyn Pre>;

/// What a contract's module makes of a component.
pub(super) trait Pre: Send + Sync {
    /// A live plugin. `name` is for its log until it has told its own.
    fn instantiate(
        &self,
        engine: &Engine,
        limits: Limits,
        name: String,
    ) -> Result<Box<dyn World>, CallError>;
}

impl std::fmt::Display for ContractRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}@{}.{}", PACKAGE.0, PACKAGE.1, self.version.0, self.version.1)
    }
}

/// The contracts in words.
pub(super) fn served() -> String {
    CONTRACTS.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How a call into a plugin failed. The store is spent afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It trapped; the text holds what it said last and a backtrace.
    #[error("trapped in {call}: {text}")]
    Trap {
        /// Function that was called.
        call: &'static str,
        /// Last words and reason.
        text: String,
        /// Where it was, the innermost frame first.
        backtrace: Vec<String>,
    },
    /// The call took too long.
    #[error("{call} took longer than its deadline of {} ms", deadline.as_millis())]
    Deadline {
        /// Function that was called.
        call: &'static str,
        deadline: Duration,
        /// Where it was, the innermost frame first.
        backtrace: Vec<String>,
    },
    /// The call asked for more of something than it may have.
    #[error("{call} asked for {} of {what}, the limit is {}", amount(what, *asked), amount(what, *limit))]
    Limit {
        /// Function that was called.
        call: &'static str,
        what: &'static str,
        asked: usize,
        limit: usize,
    },
    /// The plugin's stack overflowed.
    #[error("{call} overflowed its stack, the limit is {} KiB", limit >> 10)]
    Stack {
        /// Function that was called.
        call: &'static str,
        limit: usize,
        /// Where it was, the innermost frame first.
        backtrace: Vec<String>,
    },
    /// The call returned more bytes than it may.
    #[error("{call} returned {bytes} bytes, the limit is {limit}")]
    Output {
        /// Function that was called.
        call: &'static str,
        bytes: usize,
        limit: usize,
    },
}

impl CallError {
    /// Where the plugin was, the innermost frame first, where that is known.
    #[must_use]
    pub fn backtrace(&self) -> &[String] {
        match self {
            Self::Trap { backtrace, .. }
            | Self::Deadline { backtrace, .. }
            | Self::Stack { backtrace, .. } => backtrace,
            Self::Limit { .. } | Self::Output { .. } => &[],
        }
    }

    /// The reason, and behind it where the plugin was.
    #[must_use]
    pub fn whole(&self) -> String {
        match self.backtrace() {
            [] => self.to_string(),
            frames => format!("{self}; at {}", frames.join(" < ")),
        }
    }
}

fn amount(what: &str, count: usize) -> String {
    match count {
        bytes if what == "memory" => {
            format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
                .replace(".0 MiB", " MiB")
        }
        count => count.to_string(),
    }
}

/// Why a plugin could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A call failed.
    #[error("{}: failed before its first event", file.display())]
    Call {
        file: PathBuf,
        #[source]
        source: CallError,
    },
    /// The plugin's manifest is wrong.
    #[error("{}: its manifest is refused", file.display())]
    Manifest {
        file: PathBuf,
        #[source]
        source: ManifestError,
    },
    /// The plugin refused its configuration.
    #[error("{}: refuses its configuration: {reason}", file.display())]
    Config {
        file: PathBuf,
        /// Reason, in the plugin's own words.
        reason: String,
    },
    /// The plugin refused the state of its predecessor.
    #[error("{}: refuses its predecessor's state: {reason}", file.display())]
    State {
        file: PathBuf,
        /// Reason, in the plugin's own words.
        reason: String,
    },
    /// The plugin that it was to replace does not run.
    #[error("{}: the plugin that it is for is not running", file.display())]
    Stopping { file: PathBuf },
    /// The plugin's thread could not be started.
    #[error("{}: no thread for it", file.display())]
    Thread {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// Tells the user what to do about the error.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            StartError::Call { .. } => "this is a fault of the plugin: tell its author",
            StartError::Manifest { .. } => {
                "this is a fault of the plugin, or it was written for a newer host"
            }
            StartError::Config { .. } => "correct the plugin's configuration",
            StartError::State { .. } => {
                "unload the plugin first to start without the state, or make it migrate"
            }
            StartError::Stopping { .. } => "start the plugin first",
            StartError::Thread { .. } => "raise the limit of threads (ulimit -u)",
        }
    }
}

/// A live plugin of any contract version.
pub(super) trait World: Send {
    /// What the plugin's manifest asks for.
    fn describe(&mut self) -> Result<Result<Manifest, ManifestError>, CallError>;
    /// Starts it; the inner error is its own refusal.
    fn init(&mut self, config: &[u8], seed: u64) -> Result<Result<Vec<u8>, String>, CallError>;
    /// Hands it a batch; returns its actions.
    fn handle(&mut self, batch: &[u8]) -> Result<Vec<u8>, CallError>;
    /// Returns the plugin's state.
    fn snapshot(&mut self) -> Result<Vec<u8>, CallError>;
    /// Hands it a state that `from_version` of it wrote; the inner error is its own refusal.
    fn restore(
        &mut self,
        from_version: &str,
        state: &[u8],
    ) -> Result<Result<(), String>, CallError>;
    /// Lines of its log that were dropped.
    fn log_dropped(&self) -> u64;
    /// Names it in the log.
    fn set_name(&mut self, name: &str);
    /// Lines that it logged since the last time that this was asked; from the first time on they are kept.
    fn take_log(&mut self) -> KeptLog;
}

/// Makes a compiled plugin live.
pub(super) fn instantiate(
    contract: &Contract,
    engine: &Engine,
    limits: Limits,
    file: &Path,
) -> Result<Box<dyn World>, CallError> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    contract.instantiate(engine, limits, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_in_its_unit() {
        let error = CallError::Limit {
            call: "handle",
            what: "memory",
            asked: (64 << 20) + (1 << 19),
            limit: 64 << 20,
        };
        assert_eq!(error.to_string(), "handle asked for 64.5 MiB of memory, the limit is 64 MiB");
    }
}
