//! Why there was an alert about a process, or none: the evidence that a plugin noted about each.

use std::collections::BTreeMap;

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{Action, Evidence, Process, ProcessKey, Record};
use krsi_plugin_schema::{Schema, lower};

use super::told::{Piece, What};

/// Processes that are explained, of all plugins: of a recording that has more, the others are counted.
const EXPLAINED_MAX: usize = 10_000;
/// Pieces of evidence that are kept of one.
const PIECES_MAX: usize = 64;
/// Processes whose executables are remembered.
const NAMES_MAX: usize = 100_000;

/// What each plugin noted about each process.
#[derive(Debug, Default)]
pub(super) struct Explanation {
    of: BTreeMap<(String, ProcessOrder), Suspect>,
    /// Executables, as descriptions tell them.
    names: BTreeMap<ProcessOrder, String>,
    /// Processes beyond [`EXPLAINED_MAX`].
    more: u64,
}

/// A process, in the order of starts.
type ProcessOrder = (u64, u32);

const fn order(key: ProcessKey) -> ProcessOrder {
    (key.start_boot_ns, key.tgid)
}

#[derive(Debug, Default)]
struct Suspect {
    /// Evidence about the process that was not taken back.
    pieces: Vec<Piece>,
    /// Evidence when its sum of weights was highest, as far as some of it was taken back since.
    most: Vec<Piece>,
    threshold: u32,
    alerts: u64,
}

fn sum(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| u64::from(piece.weight)).sum()
}

impl Suspect {
    /// Gives a piece another weight, 0 to take it back.
    fn weigh(&mut self, what: &str, weight: u32) {
        if sum(&self.pieces) > sum(&self.most) {
            self.most.clone_from(&self.pieces);
        }
        self.pieces
            .iter_mut()
            .filter(|piece| piece.what == what)
            .for_each(|piece| piece.weight = weight);
        self.pieces.retain(|piece| piece.weight > 0);
    }

    /// Evidence when its sum of weights was highest.
    fn most(self) -> Vec<Piece> {
        if sum(&self.most) > sum(&self.pieces) { self.most } else { self.pieces }
    }
}

impl Explanation {
    /// Remembers what processes run that a batch of a schema describes.
    pub(super) fn read(&mut self, batch: &[u8], schema: Schema) {
        for frame in Frames::new(batch).flatten() {
            if let Ok(Record::Process(process)) = lower::record(&frame, schema) {
                self.know(&process);
            }
        }
    }

    /// Remembers what a process runs.
    fn know(&mut self, process: &Process<'_>) {
        let key = order(process.key);
        if self.names.len() < NAMES_MAX || self.names.contains_key(&key) {
            self.names.insert(key, process.exe.clone().into_owned());
        }
    }

    /// Adds the evidence and the alerts among a plugin's actions.
    pub(super) fn actions(&mut self, plugin: &str, actions: &[u8], schema: Schema) {
        for frame in Frames::new(actions).flatten() {
            match lower::action(&frame, schema) {
                Ok(Action::Evidence(evidence)) => self.note(plugin, &evidence),
                Ok(Action::Alert(alert)) => self.alert(plugin, alert.process),
                _ => {}
            }
        }
    }

    /// Adds evidence that a plugin noted.
    pub(super) fn note(&mut self, plugin: &str, evidence: &Evidence<'_>) {
        let Evidence { process, what, weight, threshold } = evidence;
        let Some(suspect) = self.suspect(plugin, *process) else { return };
        suspect.threshold = *threshold;
        let has_room = suspect.pieces.len() < PIECES_MAX;
        if suspect.pieces.iter().any(|piece| piece.what == *what) {
            suspect.weigh(what, *weight);
        } else if has_room && *weight > 0 {
            let what = what.clone().into_owned();
            suspect.pieces.push(Piece { what, weight: *weight });
        }
    }

    /// Adds an alert that a plugin raised.
    pub(super) fn alert(&mut self, plugin: &str, process: ProcessKey) {
        if process.tgid != 0
            && let Some(suspect) = self.suspect(plugin, process)
        {
            suspect.alerts += 1;
        }
    }

    fn suspect(&mut self, plugin: &str, process: ProcessKey) -> Option<&mut Suspect> {
        let key = (plugin.to_owned(), order(process));
        if self.of.len() >= EXPLAINED_MAX && !self.of.contains_key(&key) {
            self.more += 1;
            return None;
        }
        Some(self.of.entry(key).or_default())
    }

    /// What was found, plugin by plugin, in the order in which processes started.
    pub(super) fn told(self) -> Vec<(String, What)> {
        let (names, more) = (self.names, self.more);
        let explained = |((plugin, key), suspect): ((String, ProcessOrder), Suspect)| {
            let (threshold, alerts) = (suspect.threshold, suspect.alerts);
            let exe = names.get(&key).cloned().unwrap_or_default();
            let pieces = suspect.most();
            let sum = sum(&pieces);
            (plugin, What::Explained { tgid: key.1, exe, pieces, sum, threshold, alerts })
        };
        let mut told: Vec<(String, What)> = self.of.into_iter().map(explained).collect();
        if more > 0 {
            told.push((String::new(), What::NotExplained { notes: more }));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_its_evidence_once_and_what_is_missing() {
        let key = |tgid| ProcessKey { start_boot_ns: u64::from(tgid), tgid };
        let note = |tgid, what: &'static str, weight| Evidence {
            process: key(tgid),
            what: what.into(),
            weight,
            threshold: 100,
        };
        let mut explanation = Explanation::default();
        explanation.know(&Process { key: key(7), exe: "/tmp/a b".into(), ..Process::default() });
        for (tgid, what, weight) in
            [(9, "pool", 60), (7, "pool", 60), (7, "path", 30), (7, "pool", 50), (7, "path", 0)]
        {
            explanation.note("miner", &note(tgid, what, weight));
        }
        explanation.alert("miner", key(9));
        explanation.alert("miner", ProcessKey::default());
        let told: Vec<String> =
            explanation.told().iter().map(|(plugin, what)| format!("{plugin}: {what}")).collect();
        assert_eq!(
            told,
            [
                "miner: no alert about process 7 \"/tmp/a b\": pool (60), path (30): 90 of 100, 10 are missing",
                "miner: 1 alert about process 9: pool (60): 60 of 100",
            ]
        );
    }
}
