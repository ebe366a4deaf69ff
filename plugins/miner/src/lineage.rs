//! Evidence by process, and the case that a process and its ancestors make together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use krsi_plugin::{Ctx, ProcessKey};
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;

/// Ancestors whose evidence counts.
const DEPTH: usize = 8;
/// Processes with evidence that are remembered.
const PROCESSES_MAX: usize = 16_384;
/// Pools of a process that are remembered.
const POOLS_MAX: usize = 8;

/// An address and a port.
pub(crate) type Pool = (IpAddr, u16);

/// What a process has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Shown {
    evidence: Evidence,
    /// Where its connections go, as far as they are evidence.
    pools: Vec<Pool>,
}

/// Evidence by process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lineages(BTreeMap<ProcessKey, Shown>);

/// Evidence against a process tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    /// The topmost ancestor with evidence of mining: the tree that is answered.
    pub(crate) root: ProcessKey,
    /// The process that gave the last piece.
    pub(crate) process: ProcessKey,
    /// All processes of the lineage with evidence of mining, the process first, and the evidence of each.
    pub(crate) members: Vec<(ProcessKey, Evidence)>,
    /// Pools that the lineage talks to.
    pub(crate) pools: Vec<Pool>,
    /// Evidence of all members together.
    pub(crate) evidence: Evidence,
}

impl Lineages {
    /// Evidence of a process.
    pub(crate) fn of(&self, process: ProcessKey) -> Evidence {
        self.0.get(&process).map(|shown| shown.evidence).unwrap_or_default()
    }

    /// Begins a new image of a process: what its arguments and its place said of the old one ends.
    pub(crate) fn renew(&mut self, process: ProcessKey) {
        if let Some(shown) = self.0.get_mut(&process) {
            shown.evidence = shown.evidence.of_mining();
        }
    }

    /// Begins what the arguments of a process say anew.
    pub(crate) fn read_anew(&mut self, process: ProcessKey) {
        if let Some(shown) = self.0.get_mut(&process) {
            shown.evidence = shown.evidence.read_anew();
        }
    }

    /// Adds evidence to a process, and the pool that it is of, if it is of one.
    pub(crate) fn add(&mut self, process: ProcessKey, evidence: Evidence, pool: Option<Pool>) {
        let shown = self.0.entry(process).or_default();
        shown.evidence = shown.evidence.with(evidence);
        if let Some(pool) = pool
            && !shown.pools.contains(&pool)
        {
            if shown.pools.len() >= POOLS_MAX {
                shown.pools.remove(0);
            }
            shown.pools.push(pool);
        }
        if self.0.len() > PROCESSES_MAX {
            self.0.pop_first();
        }
    }

    /// The case of a process. Process 1 is nobody's miner.
    pub(crate) fn case(&self, process: ProcessKey, ctx: &Ctx) -> Case {
        let ancestors = ctx.ancestors(process).map(|ancestor| ancestor.key);
        let lineage = std::iter::once(process).chain(ancestors.take(DEPTH));
        let (members, pools) = (Vec::new(), Vec::new());
        let mut case =
            Case { root: process, process, members, pools, evidence: Evidence::default() };
        for key in lineage.filter(|key| key.tgid != 1) {
            let Some(Shown { evidence, pools }) = self.0.get(&key) else { continue };
            let evidence = if key == process { *evidence } else { evidence.of_descendants() };
            if evidence.is_of_mining() {
                case.root = key;
                case.members.push((key, evidence));
            }
            case.pools.extend(pools);
            case.evidence = case.evidence.with(evidence);
        }
        case
    }

    /// Forgets a process.
    pub(crate) fn forget(&mut self, process: ProcessKey) {
        self.0.remove(&process);
    }
}
