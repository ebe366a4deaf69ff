//! `/proc` → what processes are of which no event has told.
//!
//! Fields are those of proc(5). Processes come and go while it is read: what vanishes is left out.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use krsi_plugin_schema::latest::{Argv, FileKey, Process, ProcessKey};

use super::identity::MachineRoot;
use crate::decode::text::escape;

/// Nanoseconds of a clock tick: `USER_HZ` is 100 on every architecture that has BPF LSM.
pub(super) const TICK_NS: u64 = 10_000_000;
/// Bytes of a command line that are kept, as many as the kernel half captures.
const CMDLINE_MAX: usize = 4096;
/// Bytes of any other file that are read.
const FILE_MAX: usize = 8192;
/// Position of `ppid` after the name in `stat`.
const PPID: usize = 1;
/// Position of `starttime` after the name in `stat`.
const STARTTIME: usize = 19;

/// Why `/proc` could not be read at all.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be listed", root.display())]
pub(crate) struct ScanError {
    /// Folder of the process file system.
    root: std::path::PathBuf,
    #[source]
    source: std::io::Error,
}

/// Every process that `root` shows, without its parent. Keys are rounded down to a clock tick.
///
/// # Errors
/// When the folder cannot be listed; single processes that vanish are no error.
pub(crate) fn scan(root: &Path) -> Result<Vec<Process<'static>>, ScanError> {
    let entries =
        fs::read_dir(root).map_err(|source| ScanError { root: root.to_owned(), source })?;
    let tgids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(tgids.filter_map(|tgid| process(root, tgid)).map(|(process, _)| process).collect())
}

/// Those of the processes that run, by their exact keys, that `root` shows; the oldest first.
#[must_use]
pub(crate) fn describe(
    root: &Path,
    wanted: &[ProcessKey],
    running: &HashSet<ProcessKey>,
) -> Vec<Process<'static>> {
    let machine = MachineRoot::read(root);
    let by_tgid: HashMap<u32, ProcessKey> = running.iter().map(|key| (key.tgid, *key)).collect();
    let described = wanted.iter().filter_map(|key| {
        let (mut process, ppid) = process(root, key.tgid)?;
        // Another process may have its number by now.
        if process.key.start_boot_ns != key.start_boot_ns / TICK_NS * TICK_NS {
            return None;
        }
        process.key = *key;
        // The root folder is told only where it was read just then: nobody hears of a change.
        (_, process.mounts) = machine.of(&root.join(key.tgid.to_string()));
        process.parent = by_tgid.get(&ppid).copied().unwrap_or_default();
        Some(process)
    });
    let mut found: Vec<Process<'static>> = described.collect();
    found.sort_unstable_by_key(|process| process.key);
    found
}

/// Parent and start of a process; `None` for one that is gone.
#[must_use]
pub(crate) fn stat_of(root: &Path, tgid: u32) -> Option<Stat> {
    stat(&read(&root.join(tgid.to_string()).join("stat"), FILE_MAX)?)
}

/// Whether a process runs a file, as far as `stat(2)` tells: on btrfs and overlayfs it does not.
#[must_use]
pub(crate) fn runs(tgid: u32, file: &FileKey) -> bool {
    let Ok(exe) = fs::metadata(format!("/proc/{tgid}/exe")) else { return false };
    let (major, minor) = (rustix::fs::major(exe.dev()), rustix::fs::minor(exe.dev()));
    exe.ino() == file.ino && major << 20 | minor == file.dev
}

fn process(root: &Path, tgid: u32) -> Option<(Process<'static>, u32)> {
    let folder = root.join(tgid.to_string());
    let stat = stat_of(root, tgid)?;
    let status = read(&folder.join("status"), FILE_MAX)?;
    let exe = fs::read_link(folder.join("exe")).unwrap_or_default();
    let process = Process {
        key: ProcessKey { start_boot_ns: stat.start_ticks.saturating_mul(TICK_NS), tgid },
        parent: ProcessKey::default(),
        exe: owned(escape(exe.as_os_str().as_bytes())),
        argv: argv(read(&folder.join("cmdline"), CMDLINE_MAX + 1).unwrap_or_default(), CMDLINE_MAX),
        // stat(2) of a file on btrfs or overlayfs does not tell the kernel's s_dev.
        file: FileKey::default(),
        uid: id(&status, b"Uid:"),
        gid: id(&status, b"Gid:"),
        cgroup: owned(cgroup(&read(&folder.join("cgroup"), FILE_MAX).unwrap_or_default())),
        ..Process::default()
    };
    Some((process, stat.ppid))
}

/// What `stat` tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Process id of the parent.
    pub ppid: u32,
    /// Start time of the process, in clock ticks since the boot.
    pub start_ticks: u64,
}

/// A name may hold spaces and parentheses: fields are counted from the last one that closes.
fn stat(bytes: &[u8]) -> Option<Stat> {
    let end = bytes.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
    let field = |at| text.split_ascii_whitespace().nth(at);
    Some(Stat { ppid: field(PPID)?.parse().ok()?, start_ticks: field(STARTTIME)?.parse().ok()? })
}

/// Arguments of so many bytes at most.
pub(super) fn argv(mut bytes: Vec<u8>, most: usize) -> Argv<'static> {
    let truncated = bytes.len() > most;
    bytes.truncate(most);
    if bytes.last().is_some_and(|byte| *byte != 0) {
        bytes.push(0);
    }
    let argc = bytes.iter().filter(|byte| **byte == 0).count();
    Argv { joined: owned(escape(&bytes)), argc: u32::try_from(argc).unwrap_or(u32::MAX), truncated }
}

/// The real id, first of the line's four.
fn id(status: &[u8], name: &[u8]) -> u32 {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name));
    let text = line.and_then(|line| std::str::from_utf8(line).ok());
    text.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The line of the unified hierarchy: `0::/path`.
fn cgroup(bytes: &[u8]) -> Cow<'_, str> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(b"0::")).map_or(Cow::Borrowed(""), escape)
}

/// The first bytes of a file.
pub(super) fn read(path: &Path, max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(max as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_moves_no_field() {
        let line = b"7 (a) R 1 (x) S 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let stat = stat(line).unwrap();
        assert_eq!((stat.ppid, stat.start_ticks), (3, 4711));
        assert!(super::stat(b"7 (a").is_none());
    }

    #[test]
    fn a_hostile_command_line_is_escaped_and_bounded() {
        let args = argv(b"sh\0-c\0\xff".to_vec(), CMDLINE_MAX);
        assert_eq!(args.iter().collect::<Vec<_>>(), ["sh", "-c", "\\xff"]);
        assert_eq!((args.argc, args.truncated), (3, false));
        assert!(argv(vec![b'a'; CMDLINE_MAX + 1], CMDLINE_MAX).truncated);
        assert_eq!(argv(Vec::new(), CMDLINE_MAX).argc, 0);
    }

    #[test]
    fn this_process_is_found_with_its_parent() {
        let root = Path::new("/proc");
        let all = scan(root).unwrap();
        let own = all.iter().find(|process| process.key.tgid == std::process::id()).unwrap();
        assert!(!own.exe.is_empty() && own.argv.argc > 0);
        assert!(scan(Path::new("/nonexistent")).is_err());
        // A start is anywhere within its tick.
        let exact = |key: ProcessKey| ProcessKey { start_boot_ns: key.start_boot_ns + 77, ..key };
        let running: HashSet<ProcessKey> = all.iter().map(|process| exact(process.key)).collect();
        let key = exact(own.key);
        let later = ProcessKey { start_boot_ns: key.start_boot_ns + TICK_NS, ..key };
        let found = describe(root, &[later, key], &running);
        assert_eq!(found.iter().map(|process| process.key).collect::<Vec<_>>(), [key]);
        let parent = found[0].parent;
        assert!(parent.tgid == 0 || running.contains(&parent));
    }
}
