//! (tgid, start) → process: what is known of every process, and which descends from which.
//!
//! Events fill it: a fork inherits, an exec replaces, an exit marks; the ended stay for a grace, so
//! that late events still find them. Processes that run already are [added](ProcessTable::add) once the
//! host follows forks. A record that is lost leaves a ghost or a stranger behind: from time to time the
//! table is [compared](ProcessTable::compare) with the processes that run.
//!
//! Where there is no room, the ended make it first, the longest ended before others; then the youngest:
//! what runs for long is forgotten last.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet, VecDeque};

use krsi_plugin_schema::latest::{Argv, Exec, Meta, Process, ProcessKey};

use self::recent::{Recent, Sighting};
use super::change::ProcessChange;
use super::descent::Descent;
use super::identity::whose;

pub(crate) use self::census::{Missed, TableCounts};

/// Processes that are remembered.
pub(crate) const PROCESSES_MAX: usize = 65_536;
/// Ended processes among them.
const EXITED_MAX: usize = 16_384;
/// How long an ended process is remembered.
const GRACE_NS: u64 = 10_000_000_000;

/// What an event told about processes; policy follows it. Empty, and free, for most events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Processes that came to be known.
    pub joined: Vec<Joined>,
    /// The process that ended.
    pub exited: Option<ProcessKey>,
}

/// A process that came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    pub parent: ProcessKey,
    /// The process that came to be known.
    pub child: ProcessKey,
}

#[derive(Debug)]
struct Row {
    process: Process<'static>,
    /// Cgroup that `process.cgroup` names; 0 when it is to be asked for.
    cgroup_id: u64,
    life: ProcessState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessState {
    Running,
    Exited,
}

/// The table of processes: running ones, and for a time those that ended.
#[derive(Debug)]
pub struct ProcessTable {
    rows: BTreeMap<ProcessKey, Row>,
    descent: Descent,
    /// Callers of whom `rows` has nothing to learn.
    recent: Recent,
    /// Ended processes and when they ended, oldest first.
    exited: VecDeque<(u64, ProcessKey)>,
    capacity: usize,
    /// What the last comparison found wrong: it is believed when the next one finds it again.
    suspects: HashSet<ProcessKey>,
    counts: TableCounts,
    /// Number of the machine's mount namespace.
    mounts: Option<u64>,
}

impl Default for ProcessTable {
    fn default() -> Self {
        Self::with_capacity(PROCESSES_MAX)
    }
}

impl ProcessTable {
    /// A table of at most `capacity` processes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            rows: BTreeMap::new(),
            descent: Descent::default(),
            recent: Recent::default(),
            exited: VecDeque::new(),
            capacity: capacity.max(1),
            suspects: HashSet::new(),
            counts: TableCounts::default(),
            mounts: None,
        }
    }

    /// The same, with the number of the machine's mount namespace.
    pub(crate) fn with_mounts(self, mounts: Option<u64>) -> Self {
        Self { mounts, ..self }
    }

    /// Adds processes that run, as long as there is room; what is known of one already stays. Returns those that
    /// are new and have a parent.
    pub fn add(&mut self, found: Vec<Process<'static>>) -> Vec<Joined> {
        let mut joined = Vec::new();
        for process in found {
            if self.rows.contains_key(&process.key) {
                continue;
            }
            if self.rows.len() >= self.capacity {
                self.counts.outside += 1;
                continue;
            }
            if process.parent.tgid != 0 {
                joined.push(Joined { parent: process.parent, child: process.key });
            }
            self.insert(process, 0);
        }
        joined
    }

    /// Learns from an event: who called, and what became of a process. `parent` is the caller's real
    /// parent; `cgroup` names a cgroup id and is asked only when a process is new or has moved.
    pub fn observe(
        &mut self,
        meta: &Meta<'_>,
        parent: ProcessKey,
        change: Option<ProcessChange<'_>>,
        cgroup: &mut dyn FnMut(u64) -> String,
    ) -> Observation {
        let mut seen = Observation::default();
        self.forget_exited(meta.boot_ns);
        if meta.process.tgid == 0 {
            return seen;
        }
        let sighting = Sighting::new(meta, parent);
        if !self.recent.holds(&sighting, meta.boot_ns) {
            let named = self.caller(meta, parent, cgroup, &mut seen);
            self.recent.keep(sighting, meta.boot_ns, named);
        }
        match change {
            Some(ProcessChange::Forked { parent, child }) => {
                self.fork(parent, child);
                seen.joined.push(Joined { parent, child });
            }
            Some(ProcessChange::Executed { process, exec }) => self.exec(process, exec),
            Some(ProcessChange::Exited { process }) => {
                self.exit(process, meta.boot_ns);
                seen.exited = Some(process);
            }
            None => {}
        }
        seen
    }

    /// What is known of a process, ended ones within their grace included.
    #[must_use]
    pub fn get(&self, key: ProcessKey) -> Option<&Process<'static>> {
        self.rows.get(&key).map(|row| &row.process)
    }

    /// Whether a process is known and has not ended.
    #[must_use]
    pub fn is_running(&self, key: ProcessKey) -> bool {
        self.rows.get(&key).is_some_and(|row| row.life == ProcessState::Running)
    }

    /// Running processes that were forked by `key` or by one of its descendants, nearest first.
    #[must_use]
    pub fn descendants(&self, key: ProcessKey) -> Vec<ProcessKey> {
        let mut all = self.descent.descendants(key);
        all.retain(|key| self.is_running(*key));
        all
    }

    /// Known processes that a process descends from, nearest first.
    #[must_use]
    pub fn ancestors(&self, key: ProcessKey) -> Vec<ProcessKey> {
        self.descent.ancestors(key)
    }

    /// Every process that is remembered, ended ones within their grace included, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Process<'static>> {
        self.rows.values().map(|row| &row.process)
    }

    /// Every process that is known and has not ended, oldest first.
    pub fn running(&self) -> impl Iterator<Item = &Process<'static>> {
        let rows = self.rows.values().filter(|row| row.life == ProcessState::Running);
        rows.map(|row| &row.process)
    }

    /// Processes that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no process is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether the name of its cgroup is known, or none is wanted.
    fn caller(
        &mut self,
        meta: &Meta<'_>,
        parent: ProcessKey,
        cgroup: &mut dyn FnMut(u64) -> String,
        seen: &mut Observation,
    ) -> bool {
        if !self.rows.contains_key(&meta.process) {
            self.insert(from_meta(meta, parent), 0);
            if parent.tgid != 0 {
                seen.joined.push(Joined { parent, child: meta.process });
            }
        }
        let Some(row) = self.rows.get_mut(&meta.process) else { return false };
        row.process.uid = meta.uid;
        row.process.gid = meta.gid;
        let mounts = Some(u64::from(meta.mount_ns)).filter(|number| *number != 0);
        row.process.mounts = whose(self.mounts, mounts);
        if row.cgroup_id != meta.cgroup_id && row.life == ProcessState::Running {
            let name = cgroup(meta.cgroup_id);
            if !name.is_empty() {
                row.process.cgroup = Cow::Owned(name);
                row.cgroup_id = meta.cgroup_id;
            }
        }
        row.cgroup_id == meta.cgroup_id || row.life == ProcessState::Exited
    }

    fn fork(&mut self, parent: ProcessKey, child: ProcessKey) {
        let Some(from) = self.rows.get(&parent) else { return };
        let inherited = Process { key: child, parent, ..from.process.clone() };
        let cgroup_id = from.cgroup_id;
        match self.rows.get_mut(&child) {
            None => self.insert(inherited, cgroup_id),
            // A record of the child overtook that of the fork, or it was added.
            Some(row) => {
                row.process.parent = parent;
                if row.process.exe.is_empty() {
                    let known = row.process.clone();
                    row.process = Process {
                        uid: known.uid,
                        gid: known.gid,
                        cgroup: known.cgroup,
                        ..inherited
                    };
                }
                self.descent.link(child, parent);
            }
        }
    }

    fn exec(&mut self, key: ProcessKey, exec: &Exec<'_>) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        row.process.exe = Cow::Owned(exec.path.clone().into_owned());
        row.process.argv = exec.argv.clone().into_owned();
        row.process.file = exec.file;
    }

    fn exit(&mut self, key: ProcessKey, boot_ns: u64) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        if row.life == ProcessState::Running {
            row.life = ProcessState::Exited;
            self.exited.push_back((boot_ns, key));
        }
    }

    fn insert(&mut self, process: Process<'static>, cgroup_id: u64) {
        while self.rows.len() >= self.capacity {
            self.make_room();
        }
        self.descent.link(process.key, process.parent);
        self.rows.insert(process.key, Row { process, cgroup_id, life: ProcessState::Running });
    }

    fn make_room(&mut self) {
        let ended = self.exited.pop_front().map(|(_, key)| key);
        let Some(key) = ended.or_else(|| self.rows.keys().next_back().copied()) else { return };
        if self.is_running(key) {
            self.counts.outside += 1;
        }
        self.remove(key);
        self.counts.dropped += 1;
    }

    fn forget_exited(&mut self, now_boot_ns: u64) {
        while let Some((at, key)) = self.exited.front().copied() {
            if at.saturating_add(GRACE_NS) > now_boot_ns {
                if self.exited.len() <= EXITED_MAX {
                    break;
                }
                self.counts.dropped += 1;
            }
            self.exited.pop_front();
            self.remove(key);
        }
    }

    fn remove(&mut self, key: ProcessKey) {
        self.recent.forget(key);
        self.rows.remove(&key);
        self.descent.remove(key);
    }
}

/// A process that was never seen to be forked: the thread's name stands in for its arguments.
fn from_meta(meta: &Meta<'_>, parent: ProcessKey) -> Process<'static> {
    let mut joined = meta.comm.clone().into_owned();
    joined.push('\0');
    Process {
        key: meta.process,
        parent,
        argv: Argv { joined: Cow::Owned(joined), argc: 0, truncated: true },
        uid: meta.uid,
        gid: meta.gid,
        ..Process::default()
    }
}

mod census;
mod recent;
#[cfg(test)]
mod tests;
