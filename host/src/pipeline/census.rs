//! The process table beside the processes that run: filled at the start, and mended now and then.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use krsi_plugin_schema::latest::ProcessKey;

use super::clock;
use super::loss_monitor::is_news;
use super::shared::Shared;
use crate::enrich::{self, Joined, Missed};
use crate::kernel::program::processes::TaskIterator;

/// Time between two looks at all processes.
const LOOK_NS: u64 = 3_000_000_000;
/// Where processes are described.
const PROC: &str = "/proc";
/// Processes that the ledger follows at a time, so that nobody waits long for it.
const TURN: usize = 64;

/// Looks at the processes that run.
pub(super) struct Census {
    /// `None` where the kernel does not list them.
    processes: Option<TaskIterator>,
    shared: Arc<Shared>,
    looked_boot_ns: u64,
    /// Processes outside the table that were told of.
    told: u64,
}

impl Census {
    /// Fills the table with the processes that run. To be called once forks are followed, and before the first
    /// record is read, so that no process is missed.
    pub(super) fn start(processes: Option<TaskIterator>, shared: Arc<Shared>) -> Self {
        let census = Self { processes, shared, looked_boot_ns: clock::boot_ns(), told: 0 };
        if let Some(running) = census.running() {
            let all: Vec<ProcessKey> = running.iter().copied().collect();
            let found = enrich::describe(Path::new(PROC), &all, &running);
            // No rule is in force yet that a lineage could matter to.
            let _joined = census.shared.processes().add(found);
        }
        census
    }

    /// Mends what lost records left wrong, if it is time, and says how many processes the table has no room
    /// for. Returns whether it was time.
    pub(super) fn look_in_time(&mut self) -> bool {
        let now = clock::boot_ns();
        let is_time = now.saturating_sub(self.looked_boot_ns) >= LOOK_NS;
        if is_time {
            self.looked_boot_ns = now;
            self.look(now);
        }
        let outside = self.shared.processes().counts().outside;
        if is_news(&mut self.told, outside) {
            self.shared.note(format!(
                "the process table is full: {outside} processes run that it does not hold; a rule on a lineage \
                 that is made now misses those of them that belong to it; raise `processes` below \
                 [rules.capacity]"
            ));
        }
        is_time
    }

    fn look(&self, began_boot_ns: u64) {
        let Some(running) = self.running() else { return };
        let Missed { ghosts, strangers } = self.shared.processes().compare(&running, began_boot_ns);
        for ghosts in ghosts.chunks(TURN) {
            let mut ledger = self.shared.ledger();
            ghosts.iter().for_each(|ghost| ledger.on_exit(*ghost, began_boot_ns));
        }
        let found = enrich::describe(Path::new(PROC), &strangers, &running);
        let joined = self.shared.processes().add(found);
        for joined in joined.chunks(TURN) {
            let mut ledger = self.shared.ledger();
            joined.iter().for_each(|Joined { parent, child }| ledger.on_fork(*parent, *child));
        }
    }

    fn running(&self) -> Option<HashSet<ProcessKey>> {
        match self.processes.as_ref()?.read() {
            Ok(keys) => Some(
                keys.into_iter()
                    .map(|key| ProcessKey { start_boot_ns: key.start_boot_ns, tgid: key.tgid })
                    .collect(),
            ),
            Err(error) => {
                tracing::warn!(%error, "processes cannot be listed");
                None
            }
        }
    }
}
