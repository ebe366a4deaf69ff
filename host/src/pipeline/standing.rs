//! The operator's word on all rules, put in force: on-error answers, and processes that no rule
//! concerns.

use std::collections::{HashMap, hash_map};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use krsi_host_abi::deny::{Lease, Mode, ProcessKey as AbiProcessKey, Subject, halves};
use krsi_plugin_schema::latest::ProcessKey;

use super::watches::ADMINISTRATOR;
use crate::config::{OnError, RuleSettings};
use crate::decode;
use crate::enrich::{ProcessChange, ProcessTable};
use crate::kernel::map;
use crate::kernel::store::{RuleStore, StoreError};
use crate::policy::Ledger;

/// Rules that answer errors have ids from here on, by the slot of their hook: above those of the
/// ledger, below those of watches.
pub(super) const ERROR_RULES: u64 = 1 << 62;

/// Says what hooks answer when the object of a rule cannot be read.
pub(super) fn answer_errors(
    ledger: &mut Ledger<impl RuleStore>,
    settings: &RuleSettings,
) -> Result<(), StoreError> {
    for (hook, answer) in &settings.on_error {
        let Some(hook) = decode::abi_hook(*hook) else { continue };
        let (mode, errno) = match answer {
            OnError::Deny(errno) => (Mode::Enforce, *errno),
            OnError::Audit(errno) => (Mode::Audit, *errno),
        };
        let lease = Lease {
            hooks: halves(hook.bit()),
            rule_id: ERROR_RULES | u64::from(hook.id()),
            errno,
            mode: mode as u8,
            subject: Subject::Any as u8,
            owner: u16::from(ADMINISTRATOR),
            protocol: 0,
            ..Lease::default()
        };
        ledger.answer_errors(hook, lease)?;
    }
    Ok(())
}

/// Why a process is exempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It runs one of the executables; so does what it forks.
    Executable,
    /// It was named, and stays exempt to its end.
    Named,
}

/// Who no rule concerns, as it changes.
pub(super) struct Exempt {
    kernel: map::Exempt,
    executables: Vec<PathBuf>,
    /// By tgid and start in ticks, as the kernel has them.
    processes: HashMap<AbiProcessKey, Why>,
}

impl Exempt {
    /// Exempts what is known to run.
    pub(super) fn new(
        kernel: map::Exempt,
        settings: &RuleSettings,
        processes: &ProcessTable,
    ) -> Self {
        let executables = settings.exempt_executables.clone();
        let mut exempt = Self { kernel, executables, processes: HashMap::new() };
        for process in processes.iter() {
            if settings.exempt_tgids.contains(&process.key.tgid) {
                exempt.add(process.key, Why::Named);
            } else if exempt.runs_one(process.key, &process.exe) {
                exempt.add(process.key, Why::Executable);
            }
        }
        exempt
    }

    /// Follows processes: what is forked, what is executed, what ends.
    pub(super) fn follow(&mut self, change: ProcessChange<'_>) {
        if self.executables.is_empty() && self.processes.is_empty() {
            return;
        }
        match change {
            ProcessChange::Forked { parent, child } => {
                if self.processes.get(&key(parent)) == Some(&Why::Executable) {
                    self.add(child, Why::Executable);
                }
            }
            ProcessChange::Executed { process, exec } => {
                let before = self.processes.get(&key(process)).copied();
                match (before, self.runs_one(process, &exec.path)) {
                    (None, true) => self.add(process, Why::Executable),
                    (Some(Why::Executable), false) => self.remove(process),
                    (None, false) | (Some(Why::Executable), true) | (Some(Why::Named), _) => {}
                }
            }
            ProcessChange::Exited { process } => self.remove(process),
        }
    }

    /// Whether a process runs one of the executables. A path alone can be had by anybody with a root
    /// of their own, so the file must be the same.
    fn runs_one(&self, process: ProcessKey, exe: &str) -> bool {
        let named = self.executables.iter().find(|path| path.as_path() == Path::new(exe));
        let running = PathBuf::from(format!("/proc/{}/exe", process.tgid));
        named.is_some_and(|path| match (fs::metadata(path), fs::metadata(running)) {
            (Ok(named), Ok(running)) => {
                (named.dev(), named.ino()) == (running.dev(), running.ino())
            }
            _ => false,
        })
    }

    fn add(&mut self, process: ProcessKey, why: Why) {
        if let hash_map::Entry::Vacant(free) = self.processes.entry(key(process)) {
            match self.kernel.exempt(abi(process)) {
                Ok(()) => {
                    free.insert(why);
                }
                Err(error) => {
                    tracing::warn!(tgid = process.tgid, %error, "a process is not exempt");
                }
            }
        }
    }

    fn remove(&mut self, process: ProcessKey) {
        if self.processes.remove(&key(process)).is_some()
            && let Err(error) = self.kernel.judge(abi(process))
        {
            tracing::warn!(tgid = process.tgid, %error, "a process is still exempt");
        }
    }
}

const fn abi(process: ProcessKey) -> AbiProcessKey {
    AbiProcessKey { start_boot_ns: process.start_boot_ns, tgid: process.tgid, pad: 0 }
}

const fn key(process: ProcessKey) -> AbiProcessKey {
    abi(process).in_ticks()
}
