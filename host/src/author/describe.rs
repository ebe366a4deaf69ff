//! What a plugin is and asks for, as a host with production limits finds it.

use std::fmt;
use std::path::{Path, PathBuf};

use krsi_plugin_schema::latest::{KeyKind, OnStop, ToldRunning};
use serde::Serialize;

use crate::plugin::{
    Candidate, CompileLimits, Compiler, Engine, EngineError, Limits, LoadError, Manifest,
    PluginPre, StartError, signature_of,
};
use crate::text::{Escaped, Quoted};

/// Why a host would not run a plugin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescribeError {
    /// There is no engine on this machine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file is no plugin.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plugin fails at its start, or what it asks for is refused.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl DescribeError {
    /// What to do about it; empty when the error says it.
    #[must_use]
    pub(crate) const fn fix(&self) -> &'static str {
        match self {
            DescribeError::Load(error) => error.fix(),
            DescribeError::Start(error) => error.fix(),
            DescribeError::Engine(_) => "",
        }
    }
}

/// What a plugin is and asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Description {
    /// The plugin's Wasm file.
    pub file: PathBuf,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Whether a signature lies beside it; nobody has checked it.
    pub signature: bool,
    /// Contract that it implements.
    pub contract: String,
    /// Schema of the batches that it is sent.
    pub schema: u16,
    /// The plugin's name, which rules belong to.
    pub name: String,
    pub version: String,
    /// Hooks whose calls it sees.
    pub hooks: Vec<&'static str>,
    /// What of those it sees, where it does not see all.
    pub filters: Vec<String>,
    /// Watches of the plugin's own, as it wrote them.
    pub watches: Vec<String>,
    /// Hooks whose calls its rules refuse.
    pub deny_hooks: Vec<&'static str>,
    /// Kinds of keys that its rules name.
    pub deny_keys: Vec<&'static str>,
    /// Labels that it gives to processes and asks for.
    pub labels: Vec<String>,
    /// Whether it is told of what runs already.
    pub running: bool,
    /// Whether it asks for samples of processes.
    pub samples: bool,
    /// Whether it kills processes.
    pub kill: bool,
    /// Milliseconds between its ticks.
    pub tick_ms: Option<u128>,
    /// Whether its rules end when it stops, or stand until they expire.
    pub rules_end_with_it: bool,
}

/// Loads a plugin as a host with the default limits does, without its cache and without starting it. `program` is
/// a krsi-host, whose child compiles.
///
/// # Errors
/// When a host would not run it.
pub(crate) fn describe(file: &Path, program: &Path) -> Result<Description, DescribeError> {
    let candidate = Candidate::describe(load(file, program)?)?;
    Ok(of(&candidate, file))
}

/// Compiles a plugin as a host with the default limits does, without its cache.
///
/// # Errors
/// When a host would not run it.
pub(crate) fn load(file: &Path, program: &Path) -> Result<PluginPre, DescribeError> {
    let limits = Limits::default();
    let engine = Engine::new(limits.stack_bytes)?;
    let compiler = Compiler::new(program.to_owned(), CompileLimits::default(), None, None);
    Ok(compiler.load(&engine, file, limits)?)
}

fn of(candidate: &Candidate, file: &Path) -> Description {
    let (identity, manifest) = (candidate.identity(), &candidate.manifest);
    Description {
        file: file.to_owned(),
        bytes: std::fs::metadata(file).map_or(0, |file| file.len()),
        sha256: identity.sha256.clone(),
        signature: signature_of(file).is_file(),
        contract: identity.contract.clone(),
        schema: manifest.schema.number(),
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        hooks: manifest.hooks.iter().map(|hook| hook.name()).collect(),
        filters: filters(manifest),
        watches: manifest.watches.clone(),
        deny_hooks: manifest.deny_hooks.iter().map(|hook| hook.name()).collect(),
        deny_keys: manifest.deny_keys.iter().map(KeyKind::name).collect(),
        labels: manifest.labels.iter().map(|label| label.name.clone()).collect(),
        running: manifest.running != ToldRunning::Never,
        samples: manifest.samples,
        kill: manifest.kill,
        tick_ms: manifest.tick.map(|tick| tick.as_millis()),
        rules_end_with_it: manifest.on_stop == OnStop::Clear,
    }
}

fn filters(manifest: &Manifest) -> Vec<String> {
    let words = |filter: &crate::plugin::Filter| {
        let conditions: Vec<String> = filter.conditions.iter().map(ToString::to_string).collect();
        format!("{}: {}", filter.hook.name(), conditions.join(" and "))
    };
    manifest.filters.iter().map(words).collect()
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.to_string_lossy();
        writeln!(f, "{} {} ({})", self.name, self.version, Quoted(&file))?;
        let signature = if self.signature { "lies beside it, not checked" } else { "none" };
        writeln!(f, "  contract   {}, {} KiB", self.contract, self.bytes.div_ceil(1024))?;
        writeln!(f, "  sha256     {}", self.sha256)?;
        writeln!(f, "  signature  {signature}")?;
        if self.running {
            writeln!(f, "  it is told of every process that runs when it starts")?;
        }
        if self.samples {
            writeln!(f, "  it takes samples of processes: what they use, their arguments")?;
        }
        if self.hooks.is_empty() && self.watches.is_empty() {
            writeln!(f, "  it sees no calls")?;
        }
        lines(f, "it sees calls of", self.hooks.iter())?;
        lines(f, "of those only", self.filters.iter())?;
        lines(f, "it watches (a watch with `deny` refuses by itself)", self.watches.iter())?;
        if self.deny_hooks.is_empty() || self.deny_keys.is_empty() {
            writeln!(f, "  its rules refuse nothing")?;
        } else {
            lines(f, "its rules may refuse calls of", self.deny_hooks.iter())?;
            lines(f, "by", self.deny_keys.iter())?;
            let end = if self.rules_end_with_it {
                "end when it is quarantined or unloaded"
            } else {
                "stay in force when it is quarantined, until they expire, and end when it is unloaded"
            };
            writeln!(f, "  its rules {end}")?;
        }
        if self.kill {
            writeln!(f, "  it may kill processes, where the operator grants `kill`")?;
        }
        if let Some(tick) = self.tick_ms {
            writeln!(f, "  it is called every {tick} ms, whether something happens or not")?;
        }
        Ok(())
    }
}

/// A list below its heading, wrapped; nothing of an empty one.
fn lines<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    heading: &str,
    items: impl ExactSizeIterator<Item = T>,
) -> fmt::Result {
    if items.len() == 0 {
        return Ok(());
    }
    writeln!(f, "  {heading}")?;
    for item in items {
        // A watch is the plugin's own text.
        writeln!(f, "    {}", Escaped(&item.to_string()))?;
    }
    Ok(())
}
