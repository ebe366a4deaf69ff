//! The table beside the processes that run: what lost records, and a want of room, left wrong in it.

use std::collections::HashSet;

use krsi_plugin_schema::latest::ProcessKey;

use super::{ProcessState, ProcessTable};

/// Ghosts that are laid to rest at a time, and strangers that are learnt: the rest is for the next.
const TURN: usize = 1024;

/// What was counted of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Processes that were forgotten before their time, for want of room.
    pub dropped: u64,
    /// Processes that run and are not in the table, as far as is known.
    pub outside: u64,
    /// Processes whose end was found out without its record.
    pub ghosts: u64,
    /// Processes whose start was.
    pub strangers: u64,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Processes that had ended; their rows say so now.
    pub ghosts: Vec<ProcessKey>,
    /// Processes that run, are unknown and have room: to be [added](ProcessTable::add).
    pub strangers: Vec<ProcessKey>,
}

impl ProcessTable {
    /// Compares the table with all processes that run, read since `began_boot_ns`. What two comparisons find
    /// is wrong: a record that says so may only not be read yet at the first one.
    pub fn compare(&mut self, running: &HashSet<ProcessKey>, began_boot_ns: u64) -> Missed {
        let is_older = |key: &&ProcessKey| key.start_boot_ns < began_boot_ns;
        let rows = self.rows.iter().filter(|(_, row)| row.life == ProcessState::Running);
        let gone = rows.map(|(key, _)| key).filter(|key| !running.contains(*key));
        let unknown = running.iter().filter(|key| !self.rows.contains_key(*key));
        let now: HashSet<ProcessKey> = gone.chain(unknown).filter(is_older).copied().collect();
        let (mut strangers, mut ghosts): (Vec<_>, Vec<_>) =
            now.intersection(&self.suspects).copied().partition(|key| running.contains(key));
        strangers.sort_unstable();
        let room = self.capacity.saturating_sub(self.rows.len());
        // Who could not be known for want of room is outside until the first comparison that finds nobody is.
        let outside = now.iter().filter(|key| running.contains(*key)).count();
        if room == 0 || self.counts.outside > 0 {
            self.counts.outside = outside as u64;
        }
        strangers.truncate(room.min(TURN));
        ghosts.truncate(TURN);
        for ghost in &ghosts {
            self.exit(*ghost, began_boot_ns);
        }
        self.counts.ghosts += ghosts.len() as u64;
        self.counts.strangers += strangers.len() as u64;
        self.suspects = now;
        Missed { ghosts, strangers }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> TableCounts {
        self.counts
    }
}
