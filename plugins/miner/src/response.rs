//! What follows a detection: deny the files, deny the pools to the tree, alert, once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use krsi_plugin::{Ctx, FileKey, Outcome, ProcessKey, Refusal, Severity};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::lineage::Case;

/// Trees and files that are remembered as answered.
const ANSWERED_MAX: usize = 4096;
/// Every address, of either family.
const ANYWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// What was answered, and until when it need not be answered again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Responses {
    trees: BTreeMap<ProcessKey, u64>,
    files: BTreeMap<FileKey, u64>,
    /// Which tree a network rule was for.
    rules: BTreeMap<u32, ProcessKey>,
}

impl Responses {
    /// Answers a case: rules for what is not denied yet, and one alert for a new tree.
    pub(crate) fn answer(&mut self, case: &Case, config: &Config, ctx: &mut Ctx) {
        let now = ctx.now_boot_ns();
        let until = now.saturating_add(u64::try_from(config.ttl().as_nanos()).unwrap_or(u64::MAX));
        let reason = format!("mining: {} (score {})", case.evidence.words(), case.evidence.score());
        for key in &case.members {
            let Some(process) = ctx.process(*key) else { continue };
            let (exe, file) = (process.exe.clone(), process.file);
            let known = file != FileKey::default() && !config.protects(&exe);
            if known && remember(&mut self.files, file, now, until) {
                ctx.deny_file(file).exec().ttl(config.ttl()).because(&reason);
            }
        }
        if remember(&mut self.trees, case.root, now, until) {
            self.deny_pools(case.root, config, &reason, ctx);
            ctx.alert("T1496", Severity::High, case.process, &reason);
        }
    }

    /// A full key means that four trees are denied this pool already: this tree is denied every
    /// connection instead.
    pub(crate) fn answered(&mut self, outcome: &Outcome<'_>, config: &Config, ctx: &mut Ctx) {
        let Some(root) = self.rules.remove(&outcome.token) else { return };
        if outcome.refusal == Some(Refusal::KeyFull) {
            self.rules.retain(|_, other| *other != root);
            ctx.deny_lineage(root).connect().ttl(config.ttl()).because("mining: a further tree");
        }
    }

    /// Forgets a process, and what has run out.
    pub(crate) fn forget(&mut self, process: ProcessKey, now_boot_ns: u64) {
        self.trees.remove(&process);
        if self.files.len() > ANSWERED_MAX / 2 {
            self.files.retain(|_, until| *until > now_boot_ns);
        }
    }

    fn deny_pools(&mut self, root: ProcessKey, config: &Config, reason: &str, ctx: &mut Ctx) {
        let ports = config.pool_ports.iter().flat_map(|port| ANYWHERE.map(|any| (any, 0, *port)));
        let networks = config.pool_networks.iter().map(|net| (net.address, net.prefix, 0));
        for (address, prefix, port) in ports.chain(networks) {
            let rule = ctx.deny_network(address, prefix, port).connect().only_lineage(root);
            let token = rule.ttl(config.ttl()).because(reason);
            self.rules.insert(token.0, root);
        }
        while self.rules.len() > ANSWERED_MAX {
            self.rules.pop_first();
        }
    }
}

/// Whether `key` was not answered yet, or its answer has run out; it then is until `until`.
fn remember<K: Ord + Copy>(answered: &mut BTreeMap<K, u64>, key: K, now: u64, until: u64) -> bool {
    if answered.get(&key).is_some_and(|end| *end > now) {
        return false;
    }
    if answered.len() >= ANSWERED_MAX {
        answered.pop_first();
    }
    answered.insert(key, until);
    true
}
