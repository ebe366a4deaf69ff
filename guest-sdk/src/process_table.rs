//! Processes as the stream described them, bounded.

use std::collections::{BTreeSet, HashMap};

use krsi_plugin_schema::latest::{Process, ProcessKey};

/// Processes that are remembered; beyond, the one that started first is forgotten.
const PROCESSES_MAX: usize = 32_768;
/// Ancestors that are followed.
const ANCESTORS_MAX: usize = 64;

/// Descriptions by process.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable {
    processes: HashMap<ProcessKey, Process<'static>>,
    by_start: BTreeSet<ProcessKey>,
}

impl ProcessTable {
    pub(crate) fn get(&self, key: ProcessKey) -> Option<&Process<'static>> {
        self.processes.get(&key)
    }

    /// Parent first. Ends at an unknown parent and cannot run in circles: each parent started
    /// before its child, and what did not is not followed.
    pub(crate) fn ancestors(&self, key: ProcessKey) -> impl Iterator<Item = &Process<'static>> {
        let parent = |process: &Process<'_>| {
            let older = process.parent.start_boot_ns <= process.key.start_boot_ns;
            self.processes.get(&process.parent).filter(|_| older && process.parent != process.key)
        };
        std::iter::successors(self.processes.get(&key).and_then(parent), move |next| parent(next))
            .take(ANCESTORS_MAX)
    }

    pub(crate) fn insert(&mut self, process: Process<'static>) {
        let key = process.key;
        if self.processes.insert(key, process).is_none() {
            self.by_start.insert(key);
        }
        if self.processes.len() > PROCESSES_MAX
            && let Some(oldest) = self.by_start.pop_first()
        {
            self.processes.remove(&oldest);
        }
    }

    pub(crate) fn remove(&mut self, key: ProcessKey) {
        self.processes.remove(&key);
        self.by_start.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tgid: u32) -> ProcessKey {
        ProcessKey { start_boot_ns: u64::from(tgid), tgid }
    }

    fn process(tgid: u32, parent: u32) -> Process<'static> {
        Process { key: key(tgid), parent: key(parent), ..Process::default() }
    }

    #[test]
    fn ancestors_end_at_the_unknown_and_never_circle() {
        let mut table = ProcessTable::default();
        table.insert(process(3, 2));
        table.insert(process(2, 1));
        let ancestors = |table: &ProcessTable| {
            table.ancestors(key(3)).map(|process| process.key.tgid).collect::<Vec<_>>()
        };
        assert_eq!(ancestors(&table), [2]);
        table.insert(process(1, 3));
        assert_eq!(ancestors(&table), [2, 1]);
        table.insert(process(2, 2));
        assert_eq!(ancestors(&table), [2]);
        table.remove(key(2));
        assert_eq!(ancestors(&table), [0; 0]);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut table = ProcessTable::default();
        for tgid in 1..=PROCESSES_MAX as u32 + 5 {
            table.insert(process(tgid, 0));
        }
        assert_eq!(table.processes.len(), PROCESSES_MAX);
        assert!(table.get(key(5)).is_none());
        assert!(table.get(key(6)).is_some());
    }
}
