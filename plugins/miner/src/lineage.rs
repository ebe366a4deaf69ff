//! Evidence by process, and the case that a process and its ancestors make together.

use std::collections::BTreeMap;

use krsi_plugin::{Ctx, ProcessKey};
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;

/// Ancestors whose evidence counts.
const DEPTH: usize = 8;
/// Processes with evidence that are remembered.
const PROCESSES_MAX: usize = 16_384;

/// Evidence by process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lineages(BTreeMap<ProcessKey, Evidence>);

/// Evidence against a process tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    /// The topmost ancestor with evidence of mining: the tree that is answered.
    pub(crate) root: ProcessKey,
    /// The process that gave the last piece.
    pub(crate) process: ProcessKey,
    /// All processes of the lineage with evidence of mining, the process first.
    pub(crate) members: Vec<ProcessKey>,
    /// Evidence of all members together.
    pub(crate) evidence: Evidence,
}

impl Lineages {
    /// Evidence of a process.
    pub(crate) fn of(&self, process: ProcessKey) -> Evidence {
        self.0.get(&process).copied().unwrap_or_default()
    }

    /// Adds evidence to a process.
    pub(crate) fn add(&mut self, process: ProcessKey, evidence: Evidence) {
        let slot = self.0.entry(process).or_default();
        *slot = slot.with(evidence);
        if self.0.len() > PROCESSES_MAX {
            self.0.pop_first();
        }
    }

    /// The case of a process. Process 1 is nobody's miner.
    pub(crate) fn case(&self, process: ProcessKey, ctx: &Ctx) -> Case {
        let ancestors = ctx.ancestors(process).map(|ancestor| ancestor.key);
        let lineage = std::iter::once(process).chain(ancestors.take(DEPTH));
        let mut case =
            Case { root: process, process, members: Vec::new(), evidence: Evidence::default() };
        for key in lineage.filter(|key| key.tgid != 1) {
            let Some(evidence) = self.0.get(&key).copied() else { continue };
            let evidence = if key == process { evidence } else { evidence.of_descendants() };
            if evidence.is_of_mining() {
                case.root = key;
                case.members.push(key);
            }
            case.evidence = case.evidence.with(evidence);
        }
        case
    }

    /// Forgets a process.
    pub(crate) fn forget(&mut self, process: ProcessKey) {
        self.0.remove(&process);
    }
}
