//! The contract-neutral view of a live plugin, the table of contracts, and how calls fail.

mod log;
mod v0_1;

use std::path::{Path, PathBuf};
use std::time::Duration;

use krsi_plugin_schema::latest::{Hook, HookSet};
use wasmtime::component::Component;

use super::engine::Engine;
use super::limit::Limits;

/// Package of the contract.
pub(super) const PACKAGE: (&str, &str) = ("krsi", "plugin");

/// A contract that this host serves. Old rows stay for ever; a newer one is appended with its module.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContractRow {
    /// Version: major and minor.
    pub(super) version: (u64, u64),
    /// Functions that a plugin must export.
    pub(super) exports: &'static [&'static str],
    /// What a plugin may import, functions and types.
    pub(super) imports: &'static [&'static str],
    /// Binds a component to it.
    pub(super) bind: fn(&Engine, &Component) -> wasmtime::Result<Contract>,
}

/// The contracts, oldest first.
pub(super) const CONTRACTS: &[ContractRow] = &[v0_1::ROW];

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

/// Longest name of a plugin.
const NAME_MAX: usize = 64;
/// Longest version of a plugin.
const VERSION_MAX: usize = 64;
/// Shortest interval of ticks.
const TICK_MIN_MS: u32 = 10;

/// What becomes of a plugin's rules when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They stand until they expire.
    Keep,
    /// They are withdrawn.
    Clear,
}

/// What a plugin asks for, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name, `[a-z0-9-]`.
    pub name: String,
    /// Version.
    pub version: String,
    /// Hooks it subscribes to.
    pub hooks: HookSet,
    /// Hooks its rules refuse.
    pub deny_hooks: HookSet,
    /// Whether it denies by process, lineage, file, network.
    pub deny_keys: [bool; 4],
    /// Whether it wants to kill.
    pub kill: bool,
    /// Interval of ticks, if it wants any.
    pub tick: Option<Duration>,
    /// What becomes of its rules when it stops.
    pub on_stop: OnStop,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A name that cannot own rules.
    #[error("name {name:?} is not 1 to {NAME_MAX} of a-z, 0-9 and -")]
    Name {
        /// The name.
        name: String,
    },
    /// A version that cannot be shown.
    #[error("version {version:?} is not 1 to {VERSION_MAX} printable ASCII characters")]
    Version {
        /// The version.
        version: String,
    },
    /// A schema of batches that this host does not write.
    #[error("schema {schema} is not served, only 1 is")]
    Schema {
        /// The schema.
        schema: u16,
    },
    /// A hook that this host does not know.
    #[error("hook {hook:?} is not known to this host")]
    Hook {
        /// The hook.
        hook: String,
    },
    /// Ticks that come too fast.
    #[error("a tick every {tick_ms} ms is more often than every {TICK_MIN_MS} ms")]
    Tick {
        /// The interval.
        tick_ms: u32,
    },
}

/// A manifest as a contract's bindings give it.
pub(super) struct RawManifest {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) schema: u16,
    pub(super) hooks: Vec<String>,
    pub(super) deny_hooks: Vec<String>,
    pub(super) deny_keys: [bool; 4],
    pub(super) kill: bool,
    pub(super) tick_ms: u32,
    pub(super) on_stop: OnStop,
}

impl RawManifest {
    /// Checks every field.
    pub(super) fn check(self) -> Result<Manifest, ManifestError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > NAME_MAX || !self.name.bytes().all(plain) {
            return Err(ManifestError::Name { name: cut(&self.name) });
        }
        let printable = self.version.bytes().all(|byte| byte.is_ascii_graphic());
        if self.version.is_empty() || self.version.len() > VERSION_MAX || !printable {
            return Err(ManifestError::Version { version: cut(&self.version) });
        }
        if self.schema != krsi_plugin_schema::latest::SCHEMA {
            return Err(ManifestError::Schema { schema: self.schema });
        }
        if (1..TICK_MIN_MS).contains(&self.tick_ms) {
            return Err(ManifestError::Tick { tick_ms: self.tick_ms });
        }
        Ok(Manifest {
            hooks: hooks(&self.hooks)?,
            deny_hooks: hooks(&self.deny_hooks)?,
            name: self.name,
            version: self.version,
            deny_keys: self.deny_keys,
            kill: self.kill,
            tick: (self.tick_ms > 0).then(|| Duration::from_millis(u64::from(self.tick_ms))),
            on_stop: self.on_stop,
        })
    }
}

fn hooks(names: &[String]) -> Result<HookSet, ManifestError> {
    names.iter().try_fold(HookSet::default(), |set, name| {
        let hook = Hook::from_name(name).ok_or_else(|| ManifestError::Hook { hook: cut(name) })?;
        Ok(set.with(hook))
    })
}

fn cut(text: &str) -> String {
    text.chars().take(NAME_MAX).collect()
}

/// How a call into a plugin failed. The store is spent afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It trapped; the text holds what it said last and a backtrace.
    #[error("trapped in {call}: {text}")]
    Trap {
        /// Which call.
        call: &'static str,
        /// Reason, last words, backtrace.
        text: String,
    },
    /// It took too long.
    #[error("{call} took longer than its deadline of {} ms{backtrace}", deadline.as_millis())]
    Deadline {
        /// Which call.
        call: &'static str,
        /// Its limit.
        deadline: Duration,
        /// Where it was, a frame on each line.
        backtrace: String,
    },
    /// It asked for more than it may have.
    #[error("{call} asked for {} of {what}, the limit is {}", amount(what, *asked), amount(what, *limit))]
    Limit {
        /// Which call.
        call: &'static str,
        /// Of what.
        what: &'static str,
        /// What it asked for.
        asked: usize,
        /// What it may have.
        limit: usize,
    },
    /// Its stack overflowed.
    #[error("{call} overflowed its stack, the limit is {} KiB{backtrace}", limit >> 10)]
    Stack {
        /// Which call.
        call: &'static str,
        /// What it may have, bytes.
        limit: usize,
        /// Where it was, a frame on each line.
        backtrace: String,
    },
    /// It returned more than it may.
    #[error("{call} returned {bytes} bytes, the limit is {limit}")]
    Output {
        /// Which call.
        call: &'static str,
        /// How many.
        bytes: usize,
        /// Its limit.
        limit: usize,
    },
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
        /// The file.
        file: PathBuf,
        /// How.
        #[source]
        source: CallError,
    },
    /// Its manifest is wrong.
    #[error("{}: its manifest is refused", file.display())]
    Manifest {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// It refused its configuration.
    #[error("{}: refuses its configuration: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// In its own words, control characters escaped.
        reason: String,
    },
    /// It refused the state of its predecessor.
    #[error("{}: refuses its predecessor's state: {reason}", file.display())]
    State {
        /// The file.
        file: PathBuf,
        /// In its own words, control characters escaped.
        reason: String,
    },
    /// The plugin that it was to replace does not run.
    #[error("{}: the plugin that it is for is not running", file.display())]
    Stopping {
        /// The file.
        file: PathBuf,
    },
    /// Its thread could not be started.
    #[error("{}: no thread for it", file.display())]
    Thread {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// What to do about it.
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
    /// What it asks for.
    fn describe(&mut self) -> Result<Result<Manifest, ManifestError>, CallError>;
    /// Starts it; the inner error is its own refusal.
    fn init(&mut self, config: &[u8], seed: u64) -> Result<Result<Vec<u8>, String>, CallError>;
    /// Hands it a batch; returns its actions.
    fn handle(&mut self, batch: &[u8]) -> Result<Vec<u8>, CallError>;
    /// Its state.
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

    fn raw() -> RawManifest {
        RawManifest {
            name: "a-1".into(),
            version: "1.0.0".into(),
            schema: 1,
            hooks: vec!["file_open".into()],
            deny_hooks: Vec::new(),
            deny_keys: [false; 4],
            kill: false,
            tick_ms: 0,
            on_stop: OnStop::Keep,
        }
    }

    #[test]
    fn manifests_are_checked_field_by_field() {
        let check = |change: fn(&mut RawManifest), words: &str| {
            let mut manifest = raw();
            change(&mut manifest);
            let error = manifest.check().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(words) && error.is_empty() == words.is_empty(), "{error}");
        };
        check(|_| {}, "");
        check(|manifest| manifest.name.clear(), "name");
        check(|manifest| manifest.name = "A".into(), "name");
        check(|manifest| manifest.name = "a".repeat(65), "name");
        check(|manifest| manifest.version = "1\n".into(), "version");
        check(|manifest| manifest.schema = 2, "schema 2");
        check(|manifest| manifest.hooks.push("no_such".into()), "no_such");
        check(|manifest| manifest.tick_ms = 1, "tick");
    }

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
