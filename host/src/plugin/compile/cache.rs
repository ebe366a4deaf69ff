//! Compiled code kept on disk: by content and engine, in a root-only folder, authenticated before use.
//!
//! ```text
//! DIR/key               64 random bytes, mode 600
//! DIR/NAME.code         the code, as wasmtime wrote it
//! DIR/NAME.tag          HMAC-SHA-256 under the key of NAME and the code
//! NAME = SHA-256 of: plugin's SHA-256, host's and engine's version, engine's settings, CPU features
//! ```
//! Code runs with the host's rights, so a file that somebody else wrote must never be mapped. An entry
//! that does not fit its tag is told, removed and compiled again. Files are written whole or not at all: beside, to
//! the disk, and then put in their place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use rustix::fs::StatVfsMountFlags;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::fault::Fault;
use super::native;
use crate::plugin::engine::Engine;

/// As many as a block of SHA-256, so that none is lost on the way into the HMAC.
const KEY_BYTES: usize = 64;
/// Bytes of an HMAC-SHA-256.
const TAG_BYTES: usize = 32;
/// Larger files are not ours.
const CODE_MAX: u64 = 256 << 20;

/// The reason why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or the folder cannot be had.
    #[error("{}: cannot be used for compiled code", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Something else than a directory.
    #[error("{}: is not a directory", path.display())]
    NotDirectory {
        /// Path at which compiled code is to be kept.
        path: PathBuf,
    },
    /// Others can write there.
    #[error("{}: others than its owner may enter it, or its owner is not this user", path.display())]
    Open {
        /// Folder of the compiled code.
        path: PathBuf,
    },
}

/// What a look into the cache found.
pub(super) enum CacheLookup {
    /// Code, mapped.
    Code(Component),
    /// Code that cannot be mapped from where it lies, as on a file system that is mounted noexec: a copy, and why.
    Copied(Component, String),
    Nothing,
    /// An entry of which a part is missing, as after a loss of power.
    Torn,
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
        if fs::metadata(folder).is_ok_and(|about| !about.is_dir()) {
            return Err(CacheError::NotDirectory { path: folder.into() });
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        // A link is a name like any other: what it leads to is looked at, and used from here on.
        let folder = &fs::canonicalize(folder).map_err(failed(folder))?;
        if !is_own(folder) {
            return Err(CacheError::Open { path: folder.into() });
        }
        let path = folder.join("key");
        let key = match read_key(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                new_key(&path).map_err(failed(&path))?
            }
            // Torn by a full disk, or a loss of power. What was kept under it is worth nothing without it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                forget_entries(folder).map_err(failed(folder))?;
                fs::remove_file(&path).map_err(failed(&path))?;
                new_key(&path).map_err(failed(&path))?
            }
            Err(error) => return Err(failed(&path)(error)),
        };
        Ok(Self { folder: folder.into(), key })
    }

    /// What would keep code from being kept in a folder, or mapped from there; nothing is changed.
    #[must_use]
    pub(crate) fn doubt(folder: &Path) -> Option<String> {
        let there = folder.ancestors().find(|path| path.exists())?;
        let about = rustix::fs::statvfs(there).ok()?;
        let mount = about.f_flag;
        let what = if there == folder && !there.is_dir() {
            "is not a directory"
        } else if about.f_blocks > 0 && about.f_bfree == 0 {
            "lies on a file system that is full"
        } else if mount.contains(StatVfsMountFlags::RDONLY) {
            "lies on a file system that is mounted read-only"
        } else if mount.contains(StatVfsMountFlags::NOEXEC) {
            "lies on a file system that is mounted noexec"
        } else if there == folder && !fs::canonicalize(folder).is_ok_and(|folder| is_own(&folder)) {
            "others than its owner may enter it, or its owner is not this user"
        } else {
            return None;
        };
        Some(format!("{}, where compiled plugins are kept: {what}", folder.display()))
    }

    /// Where the code lies.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
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
        let found = match self.checked(name, &file) {
            Ok(code) => match map(engine, &file) {
                Ok(component) => return CacheLookup::Code(component),
                // The bytes are what this host wrote, wherever they lie.
                Err(why) => match native::take(engine, &code) {
                    Ok(component) => return CacheLookup::Copied(component, Fault::words(&why)),
                    Err(_) => CacheLookup::Nothing,
                },
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => CacheLookup::Tampered,
            Err(_) => CacheLookup::Torn,
        };
        for kind in ["code", "tag"] {
            // What cannot be removed is found, and refused, again.
            let _removed = fs::remove_file(self.path(name, kind));
        }
        found
    }

    /// Keeps code under a name.
    pub(super) fn keep(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let tag = self.tag(name, code).finalize().into_bytes();
        let path = self.path(name, "code");
        // The code last, and none while its tag is another's: an entry without its tag would not be trusted.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let tagged = self.path(name, "tag");
        write_whole(&tagged, &tag)?;
        write_whole(&path, code).inspect_err(|_| {
            // Of no use without its code, where there is no room for that.
            let _removed = fs::remove_file(&tagged);
        })
    }

    /// The code of an entry, if it fits its tag.
    fn checked(&self, name: &str, file: &File) -> io::Result<Vec<u8>> {
        let tag = fs::read(self.path(name, "tag"))?;
        let mut code = Vec::new();
        io::Read::take(file, CODE_MAX).read_to_end(&mut code)?;
        if tag.len() < TAG_BYTES || code.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let fits = self.tag(name, &code).verify_slice(&tag);
        fits.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the tag does not fit"))?;
        Ok(code)
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

/// Whether a folder, which is no link, is closed to all but this user.
fn is_own(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|about| {
        let own = about.uid() == rustix::process::geteuid().as_raw();
        about.is_dir() && own && about.mode() & 0o077 == 0
    })
}

/// Maps compiled code through the descriptor that was checked, so that nobody can put another file
/// in its place.
fn map(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    native::map(engine, Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))
}

/// Writes a file beside its place, has it on the disk, and puts it there; on an error nothing is left.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let written = write_new(&new, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What is left of it helps nobody.
        let _removed = fs::remove_file(&new);
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!("new-{}", std::process::id()))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes every entry.
fn forget_entries(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "code" || kind == "tag") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
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
    let new = beside(path);
    // A link takes no place of another: where two hosts start, both use the key of the first.
    let placed = write_new(&new, &key).and_then(|()| fs::hard_link(&new, path));
    let _removed = fs::remove_file(&new);
    match placed {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_key(path),
        Err(error) => Err(error),
    }
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

    /// A folder for a cache, empty.
    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("krsi-cache-{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        path
    }

    fn files(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_torn_key_is_made_afresh_and_a_whole_one_stays() {
        let folder = folder("key");
        let first = Cache::open(&folder).unwrap();
        first.keep("a", b"code").unwrap();
        assert_eq!(Cache::open(&folder).unwrap().key, first.key);
        assert_eq!(files(&folder), ["a.code", "a.tag", "key"]);
        for torn in [&first.key[..0], &first.key[..KEY_BYTES - 1]] {
            fs::write(folder.join("key"), torn).unwrap();
            let fresh = Cache::open(&folder).unwrap();
            assert_ne!(fresh.key, first.key);
            // Nothing is left that would not fit it.
            assert_eq!(files(&folder), ["key"]);
            assert_eq!(fs::read(folder.join("key")).unwrap(), fresh.key);
            assert_eq!(fs::metadata(folder.join("key")).unwrap().mode() & 0o777, 0o600);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_enter_is_doubted() {
        let folder = folder("doubt");
        let doubt = |mode| {
            fs::create_dir_all(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            Cache::doubt(&folder).unwrap_or_default()
        };
        let [open, own] = [0o755, 0o700].map(doubt);
        fs::remove_dir_all(&folder).unwrap();
        assert!(open.contains("others than its owner may enter it"), "{open}");
        // The folder of tests may lie on a mount that is noexec; then that is the doubt.
        assert!(!own.contains("others"), "{own}");
    }

    #[test]
    fn a_link_leads_to_the_cache_and_a_file_is_none() {
        let folder = folder("linked");
        let (own, link, file) = (folder.join("own"), folder.join("link"), folder.join("file"));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        fs::write(&file, "").unwrap();
        Cache::open(&own).unwrap().keep("a", b"code").unwrap();
        let engine = Engine::new(64 << 10).unwrap();
        let found = Cache::open(&link).unwrap();
        // Found, but no code of any engine.
        assert!(matches!(found.find(&engine, "a"), CacheLookup::Nothing));
        assert_eq!(files(&own), ["key"]);
        let refused = Cache::open(&file).unwrap_err();
        assert!(matches!(refused, CacheError::NotDirectory { .. }), "{refused}");
        let doubt = Cache::doubt(&file).unwrap();
        assert!(doubt.contains("is not a directory"), "{doubt}");
        fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
        let refused = Cache::open(&link).unwrap_err();
        assert!(matches!(refused, CacheError::Open { .. }), "{refused}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_entry_that_is_torn_is_not_called_tampered() {
        type Tear = (&'static str, fn(&Path), bool);
        let (folder, engine) = (folder("torn"), Engine::new(64 << 10).unwrap());
        let cache = Cache::open(&folder).unwrap();
        let tear: [Tear; 5] = [
            ("a.code", |path| fs::write(path, b"").unwrap(), false),
            ("a.tag", |path| fs::write(path, [7; TAG_BYTES - 1]).unwrap(), false),
            ("a.tag", |path| fs::remove_file(path).unwrap(), false),
            ("a.code", |path| fs::write(path, b"cod").unwrap(), true),
            ("a.tag", |path| fs::write(path, [7; 32]).unwrap(), true),
        ];
        for (name, tear, is_tampered) in tear {
            cache.keep("a", b"code").unwrap();
            tear(&folder.join(name));
            let found = cache.find(&engine, "a");
            assert_eq!(matches!(found, CacheLookup::Tampered), is_tampered, "{name}");
            assert_eq!(matches!(found, CacheLookup::Torn), !is_tampered, "{name}");
            assert_eq!(files(&folder), ["key"], "{name} is found again");
        }
        // Well tagged, but no code of this engine.
        cache.keep("a", b"code").unwrap();
        assert!(matches!(cache.find(&engine, "a"), CacheLookup::Nothing));
        fs::remove_dir_all(&folder).unwrap();
    }
}
