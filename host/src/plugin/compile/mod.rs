//! A file → a plugin that can be instantiated: bounded, recognised, checked against our table, compiled.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use wasmtime::component::Component;
use wit_component::{ComponentEncoder, metadata};
use wit_parser::{PackageName, WorldKey};

use super::engine::Engine;
use super::limit::Limits;
use super::world::{self, Contract, World};

const MAGIC: [u8; 4] = *b"\0asm";
const CORE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// Why a file is no plugin. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Longer than the limit.
    #[error("{}: larger than the limit of {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// No Wasm at all.
    #[error("{}: not Wasm (it does not start with \\0asm)", file.display())]
    NotWasm {
        /// The file.
        file: PathBuf,
    },
    /// Built for WASI.
    #[error("{}: built for WASI, which plugins do not have", file.display())]
    Wasi {
        /// The file.
        file: PathBuf,
    },
    /// A core module that no SDK prepared.
    #[error("{}: a Wasm module without a component-type section, so it implements no contract", file.display())]
    NoContract {
        /// The file.
        file: PathBuf,
    },
    /// A contract or version that this host does not serve.
    #[error("{}: implements {found}, this host serves krsi:plugin@0.1", file.display())]
    WrongContract {
        /// The file.
        file: PathBuf,
        /// What it implements.
        found: String,
    },
    /// A function of the contract is missing.
    #[error("{}: does not export `{function}`, which krsi:plugin@0.1 requires", file.display())]
    MissingExport {
        /// The file.
        file: PathBuf,
        /// The function.
        function: &'static str,
    },
    /// An import that no host offers.
    #[error("{}: imports `{import}`, which no host offers", file.display())]
    UnknownImport {
        /// The file.
        file: PathBuf,
        /// The import.
        import: String,
    },
    /// The bytes are not valid.
    #[error("{}: not a valid component", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: wasmtime::Error,
    },
    /// The module could not be made a component.
    #[error("{}: cannot be made a component: {reason}", file.display())]
    Encode {
        /// The file.
        file: PathBuf,
        /// What the encoder said.
        reason: String,
    },
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            LoadError::Read { .. } => "check the path and its permissions",
            LoadError::TooLarge { .. } => "strip the module, or build it with the wasm profile",
            LoadError::NotWasm { .. } => "give a file that was built for wasm32-unknown-unknown",
            LoadError::Wasi { .. } => {
                "build it for wasm32-unknown-unknown instead of wasm32-wasip1 or wasm32-wasip2"
            }
            LoadError::NoContract { .. } => {
                "name the plugin with krsi_plugin::export!(YourPlugin) and build it again"
            }
            LoadError::WrongContract { .. } | LoadError::MissingExport { .. } => {
                "build it again with the krsi-plugin SDK of version 0.1"
            }
            LoadError::UnknownImport { .. } => {
                "remove what needs it: plugins import nothing but log"
            }
            LoadError::Invalid { .. } | LoadError::Encode { .. } => {
                "build it again; the file may be damaged"
            }
        }
    }
}

/// A compiled plugin, not yet live.
pub struct PluginPre {
    file: PathBuf,
    contract: Contract,
    limits: Limits,
    engine: Engine,
}

impl PluginPre {
    /// Reads, checks and compiles a plugin.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(engine: &Engine, file: &Path, limits: Limits) -> Result<Self, LoadError> {
        let bytes = read(file, limits.binary_bytes)?;
        let component = componentise(file, bytes)?;
        let invalid = |source| LoadError::Invalid { file: file.into(), source };
        let component = Component::new(engine.wasm(), &component).map_err(invalid)?;
        check_component(file, engine, &component)?;
        let contract = world::contract(engine, &component).map_err(invalid)?;
        Ok(Self { file: file.into(), contract, limits, engine: engine.clone() })
    }

    /// The file it came from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A new instance.
    pub(super) fn instantiate(&self) -> Result<Box<dyn World>, world::CallError> {
        world::instantiate(&self.contract, &self.engine, self.limits, self.file.clone())
    }
}

fn read(file: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { file: file.into(), source };
    let opened = File::open(file).map_err(failed)?;
    let mut bytes = Vec::new();
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(LoadError::TooLarge { file: file.into(), limit });
    }
    Ok(bytes)
}

fn componentise(file: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, LoadError> {
    let not_wasm = || LoadError::NotWasm { file: file.into() };
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or_else(not_wasm)?;
    let (version, _) = rest.split_first_chunk::<4>().ok_or_else(not_wasm)?;
    match (*magic, *version) {
        (MAGIC, COMPONENT) => Ok(bytes),
        (MAGIC, CORE) => encode(file, &bytes),
        _ => Err(not_wasm()),
    }
}

/// Makes a component of a core module whose component-type section names our contract.
fn encode(file: &Path, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let failed = |error: &dyn std::fmt::Display| LoadError::Encode {
        file: file.into(),
        reason: format!("{error:#}").chars().take(512).collect(),
    };
    if bytes.windows(4).any(|window| window == b"wasi") && imports_wasi(bytes) {
        return Err(LoadError::Wasi { file: file.into() });
    }
    let (found, bindgen) = metadata::decode(bytes).map_err(|error| failed(&error))?;
    if found.is_none() {
        return Err(LoadError::NoContract { file: file.into() });
    }
    let resolve = &bindgen.resolve;
    let ours = resolve.packages.iter().map(|(_, package)| &package.name);
    let ours = ours.filter(|name| name.namespace != "root").collect::<Vec<_>>();
    let serves = |name: &&&PackageName| {
        let version = name.version.as_ref();
        (name.namespace.as_str(), name.name.as_str()) == world::PACKAGE
            && version.is_some_and(|version| (version.major, version.minor) == world::VERSION)
    };
    if !ours.iter().any(|name| serves(&name)) {
        let found = ours.first().map_or_else(|| "another contract".into(), ToString::to_string);
        return Err(LoadError::WrongContract { file: file.into(), found });
    }
    let exports = resolve.worlds.get(bindgen.world).map(|world| &world.exports);
    for function in world::EXPORTS {
        let named = |name: &str| name == *function;
        let has = exports.is_some_and(|exports| {
            exports.keys().any(|key| matches!(key, WorldKey::Name(name) if named(name)))
        });
        if !has {
            return Err(LoadError::MissingExport { file: file.into(), function });
        }
    }
    let encoder = ComponentEncoder::default().module(bytes).map_err(|error| failed(&error))?;
    encoder.validate(true).encode().map_err(|error| failed(&error))
}

fn imports_wasi(bytes: &[u8]) -> bool {
    let names: [&[u8]; 2] = [b"wasi_snapshot_preview1", b"wasi:cli"];
    names.iter().any(|name| bytes.windows(name.len()).any(|window| window == *name))
}

/// Compares what a component imports and exports with the table of the contract.
fn check_component(file: &Path, engine: &Engine, component: &Component) -> Result<(), LoadError> {
    let types = component.component_type();
    for (import, _) in types.imports(engine.wasm()) {
        if import.starts_with("wasi:") {
            return Err(LoadError::Wasi { file: file.into() });
        }
        if !world::IMPORTS.contains(&import) {
            return Err(LoadError::UnknownImport { file: file.into(), import: import.to_owned() });
        }
    }
    for function in world::EXPORTS {
        if !types.exports(engine.wasm()).any(|(export, _)| export == *function) {
            return Err(LoadError::MissingExport { file: file.into(), function });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
