//! Callers that were seen a moment ago: an event that says the same of one has nothing to teach.

use krsi_plugin_schema::latest::{Meta, ProcessKey};

/// Callers that are remembered; a power of two. Two with the same place take turns.
const PLACES: usize = 256;
/// How long a cgroup without a name is not asked for again: no longer than between two walks of the
/// hierarchy.
const NAMELESS_NS: u64 = 20_000_000;

/// What an event says of its caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sighting {
    process: ProcessKey,
    parent: ProcessKey,
    uid: u32,
    gid: u32,
    cgroup_id: u64,
    mount_ns: u32,
}

impl Sighting {
    pub(super) const fn new(meta: &Meta<'_>, parent: ProcessKey) -> Self {
        let Meta { process, uid, gid, cgroup_id, mount_ns, .. } = *meta;
        Self { process, parent, uid, gid, cgroup_id, mount_ns }
    }
}

/// The last sighting of each of the last callers, and until when it holds.
#[derive(Debug)]
pub(super) struct Recent([(Sighting, u64); PLACES]);

impl Default for Recent {
    fn default() -> Self {
        Self([(Sighting::default(), 0); PLACES])
    }
}

impl Recent {
    /// Whether the caller was seen like this before.
    pub(super) fn holds(&self, sighting: &Sighting, now_boot_ns: u64) -> bool {
        let known = self.0.get(place(sighting.process));
        known.is_some_and(|(known, until)| known == sighting && now_boot_ns < *until)
    }

    /// Remembers a caller, for a moment only if its cgroup has no name yet.
    pub(super) fn keep(&mut self, sighting: Sighting, now_boot_ns: u64, named: bool) {
        if let Some(known) = self.0.get_mut(place(sighting.process)) {
            let until = if named { u64::MAX } else { now_boot_ns.saturating_add(NAMELESS_NS) };
            *known = (sighting, until);
        }
    }

    /// Forgets a process.
    pub(super) fn forget(&mut self, key: ProcessKey) {
        if let Some(known) = self.0.get_mut(place(key)) {
            *known = (Sighting::default(), 0);
        }
    }
}

/// Tgids are given in turn, so that their low bits spread best.
const fn place(key: ProcessKey) -> usize {
    key.tgid as usize % PLACES
}
