//! Watched folders: which files may have changed, once nobody is writing to them any more.
//!
//! A rename is complete at once; a file that is written in place is complete when it is closed, or
//! has been quiet for a while. A burst of writes is one change.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::RunError;
use crate::config::Config;

/// After the last sign of completion; a burst of renames is one change.
const SETTLE: Duration = Duration::from_millis(100);
/// After the last write to a file that stays open.
const QUIET: Duration = Duration::from_secs(2);

/// Signs that wait to be looked at; beyond, the watching thread waits.
const SIGNS_MAX: usize = 256;

/// The folders of all plugins.
pub(super) struct Watch {
    signs: mpsc::Receiver<Sign>,
    changes: Changes,
}

/// Files that changed, and when each is taken to be complete.
#[derive(Debug, Default)]
struct Changes(HashMap<PathBuf, Instant>);

impl Changes {
    /// Another sign of a change: a file is complete a while after its last.
    fn note(&mut self, (file, wait): Sign, now: Instant) {
        self.0.insert(file, now + wait);
    }

    /// Takes out the files that are complete.
    fn take(&mut self, now: Instant) -> HashSet<PathBuf> {
        self.0.extract_if(|_, at| *at <= now).map(|(file, _)| file).collect()
    }

    /// When the next one is.
    fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }
}

/// A file, and how long it takes to be complete.
type Sign = (PathBuf, Duration);

impl Watch {
    pub(super) fn new(config: &Config) -> Result<Self, RunError> {
        let failed = |errno: rustix::io::Errno| RunError::Runtime(errno.into());
        let events = inotify::init(CreateFlags::CLOEXEC).map_err(failed)?;
        let files =
            config.plugins.iter().flat_map(|spec| std::iter::once(&spec.file).chain(&spec.config));
        let files = files.chain(&config.shadows);
        let parents = files.map(|file| match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        });
        let wanted: HashSet<PathBuf> = parents.chain(config.plugin_dirs.iter().cloned()).collect();
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        let mut folders = HashMap::new();
        for folder in wanted {
            match inotify::add_watch(&events, &folder, flags) {
                Ok(id) => {
                    folders.insert(id, folder);
                }
                Err(error) => {
                    let folder = folder.display();
                    tracing::warn!(%folder, %error, "changes there go unnoticed; reload by SIGHUP");
                }
            }
        }
        let (sender, signs) = mpsc::channel(SIGNS_MAX);
        std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || read(&events, &folders, &sender))
            .map_err(RunError::Thread)?;
        Ok(Self { signs, changes: Changes::default() })
    }

    /// Waits until files have changed and are complete. May be dropped and called again.
    pub(super) async fn changed(&mut self) -> HashSet<PathBuf> {
        loop {
            let complete = self.changes.take(Instant::now());
            if !complete.is_empty() {
                return complete;
            }
            tokio::select! {
                () = until(self.changes.next()) => {}
                sign = self.signs.recv() => match sign {
                    Some(sign) => self.changes.note(sign, Instant::now()),
                    None => std::future::pending().await,
                },
            }
        }
    }
}

/// The watching thread: it ends when nobody listens any more, or with the process.
fn read(events: &OwnedFd, folders: &HashMap<i32, PathBuf>, signs: &mpsc::Sender<Sign>) {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut reader = inotify::Reader::new(events, &mut buffer);
    while let Ok(event) = reader.next() {
        let Some(folder) = folders.get(&event.wd()) else { continue };
        let Some(name) = event.file_name() else { continue };
        let name = OsStr::from_bytes(name.to_bytes());
        let here = folder.as_os_str() == ".";
        let file = if here { PathBuf::from(name) } else { folder.join(name) };
        let relevant = file.extension().is_some_and(|is| is == "wasm" || is == "toml");
        let written = event.events() == ReadFlags::MODIFY;
        let wait = if written { QUIET } else { SETTLE };
        if relevant && signs.blocking_send((file, wait)).is_err() {
            return;
        }
    }
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
        let (mut changes, start) = (Changes::default(), Instant::now());
        let [a, b] = ["a.wasm", "b.wasm"].map(PathBuf::from);
        let ms = |ms| start + Duration::from_millis(ms);
        // Closed, and closed again before it has settled.
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
