//! The deny maps in memory, read as the kernel half reads them: what the ledger's tests and stages stand on.
//!
//! What becomes of processes follows `ebpf/prog/src/label.rs` and `ebpf/prog/src/hook/task.rs`: lineages and labels by
//! fork, labels by exec.

mod walk;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use krsi_host_abi::deny::{
    Bounds, Digest, Entry, FileKey, LabelRules, Membership, ProcessKey, flag,
};
use krsi_host_abi::hook::Hook;
use krsi_plugin_schema::latest;

use super::Ledger;
use super::lineage::abi;
use crate::kernel::map::lease::EntryKey;
use crate::kernel::map::store::{RuleStore, StoreError};

/// `AF_INET` of `include/linux/socket.h`.
const AF_INET: u16 = 2;
/// `AF_INET6` of `include/linux/socket.h`.
const AF_INET6: u16 = 10;

/// The deny maps, and what the kernel keeps of processes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MemoryMaps {
    pub(in crate::policy) entries: HashMap<EntryKey, Entry>,
    pub(in crate::policy) marks: HashMap<ProcessKey, Membership>,
    pub(in crate::policy) flags: HashMap<Hook, u64>,
    pub(in crate::policy) hits: HashMap<u64, u64>,
    pub(in crate::policy) labels: HashMap<ProcessKey, u64>,
    pub(in crate::policy) label_rules: LabelRules,
    /// Labels that an exec under way gives at its end.
    pub(in crate::policy) waiting: HashMap<ProcessKey, u64>,
}

/// The path of a call's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CallPath<'a> {
    /// The call is about no path.
    #[default]
    None,
    /// The path in full.
    At(&'a str),
    /// The path could not be resolved.
    Unresolved,
}

/// The destination of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallAddress {
    /// `AF_INET` or `AF_INET6`.
    pub(crate) family: u16,
    /// Port in host byte order.
    pub(crate) port: u16,
    /// Address in network byte order, IPv4 in the first four bytes.
    pub(crate) address: [u8; 16],
    /// `IPPROTO_*` of the socket, or 0.
    pub(crate) protocol: u16,
}

impl CallAddress {
    /// An address by a protocol; an IPv4-mapped one is IPv4's, as hooks see it.
    pub(crate) fn new(to: SocketAddr, protocol: u16) -> Self {
        let (family, address) = match to.ip().to_canonical() {
            IpAddr::V4(v4) => (AF_INET, (u128::from(v4.to_bits()) << 96).to_be_bytes()),
            IpAddr::V6(v6) => (AF_INET6, v6.octets()),
        };
        Self { family, port: to.port(), address, protocol }
    }

    const fn is_unspecified(&self) -> bool {
        u128::from_be_bytes(self.address) == 0
    }

    /// The loopback address of a family, to which an unspecified one leads.
    fn loopback(self, family: u16) -> Self {
        let address = if family == AF_INET { 0x7f00_0001 << 96 } else { 1u128 };
        Self { family, address: address.to_be_bytes(), ..self }
    }
}

/// What a call is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallKeys<'a> {
    /// Cgroup of the caller.
    pub(crate) cgroup: u64,
    /// File that the call acts on, by its identity.
    pub(crate) file: Option<FileKey>,
    /// Path of the call's file.
    pub(crate) path: CallPath<'a>,
    /// SHA-256 of what is executed.
    pub(crate) digest: Option<Digest>,
    /// Destination of the call.
    pub(crate) to: Option<CallAddress>,
    /// A file or destination could not be read.
    pub(crate) is_unread: bool,
    /// The file is opened on the way to an exec.
    pub(crate) is_executed: bool,
}

/// What rules in force make of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruling {
    /// The rule that refuses, or that reports what would be refused, and its errno.
    pub(crate) by: Option<(u64, u16)>,
    /// Whether the call is refused.
    pub(crate) is_denied: bool,
    /// Labels that the caller is given, as bits.
    gives: u64,
}

impl MemoryMaps {
    pub(in crate::policy) fn flag(&self, hook: Hook) -> u64 {
        self.flags.get(&hook).copied().unwrap_or(0)
    }

    /// A fork: the child has its parent's lineages and labels.
    pub(crate) fn fork(&mut self, parent: ProcessKey, child: ProcessKey) {
        let flags = self.flag(Hook::SchedProcessFork);
        if flags & flag::MEMBERSHIP != 0
            && let Some(marks) = self.marks.get(&parent).copied()
        {
            self.marks.insert(child, marks);
        }
        if flags & flag::LABELS != 0
            && let Some(labels) = self.labels.get(&parent).copied().filter(|labels| *labels != 0)
        {
            self.labels.insert(child, labels);
        }
    }

    /// The end of a process.
    pub(crate) fn exit(&mut self, gone: ProcessKey) {
        let flags = self.flag(Hook::SchedProcessExit);
        if flags & flag::MEMBERSHIP != 0 {
            self.marks.remove(&gone);
        }
        if flags & flag::LABELS != 0 {
            self.labels.remove(&gone);
        }
        self.waiting.remove(&gone);
    }

    /// An exec cannot fail any more: labels go that do not outlive it, then it gives its own.
    pub(crate) fn exec_done(&mut self, process: ProcessKey) {
        let gives = self.waiting.remove(&process).unwrap_or(0);
        if self.flag(Hook::BprmCommittedCreds) & flag::LABELS == 0 {
            return;
        }
        let had = self.labels.remove(&process).unwrap_or(0);
        let labels = had & !self.label_rules.dropped_at_exec | gives;
        if labels != 0 {
            self.labels.insert(process, labels);
        }
    }

    /// Decides a call, and gives the labels that it gives unless it is refused.
    pub(crate) fn call(
        &mut self,
        hook: Hook,
        process: ProcessKey,
        object: &CallKeys<'_>,
        now: u64,
    ) -> Ruling {
        let is_exec = hook == Hook::BprmCheckSecurity;
        if is_exec {
            self.waiting.remove(&process);
        }
        let decided = self.decide(hook, process, object, now);
        if !decided.is_denied && decided.gives != 0 && (is_exec || !object.is_executed) {
            let labels = if is_exec { &mut self.waiting } else { &mut self.labels };
            *labels.entry(process).or_default() |= decided.gives;
        }
        decided
    }
}

/// Calls, forks, execs and exits, as the kernel handles them and the host follows.
impl Ledger<MemoryMaps> {
    /// What rules in force make of a call at a time; labels that it gives are given.
    pub(crate) fn called(
        &mut self,
        hook: latest::Hook,
        process: latest::ProcessKey,
        object: &CallKeys<'_>,
        now_boot_ns: u64,
    ) -> Ruling {
        let hook = Hook::from_name(hook.name());
        let decide = |hook| self.store.call(hook, abi(process), object, now_boot_ns);
        hook.map(decide).unwrap_or_default()
    }

    /// A process has a child.
    pub(crate) fn forked(&mut self, parent: latest::ProcessKey, child: latest::ProcessKey) {
        self.store.fork(abi(parent), abi(child));
        self.on_fork(parent, child);
    }

    /// A process has executed a file.
    pub(crate) fn executed(&mut self, process: latest::ProcessKey) {
        self.store.exec_done(abi(process));
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, gone: latest::ProcessKey, now_boot_ns: u64) {
        self.store.exit(abi(gone));
        self.on_exit(gone, now_boot_ns);
    }
}

impl RuleStore for MemoryMaps {
    fn put(&mut self, key: EntryKey, entry: &Entry) -> Result<(), StoreError> {
        self.entries.insert(key, *entry);
        Ok(())
    }

    fn remove(&mut self, key: EntryKey) -> Result<(), StoreError> {
        self.entries.remove(&key);
        Ok(())
    }

    fn mark(&mut self, process: ProcessKey, membership: &Membership) -> Result<(), StoreError> {
        self.marks.insert(process, *membership);
        Ok(())
    }

    fn unmark(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.marks.remove(&process);
        Ok(())
    }

    fn marks(&self, process: ProcessKey) -> Result<Option<Membership>, StoreError> {
        Ok(self.marks.get(&process).copied())
    }

    fn bound(&mut self, _owner: u8, _to: Bounds) -> Result<(), StoreError> {
        Ok(())
    }

    fn set_label_rules(&mut self, rules: LabelRules) -> Result<(), StoreError> {
        self.label_rules = rules;
        Ok(())
    }

    fn set_labels(
        &mut self,
        process: ProcessKey,
        gives: u64,
        takes: u64,
    ) -> Result<(), StoreError> {
        let labels = self.labels.entry(process).or_default();
        *labels = *labels & !takes | gives;
        Ok(())
    }

    fn forget_labels(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.labels.remove(&process);
        Ok(())
    }

    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        let mut labels: Vec<_> = self.labels.iter().map(|(key, bits)| (*key, *bits)).collect();
        labels.sort_unstable();
        Ok(labels)
    }

    fn set_rule_flags(&mut self, hook: Hook, flags: u64) -> Result<(), StoreError> {
        if flags == 0 {
            self.flags.remove(&hook);
        } else {
            self.flags.insert(hook, flags);
        }
        Ok(())
    }

    fn capacity(&self, _key: EntryKey) -> Option<(&'static str, usize)> {
        None
    }

    fn open_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        self.hits.insert(rule_id, 0);
        Ok(())
    }

    fn hits(&self, rule_id: u64) -> Result<u64, StoreError> {
        Ok(self.hits.get(&rule_id).copied().unwrap_or(0))
    }

    fn close_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        self.hits.remove(&rule_id);
        Ok(())
    }
}
