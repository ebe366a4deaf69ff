//! What lies at the places of plugins: which of them hold something else than was dealt with, and are complete.
//!
//! Signs of the kernel say at once that a file was closed or renamed. What they do not say is found by looking
//! every second: the target of a link that lies elsewhere, a link that was swapped on the way, a folder that was
//! replaced or mounted over, or everything where there are no signs.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::plugin::signature_of;

/// What was not said to be complete is so when nothing of it has changed for this long. A file that is gone may
/// be replaced within it.
const QUIET: Duration = Duration::from_secs(2);

/// What a path leads to, links followed: with another content it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|meta| Self::from(&meta))
    }
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.size(),
            modified_ns: (meta.mtime(), meta.mtime_nsec()),
            changed_ns: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A plugin's file and what belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamps {
    file: Option<Stamp>,
    signature: Option<Stamp>,
    config: Option<Stamp>,
}

/// Paths of a plugin's file and configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PluginPlace {
    pub(crate) file: PathBuf,
    /// Path of the configuration, whether there is a file or not.
    pub(crate) config: PathBuf,
}

impl PluginPlace {
    /// A file with the configuration that lies or may come to lie beside it.
    pub(crate) fn beside(file: PathBuf) -> Self {
        Self { config: file.with_extension("toml"), file }
    }

    fn stamps(&self) -> Stamps {
        Stamps {
            file: Stamp::of(&self.file),
            signature: Stamp::of(&signature_of(&self.file)),
            config: Stamp::of(&self.config),
        }
    }
}

/// A plugin's file that has to be loaded, reloaded or unloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueFile {
    pub(crate) file: PathBuf,
    /// Whether there is none any more.
    pub(crate) is_gone: bool,
    /// Whether its configuration is another.
    pub(crate) is_configured_anew: bool,
}

/// What was seen last at a plugin's place.
#[derive(Clone, Copy, Debug)]
struct KnownFile {
    /// The files as they were when they were last dealt with.
    dealt: Stamps,
    /// The files as they were last seen.
    seen: Stamps,
    /// Since when that is there.
    since: Instant,
}

/// The places of all plugins.
#[derive(Debug, Default)]
pub(crate) struct PluginFiles {
    known: HashMap<PathBuf, KnownFile>,
    folders: HashMap<PathBuf, Listed>,
}

/// The plugins that a directory held when it was last listed.
#[derive(Debug)]
struct Listed {
    stamp: Option<Stamp>,
    /// Since when the folder itself is as it is.
    since: Instant,
    files: Vec<PathBuf>,
    /// Why it could not be read, until that was told.
    unread: Option<String>,
    is_read: bool,
}

impl PluginFiles {
    /// Takes what lies at places now as dealt with: it is about to be.
    pub(crate) fn take(&mut self, places: &[PluginPlace], now: Instant) {
        for place in places {
            let seen = place.stamps();
            self.known.insert(place.file.clone(), KnownFile { dealt: seen, seen, since: now });
        }
    }

    /// Looks at places; those that `told` says are complete, or that are calm, are found once. Others than these
    /// places are forgotten.
    pub(crate) fn look(
        &mut self,
        places: &[PluginPlace],
        told: &HashSet<PathBuf>,
        now: Instant,
    ) -> Vec<DueFile> {
        let kept: HashSet<&PathBuf> = places.iter().map(|place| &place.file).collect();
        self.known.retain(|file, _| kept.contains(file));
        places.iter().filter_map(|place| self.look_at(place, told, now)).collect()
    }

    fn look_at(
        &mut self,
        place: &PluginPlace,
        told: &HashSet<PathBuf>,
        now: Instant,
    ) -> Option<DueFile> {
        let seen = place.stamps();
        let nothing = KnownFile { dealt: Stamps::default(), seen: Stamps::default(), since: now };
        let known = self.known.entry(place.file.clone()).or_insert(nothing);
        if known.seen != seen {
            (known.seen, known.since) = (seen, now);
        }
        if known.seen == known.dealt {
            return None;
        }
        let is_gone = seen.file.is_none();
        if is_gone && !place.file.parent().is_some_and(Path::is_dir) {
            // Its folder is gone, unmounted or about to be replaced: that says nothing about the file.
            known.since = now;
            return None;
        }
        // A file that is gone may be about to come back: that it is gone is never taken from a sign.
        let is_told = !is_gone
            && [&place.file, &place.config, &signature_of(&place.file)]
                .iter()
                .any(|path| told.contains(*path));
        if !is_told && now.duration_since(known.since) < QUIET {
            return None;
        }
        let before = std::mem::replace(&mut known.dealt, seen);
        let is_configured_anew = before.config != seen.config && before.file.is_some();
        Some(DueFile { file: place.file.clone(), is_gone, is_configured_anew })
    }

    /// Files of plugins in folders, each once whatever its folder is called, without those that `others` have.
    /// A folder is only read when it has changed, or may have.
    pub(crate) fn in_folders(
        &mut self,
        folders: &[PathBuf],
        others: &[PathBuf],
        now: Instant,
    ) -> Vec<PathBuf> {
        let list = |folder: &PathBuf| self.list(folder, now);
        without_twins(folders.iter().flat_map(list).collect(), others)
    }

    fn list(&mut self, folder: &Path, now: Instant) -> Vec<PathBuf> {
        let stamp = Stamp::of(folder);
        // The clock of a file system is coarse: soon after a change there may have been another at the same time.
        let is_same =
            |listed: &&Listed| listed.stamp == stamp && now.duration_since(listed.since) > QUIET;
        if let Some(listed) = self.folders.get(folder).filter(is_same) {
            return listed.files.clone();
        }
        let (files, unread) = match in_folder(folder) {
            Ok(files) => (files, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let before = self.folders.get(folder);
        let since =
            before.filter(|listed| listed.stamp == stamp).map_or(now, |listed| listed.since);
        // Told once, and again after it could be read.
        let is_read = unread.is_none();
        let unread = unread.filter(|_| before.is_none_or(|listed| listed.is_read));
        let listed = Listed { stamp, since, files: files.clone(), unread, is_read };
        self.folders.insert(folder.to_owned(), listed);
        files
    }

    /// Folders that cannot be read, each told once, with the reason.
    pub(crate) fn unread(&mut self) -> Vec<(PathBuf, String)> {
        let told = |(folder, listed): (&PathBuf, &mut Listed)| {
            listed.unread.take().map(|why| (folder.clone(), why))
        };
        self.folders.iter_mut().filter_map(told).collect()
    }
}

/// Paths of the plugins in a folder, in order.
pub(crate) fn in_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
    Ok(files)
}

/// The files whose place is that of no file before them, nor of one of `others`.
pub(crate) fn without_twins(files: Vec<PathBuf>, others: &[PathBuf]) -> Vec<PathBuf> {
    let mut places: HashSet<Spot> = others.iter().map(|file| spot(file)).collect();
    files.into_iter().filter(|file| places.insert(spot(file))).collect()
}

/// A name in a folder, whatever the folder is called.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Spot {
    /// Device and inode of the folder, and the name.
    In(u64, u64, OsString),
    /// The folder is not there.
    Nowhere(PathBuf),
}

fn spot(file: &Path) -> Spot {
    let folder = file.parent().and_then(|folder| fs::metadata(folder).ok());
    match (folder, file.file_name()) {
        (Some(folder), Some(name)) => Spot::In(folder.dev(), folder.ino(), name.to_owned()),
        _ => Spot::Nowhere(file.to_owned()),
    }
}

/// Whether two paths name one folder.
pub(crate) fn is_same_folder(one: &Path, other: &Path) -> bool {
    let id = |folder: &Path| fs::metadata(folder).ok().map(|meta| (meta.dev(), meta.ino()));
    one == other || id(one).is_some_and(|one| id(other) == Some(one))
}
