//! Cgroup id → path below the unified hierarchy's root.
//!
//! The id that the kernel reports is the inode number of the cgroup's directory and is not used
//! twice, so a name once found stays true. Nothing resolves an id directly without privileges over
//! file handles: a miss walks the hierarchy and learns every name there is.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::decode::text::escape;

/// Names that are remembered; beyond, all are learnt anew.
const NAMES_MAX: usize = 32_768;
/// Directories that one walk reads.
const WALK_MAX: usize = 16_384;
/// Depth of the hierarchy that is walked.
const DEPTH_MAX: usize = 32;
/// How long an unknown id stays unknown.
const MISS_NS: u64 = 1_000_000_000;
/// Least time between two walks, so that short-lived cgroups cannot keep the host walking.
const WALK: Duration = Duration::from_millis(20);
/// How many times as long as a walk takes the next one waits: a walk holds up the reader.
const WALK_SHARE: u32 = 50;

/// Names of cgroups, learnt when asked for.
#[derive(Debug)]
pub(crate) struct CgroupNames {
    root: PathBuf,
    names: HashMap<u64, String>,
    /// Unknown ids, and until when they are not looked for again.
    misses: HashMap<u64, u64>,
    /// When the next walk may begin; by the clock, as events may be late.
    next_walk: Option<Instant>,
}

impl CgroupNames {
    /// Names of the hierarchy that is mounted at `root`.
    #[must_use]
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, names: HashMap::new(), misses: HashMap::new(), next_walk: None }
    }

    /// Names of this system's unified hierarchy: where systemd mounts it, alone or beside version 1.
    #[must_use]
    pub(crate) fn system() -> Self {
        let beside = Path::new("/sys/fs/cgroup/unified");
        Self::new(if beside.is_dir() { beside.into() } else { "/sys/fs/cgroup".into() })
    }

    /// The id of a cgroup by its path below the root of this system's unified hierarchy.
    ///
    /// # Errors
    /// When there is no such cgroup.
    pub(crate) fn id_of(path: &Path) -> std::io::Result<u64> {
        let below = path.strip_prefix("/").unwrap_or(path);
        let metadata = fs::metadata(Self::system().root.join(below))?;
        Ok(std::os::unix::fs::MetadataExt::ino(&metadata))
    }

    /// The path of a cgroup, `/` for the root; empty when there is none (any more).
    pub(crate) fn name(&mut self, id: u64, now_boot_ns: u64) -> &str {
        if id == 0 {
            return "";
        }
        if !self.names.contains_key(&id) && self.may_look(id, now_boot_ns) {
            let began = Instant::now();
            self.walk();
            let wait = began.elapsed().saturating_mul(WALK_SHARE).max(WALK);
            self.next_walk = Instant::now().checked_add(wait);
            if !self.names.contains_key(&id) {
                self.misses.insert(id, now_boot_ns.saturating_add(MISS_NS));
            }
        }
        self.names.get(&id).map_or("", String::as_str)
    }

    fn may_look(&mut self, id: u64, now_boot_ns: u64) -> bool {
        if self.next_walk.is_some_and(|next| Instant::now() < next) {
            return false;
        }
        if self.misses.len() >= NAMES_MAX {
            self.misses.clear();
        }
        match self.misses.get(&id) {
            Some(until) if now_boot_ns < *until => false,
            Some(_) => self.misses.remove(&id).is_some(),
            None => true,
        }
    }

    fn walk(&mut self) {
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        if let Ok(metadata) = fs::metadata(&self.root) {
            self.names.insert(std::os::unix::fs::MetadataExt::ino(&metadata), "/".to_owned());
        }
        let mut budget = WALK_MAX;
        let mut rest = vec![(self.root.clone(), String::new(), 0)];
        while let Some((folder, name, depth)) = rest.pop() {
            // A cgroup can vanish while it is walked.
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let Some(left) = budget.checked_sub(1) else { return };
                budget = left;
                let part = entry.file_name();
                let name = format!("{name}/{}", escape(part.as_encoded_bytes()));
                self.names.insert(entry.ino(), name.clone());
                if depth + 1 < DEPTH_MAX {
                    rest.push((entry.path(), name, depth + 1));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_miss_is_looked_for_again_after_a_second() {
        let root = std::env::temp_dir().join(format!("cgroup-names-{}", std::process::id()));
        let (slice, late) = (root.join("system.slice/a.service"), root.join("late"));
        fs::create_dir_all(&slice).unwrap();
        let ino = |path: &Path| fs::metadata(path).unwrap().ino();
        let mut names = CgroupNames::new(root.clone());
        assert_eq!(names.name(ino(&slice), 1), "/system.slice/a.service");
        assert_eq!(names.name(ino(&root), 1), "/");
        assert_eq!(names.name(0, 1), "");
        fs::create_dir(&late).unwrap();
        let id = ino(&late);
        let soon = |names: &CgroupNames| names.next_walk.unwrap() > Instant::now();
        names.next_walk = Instant::now().checked_add(Duration::from_secs(60));
        assert_eq!(names.name(id, 2), "", "two walks need time between them");
        fs::remove_dir(&late).unwrap();
        names.next_walk = None;
        assert_eq!(names.name(id, 3), "");
        assert!(soon(&names), "the next one waits");
        names.next_walk = None;
        fs::create_dir(&late).unwrap();
        let again = ino(&late);
        if again == id {
            assert_eq!(names.name(id, 4), "", "known to be unknown");
        }
        names.next_walk = None;
        assert_eq!(names.name(again, MISS_NS + 4), "/late");
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(names.name(ino(Path::new("/")), 3 * MISS_NS), "", "a root that is gone");
    }
}
