//! What follows a detection, once: one rule for each file, one for each pool, those of the tree, and an alert.

use std::collections::BTreeMap;
use std::net::IpAddr;

use krsi_plugin::{Ctx, FileKey, Hook, Outcome, ProcessKey, Severity};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Mode};
use crate::lineage::{Case, Pool};

/// Trees, files and pools of each that are remembered as answered.
const ANSWERED_MAX: usize = 4096;
/// Rules on files at a time: what a plugin may have is for trees too.
const FILE_RULES_MAX: usize = 512;
/// Rules on pools at a time.
const POOL_RULES_MAX: usize = 512;
/// Rules on trees whose answers are waited for.
const AWAITED_MAX: usize = 256;
/// Ports below are everybody's: a rule on one would refuse a site to all.
const PORTS_OF_POOLS: u16 = 1024;
/// What a miner's tree may not do. Each hook has a rule: a kernel may lack one.
const HOOKS: [Hook; 2] = [Hook::SocketConnect, Hook::SocketSendmsg];

/// What was answered, and until when it need not be answered again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Responses {
    trees: BTreeMap<ProcessKey, u64>,
    files: BTreeMap<FileKey, u64>,
    pools: BTreeMap<Pool, u64>,
    /// Rules on trees and processes by their tokens.
    awaited: BTreeMap<u32, Awaited>,
}

/// A rule whose answer is waited for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Awaited {
    /// The tree that it is for.
    root: ProcessKey,
    /// The process that is refused by itself if the tree's rule is.
    process: ProcessKey,
    /// Whether it is on the tree, not on the process.
    is_tree: bool,
}

impl Responses {
    /// Answers a case: rules for what is not denied yet, and one alert for a new tree.
    pub(crate) fn answer(&mut self, case: &Case, config: &Config, ctx: &mut Ctx) {
        let now = ctx.now_boot_ns();
        let until = now.saturating_add(u64::try_from(config.ttl().as_nanos()).unwrap_or(u64::MAX));
        let score = case.evidence.score(config.hints_max);
        let reason = format!("mining: {} (score {score})", case.evidence.words(config.hints_max));
        if config.mode == Mode::Refuse {
            self.refuse(case, config, (now, until), &reason, ctx);
        }
        if remember(&mut self.trees, case.root, now, until) {
            if config.mode == Mode::Refuse {
                // A connection that was there before says no more either.
                for hook in HOOKS {
                    let rule = ctx.deny_lineage(case.root).hook(hook).ttl(config.ttl());
                    let token = rule.because(&reason);
                    self.wait(
                        token.0,
                        Awaited { root: case.root, process: case.process, is_tree: true },
                    );
                }
            }
            // The evidence goes with it.
            ctx.alert("T1496", Severity::High, case.process, format!("mining (score {score})"));
        }
    }

    /// Rules on files and pools.
    fn refuse(
        &mut self,
        case: &Case,
        config: &Config,
        (now, until): (u64, u64),
        reason: &str,
        ctx: &mut Ctx,
    ) {
        for (key, evidence) in &case.members {
            let Some(process) = ctx.process(*key) else { continue };
            let (exe, file) = (process.exe.clone(), process.file);
            let is_known = file != FileKey::default() && !config.protects(&exe);
            let is_refused = is_known && evidence.is_of_disposable_file();
            if is_refused
                && has_room(&mut self.files, file, FILE_RULES_MAX, now)
                && remember(&mut self.files, file, now, until)
            {
                ctx.deny_file(file).exec().ttl(config.ttl()).because(reason);
            }
        }
        for (address, port) in case.pools.iter().filter(|_| config.pool_rules) {
            let is_own = *port >= PORTS_OF_POOLS && is_far(*address);
            let pool = (*address, *port);
            if is_own
                && has_room(&mut self.pools, pool, POOL_RULES_MAX, now)
                && remember(&mut self.pools, pool, now, until)
            {
                let prefix = if address.is_ipv4() { 32 } else { 128 };
                let rule = ctx.deny_network(*address, prefix, *port).hooks(HOOKS);
                rule.ttl(config.ttl()).because(reason);
            }
        }
    }

    /// Learns what became of a rule. Where there is no room for another tree, its process is refused by itself.
    pub(crate) fn outcome(&mut self, outcome: &Outcome<'_>, config: &Config, ctx: &mut Ctx) {
        let Some(awaited) = self.awaited.remove(&outcome.token) else { return };
        if outcome.refusal.is_none() {
            return;
        }
        if awaited.is_tree {
            let why = "mining: by itself, as its tree has no room for a rule";
            let rule = ctx.deny_process(awaited.process).hooks(HOOKS).ttl(config.ttl());
            let token = rule.because(why);
            self.wait(token.0, Awaited { is_tree: false, ..awaited });
        } else {
            // Neither was to be had: whatever it shows next is answered anew.
            self.trees.remove(&awaited.root);
        }
    }

    fn wait(&mut self, token: u32, awaited: Awaited) {
        self.awaited.insert(token, awaited);
        if self.awaited.len() > AWAITED_MAX {
            self.awaited.pop_first();
        }
    }

    /// Forgets a process, and what has run out.
    pub(crate) fn forget(&mut self, process: ProcessKey, now_boot_ns: u64) {
        self.trees.remove(&process);
        if self.files.len() > ANSWERED_MAX / 2 {
            self.files.retain(|_, until| *until > now_boot_ns);
        }
        if self.pools.len() > ANSWERED_MAX / 2 {
            self.pools.retain(|_, until| *until > now_boot_ns);
        }
    }
}

/// Whether one more rule may be made, once those that have run out are forgotten.
fn has_room<K: Ord>(rules: &mut BTreeMap<K, u64>, key: K, most: usize, now: u64) -> bool {
    if rules.len() >= most && !rules.contains_key(&key) {
        rules.retain(|_, until| *until > now);
    }
    rules.len() < most || rules.contains_key(&key)
}

/// Whether an address is on the internet: what is near may be a service that others need.
fn is_far(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                // Shared by those behind one provider's translation, and by overlays (RFC 6598).
                || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast())
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
