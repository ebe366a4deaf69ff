//! Response to a detection: deny the files, deny the tree every connection and every message, alert, once.

use std::collections::BTreeMap;

use krsi_plugin::{Ctx, FileKey, Hook, ProcessKey, Severity};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::lineage::Case;

/// Trees and files that are remembered as answered.
const ANSWERED_MAX: usize = 4096;

/// What was answered, and until when it need not be answered again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Responses {
    trees: BTreeMap<ProcessKey, u64>,
    files: BTreeMap<FileKey, u64>,
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
            // A connection that was there before says no more either. Each hook has a rule: a kernel may lack one.
            for hook in [Hook::SocketConnect, Hook::SocketSendmsg] {
                ctx.deny_lineage(case.root).hook(hook).ttl(config.ttl()).because(&reason);
            }
            ctx.alert("T1496", Severity::High, case.process, &reason);
        }
    }

    /// Forgets a process, and what has run out.
    pub(crate) fn forget(&mut self, process: ProcessKey, now_boot_ns: u64) {
        self.trees.remove(&process);
        if self.files.len() > ANSWERED_MAX / 2 {
            self.files.retain(|_, until| *until > now_boot_ns);
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
