//! Compiled code kept on disk: by content and engine, in a root-only folder, authenticated before use.
//!
//! ```text
//! DIR/key               64 random bytes, mode 600
//! DIR/NAME.code         the code, as wasmtime wrote it
//! DIR/NAME.tag          HMAC-SHA-256 under the key of NAME and the code
//! NAME = SHA-256 of: plugin's SHA-256, host's and engine's version, engine's settings, CPU features
//! ```
//! Code runs with the host's rights, so a file that somebody else wrote must never be mapped. An entry
//! that does not fit its tag is told, removed and compiled again.

use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::native;
use crate::plugin::engine::Engine;

/// As many as a block of SHA-256, so that none is lost on the way into the HMAC.
const KEY_BYTES: usize = 64;
/// Larger files are not ours.
const CODE_MAX: u64 = 256 << 20;

/// The reason why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or the folder cannot be had.
    #[error("{}: cannot be used for compiled code", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others can write there.
    #[error("{}: others than its owner may enter it, or its owner is not this user", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
    },
}

/// What a look into the cache found.
pub(super) enum CacheLookup {
    /// Code, mapped.
    Code(Component),
    Nothing,
    /// An entry that is not to be trusted.
    Tampered,
}

/// The folder and its key.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

impl Cache {
    /// Opens a folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be made, or belongs to or is open to others.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        let about = fs::symlink_metadata(folder).map_err(failed(folder))?;
        let own = about.uid() == rustix::process::geteuid().as_raw();
        if !about.is_dir() || !own || about.mode() & 0o077 != 0 {
            return Err(CacheError::Open { path: folder.into() });
        }
        let path = folder.join("key");
        let key = match read_key(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                new_key(&path).map_err(failed(&path))?
            }
            Err(error) => return Err(failed(&path)(error)),
        };
        Ok(Self { folder: folder.into(), key })
    }

    /// The name of a plugin's entry for an engine on this machine.
    pub(super) fn name(engine: &wasmtime::Engine, sha256: &[u8; 32]) -> String {
        struct Into256(Sha256);
        impl Hasher for Into256 {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update((bytes.len() as u64).to_le_bytes());
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut hash = Into256(Sha256::new());
        hash.write(sha256);
        hash.write(env!("CARGO_PKG_VERSION").as_bytes());
        // Version of the engine, its settings, and the features of the processor it compiles for.
        engine.precompile_compatibility_hash().hash(&mut hash);
        hex(&hash.0.finalize())
    }

    /// Looks for an entry; what is found is mapped.
    pub(super) fn find(&self, engine: &Engine, name: &str) -> CacheLookup {
        let Ok(file) = File::open(self.path(name, "code")) else { return CacheLookup::Nothing };
        match self.checked(name, &file).map(|()| map(engine, &file)) {
            Ok(Some(component)) => CacheLookup::Code(component),
            Ok(None) | Err(_) => {
                for kind in ["code", "tag"] {
                    // What cannot be removed is found, and refused, again.
                    let _removed = fs::remove_file(self.path(name, kind));
                }
                CacheLookup::Tampered
            }
        }
    }

    /// Keeps code under a name.
    pub(super) fn keep(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let tag = self.tag(name, code).finalize().into_bytes();
        // The code last: an entry without a tag would be called tampered.
        self.write(&self.path(name, "tag"), &tag)?;
        self.write(&self.path(name, "code"), code)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = self.folder.join(format!("new-{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        fs::rename(&new, path)
    }

    fn checked(&self, name: &str, file: &File) -> io::Result<()> {
        let tag = fs::read(self.path(name, "tag"))?;
        let mut code = Vec::new();
        io::Read::take(file, CODE_MAX).read_to_end(&mut code)?;
        let fits = self.tag(name, &code).verify_slice(&tag);
        fits.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the tag does not fit"))
    }

    fn tag(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new((&self.key).into());
        mac.update(name.as_bytes());
        mac.update(code);
        mac
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.join(format!("{name}.{kind}"))
    }
}

/// Maps compiled code through the descriptor that was checked, so that nobody can put another file
/// in its place.
fn map(engine: &Engine, file: &File) -> Option<Component> {
    native::map(engine, Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd()))).ok()
}

fn read_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let file = File::open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    let mut key = [0; KEY_BYTES];
    (&file).read_exact(&mut key)?;
    Ok(key)
}

fn new_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(&key)?;
    Ok(key)
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found_again_by_the_same_content_and_engine_only() {
        let engine = Engine::new(64 << 10).unwrap();
        let name = Cache::name(engine.wasm(), &[1; 32]);
        // The limit of stack is no matter of the code.
        assert_eq!(name, Cache::name(Engine::new(128 << 10).unwrap().wasm(), &[1; 32]));
        assert_ne!(name, Cache::name(engine.wasm(), &[2; 32]));
        let other = wasmtime::Engine::new(&wasmtime::Config::new()).unwrap();
        assert_ne!(name, Cache::name(&other, &[1; 32]));
    }
}
