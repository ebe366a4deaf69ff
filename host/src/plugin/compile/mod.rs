//! A file → a plugin that can be instantiated: bounded, signed, compiled apart or cached, checked.

mod apart;
mod cache;
mod fault;
mod native;
mod recognise;
mod signature;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

pub use self::apart::CompileLimits;
pub use self::apart::VERB;
pub(crate) use self::apart::{CompileStop, child};
pub(crate) use self::cache::{Cache, CacheError};
pub(crate) use self::fault::Fault;
pub(crate) use self::signature::{SignatureError, TrustedKey, signature_of};

use self::cache::{CacheLookup, hex};
use super::engine::Engine;
use super::limit::Limits;
use super::world::{self, Contract, World};
use crate::regular;

/// Why a file is no plugin. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Longer than the limit.
    #[error("{}: larger than the limit of {limit} bytes", file.display())]
    TooLarge { file: PathBuf, limit: u64 },
    /// Not signed as required.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Something is wrong with its bytes.
    #[error("{}: {fault}", file.display())]
    Fault { file: PathBuf, fault: Fault },
}

impl LoadError {
    /// Tells the user what to do about the error.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            LoadError::Read { .. } => {
                "give a file that can be read: check the path, what lies there, and its permissions"
            }
            LoadError::TooLarge { .. } => {
                "strip the module, build it with the wasm profile, or raise binary-mib"
            }
            LoadError::Signature(SignatureError::Key { .. } | SignatureError::Read { .. }) => {
                "give --require-signed the public key file that `minisign -G` wrote"
            }
            LoadError::Signature(SignatureError::Unsigned { .. }) => {
                "it runs once its signature lies beside it: `minisign -Sm FILE`"
            }
            LoadError::Signature(_) => "sign it with `minisign -Sm FILE`, or do not run it",
            LoadError::Fault { fault, .. } => fault.fix(),
        }
    }
}

/// Turns files into plugins.
pub struct Compiler {
    /// The host's own binary, for the child.
    program: PathBuf,
    limits: CompileLimits,
    cache: Option<Cache>,
    key: Option<TrustedKey>,
    stop: CompileStop,
    told: ToldOfCache,
}

/// What was said of the cache: once for each run, not for each plugin.
#[derive(Debug, Default)]
struct ToldOfCache {
    copied: AtomicBool,
    not_kept: AtomicBool,
}

/// Whether nobody has said it before; says it now.
fn is_first(said: &AtomicBool) -> bool {
    !said.swap(true, Ordering::Relaxed)
}

/// Where a plugin's code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeOrigin {
    /// Compiled just now.
    Compiled,
    /// Found in the cache.
    Cached,
    /// Compiled just now, because the cached code was not what the host had put there.
    Distrusted,
}

/// The identity of a plugin's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub file: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Id of the key that signed it, if a signature was required.
    pub signed_by: Option<String>,
    /// Contract that it implements.
    pub contract: String,
    /// Where its code came from.
    pub origin: CodeOrigin,
}

/// A compiled plugin, not yet live.
pub struct PluginPre {
    identity: Identity,
    contract: Contract,
    limits: Limits,
    engine: Engine,
}

impl Compiler {
    /// A compiler that starts `program` as its child, and may keep what it compiled.
    #[must_use]
    pub fn new(
        program: PathBuf,
        limits: CompileLimits,
        cache: Option<Cache>,
        key: Option<TrustedKey>,
    ) -> Self {
        let (stop, told) = (CompileStop::default(), ToldOfCache::default());
        Self { program, limits, cache, key, stop, told }
    }

    /// Handle by which another thread ends the compiling.
    pub(crate) fn stop_handle(&self) -> CompileStop {
        self.stop.clone()
    }

    /// Reads, checks and compiles a plugin, or takes its code from the cache.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(
        &self,
        engine: &Engine,
        file: &Path,
        limits: Limits,
    ) -> Result<PluginPre, LoadError> {
        self.load_pinned(engine, file, limits, None)
    }

    /// The same of a plugin that must be signed with `pinned`, beside the key that all must be signed with.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load_pinned(
        &self,
        engine: &Engine,
        file: &Path,
        limits: Limits,
        pinned: Option<&TrustedKey>,
    ) -> Result<PluginPre, LoadError> {
        let bytes = read(file, limits.binary_bytes)?;
        for key in self.key.iter().chain(pinned) {
            key.check(file, &bytes)?;
        }
        let fault = |fault| LoadError::Fault { file: file.into(), fault };
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let (component, origin) = self.component(engine, &bytes, &sha256).map_err(fault)?;
        let row = recognise::contract(world::CONTRACTS, engine, &component).map_err(fault)?;
        let contract = (row.bind)(engine, &component)
            .map_err(|error| fault(Fault::Invalid { reason: Fault::words(&error) }))?;
        let identity = Identity {
            file: file.into(),
            sha256: hex(&sha256),
            signed_by: self.key.as_ref().or(pinned).map(|key| key.id().to_owned()),
            contract: row.to_string(),
            origin,
        };
        Ok(PluginPre { identity, contract, limits, engine: engine.clone() })
    }

    fn component(
        &self,
        engine: &Engine,
        bytes: &[u8],
        sha256: &[u8; 32],
    ) -> Result<(Component, CodeOrigin), Fault> {
        let name = self.cache.as_ref().map(|cache| (cache, Cache::name(engine.wasm(), sha256)));
        let mut origin = CodeOrigin::Compiled;
        if let Some((cache, name)) = &name {
            let portable = Engine::compiling_portably().map(|engine| Cache::name(&engine, sha256));
            // What suits this processor is better than what suits every one.
            for name in [Some(name), portable.ok().as_ref()].into_iter().flatten() {
                match cache.find(engine, name) {
                    CacheLookup::Code(component) => return Ok((component, CodeOrigin::Cached)),
                    CacheLookup::Copied(component, why) => {
                        if is_first(&self.told.copied) {
                            tracing::warn!(
                                folder = %cache.folder().display(),
                                "compiled code is copied, as it cannot be mapped from there: {why}"
                            );
                        }
                        return Ok((component, CodeOrigin::Cached));
                    }
                    CacheLookup::Nothing => {}
                    CacheLookup::Torn => {
                        tracing::warn!(
                            entry = name,
                            "cached code was not written whole: compiled anew"
                        );
                    }
                    CacheLookup::Tampered => {
                        tracing::warn!(
                            entry = name,
                            "cached code was not what was put there: compiled again"
                        );
                        origin = CodeOrigin::Distrusted;
                    }
                }
            }
        }
        let code = apart::compile(&self.program, bytes, self.limits, &self.stop)?;
        if let Some((cache, name)) = &name
            && let Err(error) = cache.keep(name, &code)
            && is_first(&self.told.not_kept)
        {
            let folder = cache.folder().display();
            tracing::warn!(%folder, %error, "compiled code is not kept");
        }
        let component = native::take(engine, &code)
            .map_err(|error| Fault::Compiler { reason: Fault::words(&error) })?;
        Ok((component, origin))
    }
}

/// Compiles a plugin's bytes in this process, as the child does, with nothing that bounds what it takes: for fuzzing.
///
/// # Errors
/// What is wrong with the bytes.
#[cfg(test)]
pub(crate) fn compile_here(bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    apart::code(bytes)
}

/// Compiles a plugin for every processor of this architecture, in this process, and keeps the code for hosts
/// that are given this cache.
///
/// # Errors
/// Names the file and what is wrong with it.
pub(crate) fn precompile(cache: &Cache, file: &Path, binary_bytes: u64) -> Result<(), LoadError> {
    let bytes = read(file, binary_bytes)?;
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    let compiled = || {
        let failed = |reason: String| Fault::Compiler { reason };
        let engine = Engine::compiling_portably().map_err(|error| failed(error.to_string()))?;
        let code = apart::code_by(&engine, bytes)?;
        let kept = cache.keep(&Cache::name(&engine, &sha256), &code);
        kept.map_err(|error| failed(format!("keeping the code: {error}")))
    };
    compiled().map_err(|fault| LoadError::Fault { file: file.into(), fault })
}

/// Whether this process may make memory executable, as the code of a plugin is.
///
/// # Errors
/// When it may not, as with `MemoryDenyWriteExecute=yes` in a systemd unit.
pub(crate) fn may_make_code() -> io::Result<()> {
    native::may_make_code()
}

impl PluginPre {
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Limits of the plugin's calls and memory.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// A new instance.
    pub(super) fn instantiate(&self) -> Result<Box<dyn World>, world::CallError> {
        world::instantiate(&self.contract, &self.engine, self.limits, &self.identity.file)
    }
}

fn read(file: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { file: file.into(), source };
    let opened = regular::open(file).map_err(failed)?;
    let mut bytes = Vec::new();
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(LoadError::TooLarge { file: file.into(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
