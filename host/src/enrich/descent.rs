//! Parents and children of processes, across reparenting and the end of those in between.

use std::collections::{BTreeSet, HashMap};

use krsi_plugin_schema::latest::ProcessKey;

/// Least key, to start a range with.
const LEAST: ProcessKey = ProcessKey { start_boot_ns: 0, tgid: 0 };
/// Greatest key, to end a range with.
const GREATEST: ProcessKey = ProcessKey { start_boot_ns: u64::MAX, tgid: u32::MAX };
/// Ancestors that are followed; a longer chain is cut.
const ANCESTORS_MAX: usize = 1024;

/// Links between processes. A process that is removed leaves its children to its own parent.
#[derive(Debug, Default)]
pub(super) struct Descent {
    parents: HashMap<ProcessKey, ProcessKey>,
    /// `(parent, child)`.
    edges: BTreeSet<(ProcessKey, ProcessKey)>,
}

impl Descent {
    /// Makes `child` a child of `parent`, whatever it was before. Nobody is parent of itself.
    pub(super) fn link(&mut self, child: ProcessKey, parent: ProcessKey) {
        if child == parent || parent.tgid == 0 {
            return;
        }
        if let Some(before) = self.parents.insert(child, parent) {
            self.edges.remove(&(before, child));
        }
        self.edges.insert((parent, child));
    }

    /// Forgets a process.
    pub(super) fn remove(&mut self, gone: ProcessKey) {
        let parent = self.parents.remove(&gone);
        if let Some(parent) = parent {
            self.edges.remove(&(parent, gone));
        }
        let orphans: Vec<_> = self.children(gone).collect();
        for orphan in orphans {
            self.edges.remove(&(gone, orphan));
            self.parents.remove(&orphan);
            if let Some(parent) = parent {
                self.link(orphan, parent);
            }
        }
    }

    /// The nearest ancestor that is still known.
    pub(super) fn parent(&self, child: ProcessKey) -> Option<ProcessKey> {
        self.parents.get(&child).copied()
    }

    /// Children of a process, in the order of their keys.
    pub(super) fn children(&self, parent: ProcessKey) -> impl Iterator<Item = ProcessKey> {
        self.edges.range((parent, LEAST)..=(parent, GREATEST)).map(|(_, child)| *child)
    }

    /// All descendants, the nearest first. Each has one parent, so only `root` could come twice.
    pub(super) fn descendants(&self, root: ProcessKey) -> Vec<ProcessKey> {
        let mut found: Vec<ProcessKey> = self.children(root).filter(|key| *key != root).collect();
        let mut next = 0;
        while let Some(key) = found.get(next).copied() {
            found.extend(self.children(key).filter(|child| *child != root));
            next += 1;
        }
        found
    }

    /// All ancestors of a process, the nearest first.
    pub(super) fn ancestors(&self, child: ProcessKey) -> Vec<ProcessKey> {
        std::iter::successors(self.parent(child), |key| self.parent(*key))
            .take_while(|key| *key != child)
            .take(ANCESTORS_MAX)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(tgid: u32) -> ProcessKey {
        ProcessKey { start_boot_ns: tgid as u64, tgid }
    }

    #[test]
    fn children_of_the_removed_go_to_their_grandparent() {
        let mut descent = Descent::default();
        for (child, parent) in [(2, 1), (3, 2), (4, 3), (5, 3)] {
            descent.link(key(child), key(parent));
        }
        descent.remove(key(3));
        assert_eq!(descent.descendants(key(1)), [2, 4, 5].map(key));
        assert_eq!(descent.ancestors(key(4)), [2, 1].map(key));
        descent.remove(key(1));
        assert_eq!(descent.ancestors(key(4)), [key(2)]);
        assert_eq!(descent.edges.len(), descent.parents.len());
    }

    #[test]
    fn a_circle_ends() {
        let mut descent = Descent::default();
        for (child, parent) in [(1, 1), (2, 1), (3, 2), (1, 3)] {
            descent.link(key(child), key(parent));
        }
        assert_eq!(descent.descendants(key(1)), [2, 3].map(key));
        assert_eq!(descent.ancestors(key(1)), [3, 2].map(key));
    }
}
