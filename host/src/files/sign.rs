//! Watched folders: which files are complete, as the kernel's signs say, once nobody is writing to them any more.
//!
//! A rename is complete at once; a file that is written in place is complete when it is closed, or
//! has been quiet for a while. A burst of writes is one change.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::config::{Config, Source};
use crate::thread::{self, Task};

/// After the last sign of completion; a burst of renames is one change.
const SETTLE: Duration = Duration::from_millis(100);
/// After the last write to a file that stays open.
const QUIET: Duration = Duration::from_secs(2);

/// Signs that wait to be looked at; beyond, the watching thread waits.
const SIGNS_MAX: usize = 256;

/// The folders of all plugins.
pub(crate) struct FolderWatch {
    /// `None` where the kernel gives no signs.
    signs: Option<mpsc::Receiver<Sign>>,
    changes: FileChanges,
}

/// Files that changed, and when each is taken to be complete.
#[derive(Debug, Default)]
struct FileChanges(HashMap<PathBuf, Instant>);

impl FileChanges {
    /// Another sign of a change: a file is complete a while after its last.
    fn note(&mut self, (file, wait): Sign, now: Instant) {
        self.0.insert(file, now + wait);
    }

    /// Takes out the files that are complete.
    fn take(&mut self, now: Instant) -> HashSet<PathBuf> {
        self.0.extract_if(|_, at| *at <= now).map(|(file, _)| file).collect()
    }

    /// Returns when the next file counts as complete.
    fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }
}

/// A file, and how long it takes to be complete.
type Sign = (PathBuf, Duration);

impl FolderWatch {
    /// Watches what is there to be watched; and what is to be told of the rest, which is found without signs too,
    /// by the looks of [`super::PluginFiles`].
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub(crate) fn new(config: &Config) -> io::Result<(Self, Option<String>)> {
        let events = match inotify::init(CreateFlags::CLOEXEC) {
            Ok(events) => events,
            Err(errno) => {
                let deaf = Self { signs: None, changes: FileChanges::default() };
                return Ok((deaf, Some(without_signs(errno))));
            }
        };
        let configs = config.plugins.iter().filter_map(|spec| spec.config.as_ref());
        let files = config.plugins.iter().map(|spec| spec.file.as_path());
        let files = files.chain(configs.map(Source::path));
        let files = files.chain(config.shadows.iter().map(PathBuf::as_path));
        let parents = files.filter_map(Path::parent).map(Path::to_owned);
        let wanted: HashSet<PathBuf> = parents.chain(config.plugin_dirs.iter().cloned()).collect();
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        let mut folders: HashMap<i32, Vec<PathBuf>> = HashMap::new();
        let mut deaf = None;
        for folder in wanted {
            match inotify::add_watch(&events, &folder, flags) {
                // One folder has one number, by whatever path it is named.
                Ok(id) => folders.entry(id).or_default().push(folder),
                // One that is not there is told of by the looks.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => deaf = Some(without_signs(errno)),
            }
        }
        let (sender, signs) = mpsc::channel(SIGNS_MAX);
        // Where it returns, the looks find what its signs would have told.
        thread::spawn("watch", Task::Passing, move || read(&events, &folders, &sender))?;
        Ok((Self { signs: Some(signs), changes: FileChanges::default() }, deaf))
    }

    /// Waits until files are complete. May be dropped and called again.
    pub(crate) async fn complete(&mut self) -> HashSet<PathBuf> {
        loop {
            let complete = self.changes.take(Instant::now());
            if !complete.is_empty() {
                return complete;
            }
            tokio::select! {
                () = until(self.changes.next()) => {}
                sign = next(&mut self.signs) => self.changes.note(sign, Instant::now()),
            }
        }
    }
}

/// The next sign; never where there are none.
async fn next(signs: &mut Option<mpsc::Receiver<Sign>>) -> Sign {
    match signs {
        Some(signs) => match signs.recv().await {
            Some(sign) => sign,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Why the kernel would not tell a host of files that change; `None` when it would.
pub(crate) fn inotify_error() -> Option<String> {
    let events = inotify::init(CreateFlags::CLOEXEC);
    let watched = events.and_then(|events| inotify::add_watch(&events, "/", WatchFlags::MOVED_TO));
    watched.err().map(why)
}

fn why(errno: Errno) -> String {
    match errno {
        Errno::MFILE => "no inotify instance is left".to_owned(),
        Errno::NOSPC => "no inotify watch is left".to_owned(),
        errno => std::io::Error::from(errno).to_string(),
    }
}

/// What the operator is told where the kernel does not say what happens in folders.
fn without_signs(errno: Errno) -> String {
    let why = why(errno);
    format!(
        "the kernel does not tell of files that change ({why}): they are looked at every second, and a change is \
         taken up a few seconds later (fs.inotify.max_user_instances and max_user_watches are the limits)"
    )
}

/// The watching thread: it ends when nobody listens any more, or with the process.
fn read(events: &OwnedFd, folders: &HashMap<i32, Vec<PathBuf>>, signs: &mpsc::Sender<Sign>) {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut reader = inotify::Reader::new(events, &mut buffer);
    while let Ok(event) = reader.next() {
        let folders = folders.get(&event.wd()).into_iter().flatten();
        let Some(name) = event.file_name() else { continue };
        let name = OsStr::from_bytes(name.to_bytes());
        if !is_relevant(Path::new(name)) {
            continue;
        }
        let written = event.events() == ReadFlags::MODIFY;
        let wait = if written { QUIET } else { SETTLE };
        for folder in folders {
            if signs.blocking_send((folder.join(name), wait)).is_err() {
                return;
            }
        }
    }
}

/// Whether a name is that of a plugin, of a configuration or of a signature.
fn is_relevant(name: &Path) -> bool {
    name.extension().is_some_and(|is| is == "wasm" || is == "toml" || is == "minisig")
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_change_and_a_half_written_file_is_waited_for() {
        let (mut changes, start) = (FileChanges::default(), Instant::now());
        let [a, b] = ["a.wasm", "b.wasm"].map(PathBuf::from);
        let ms = |ms| start + Duration::from_millis(ms);
        // Closed, and closed again before it is complete.
        for at in [0, 60, 120] {
            changes.note((a.clone(), SETTLE), ms(at));
            assert!(changes.take(ms(at + 50)).is_empty());
        }
        // Written to and left open.
        changes.note((b.clone(), QUIET), ms(150));
        changes.note((b.clone(), QUIET), ms(1000));
        assert_eq!(changes.next(), Some(ms(220)));
        assert_eq!(changes.take(ms(220)), HashSet::from([a]));
        assert!(changes.take(ms(2999)).is_empty());
        assert_eq!(changes.take(ms(3000)), HashSet::from([b]));
        assert_eq!(changes.next(), None);
    }
}
