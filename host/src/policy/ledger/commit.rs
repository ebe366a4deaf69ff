//! One rule into force, or not at all: checks, lineages, book, maps, flags, in this order.

use std::sync::Arc;

use krsi_host_abi::deny::{FileKey, SLOTS};
use krsi_host_abi::hook::{HOOKS, Hook as AbiHook};
use krsi_plugin_schema::latest::{Hook, KeyKind, ProcessKey, Refusal, RuleKey, Subject};

use super::Ledger;
use super::book::WhenFull;
use super::lineage::{Kinship, LineageError, abi};
use super::network::Destination;
use super::place::Place;
use super::rule::{Rule, RuleSpec, applies};
use crate::kernel::hash::HashError;
use crate::kernel::prefix::{PathPrefix, PrefixError};
use crate::kernel::store::{RuleStore, StoreError};

/// Slots of plugins; the one after is the administrator's.
const OWNERS: u8 = 63;

/// Why a rule is not in force, or still is.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not a plugin's slot.
    #[error("owner slot {owner} is no plugin's")]
    Owner {
        /// What was given.
        owner: u8,
    },
    /// A hook that does not look up that kind of key.
    #[error("{hook} does not look up keys of that kind", hook = hook.name())]
    Hook {
        /// The hook.
        hook: Hook,
    },
    /// Digests, which this kernel does not tell.
    #[error("rules on digests cannot be enforced here: {why}")]
    Digest {
        /// Why it does not.
        why: Arc<HashError>,
    },
    /// No path starts so.
    #[error(transparent)]
    Path(#[from] PrefixError),
    /// A rule of a whole hook that names several.
    #[error("a rule of a whole hook names one hook")]
    SeveralHooks,
    /// No hook.
    #[error("the rule names no hook")]
    NoHook,
    /// A hook that is not attached.
    #[error("{hook} is not attached on this kernel", hook = hook.name())]
    Unattached {
        /// The hook.
        hook: Hook,
    },
    /// A prefix that is longer than the address.
    #[error("a prefix of {prefix} bits is longer than the address")]
    Prefix {
        /// What was given.
        prefix: u8,
    },
    /// A protocol that no socket has by which a rule could know it.
    #[error("{protocol} is no protocol: 1 to 255 are (IPPROTO_*)")]
    Protocol {
        /// What was given.
        protocol: u16,
    },
    /// No such process.
    #[error("process {tgid} is not running")]
    UnknownProcess {
        /// Its id.
        tgid: u32,
    },
    /// No such rule.
    #[error("no rule has token {token}")]
    UnknownRule {
        /// The token.
        token: u32,
    },
    /// The plugin's limit.
    #[error("{max} rules are in force already")]
    TooManyRules {
        /// Rules it may have.
        max: usize,
    },
    /// A key's limit.
    #[error("{place} carries {SLOTS} rules already")]
    KeyFull {
        /// The key, in words; it can be a destination within the rule's.
        place: String,
    },
    /// The lineage could not be had.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// The map refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LedgerError {
    /// What the plugin is told.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Owner { .. }
            | Self::Hook { .. }
            | Self::NoHook
            | Self::SeveralHooks
            | Self::Path(_)
            | Self::Prefix { .. }
            | Self::Protocol { .. } => Refusal::Invalid,
            Self::Unattached { .. } | Self::Digest { .. } => Refusal::Unsupported,
            Self::UnknownProcess { .. } | Self::Lineage(LineageError::Unknown { .. }) => {
                Refusal::UnknownProcess
            }
            Self::UnknownRule { .. } => Refusal::UnknownRule,
            Self::TooManyRules { .. } => Refusal::TooManyRules,
            Self::KeyFull { .. } | Self::Lineage(LineageError::Full { .. }) => Refusal::KeyFull,
            Self::Store(error) | Self::Lineage(LineageError::Store(error)) => match error {
                StoreError::Full { .. } => Refusal::MapFull,
                StoreError::Missing { .. }
                | StoreError::Slot { .. }
                | StoreError::Kernel { .. } => Refusal::Kernel,
            },
        }
    }
}

/// The hook of a mask that names one.
fn only(hooks: u128) -> Option<AbiHook> {
    let mut named = HOOKS.iter().map(|row| row.hook).filter(|hook| hooks & hook.bit() != 0);
    named.next().filter(|_| named.next().is_none())
}

impl<S: RuleStore> Ledger<S> {
    /// Checks what needs no map. Returns the hooks in the kernel contract's bits.
    pub(super) fn check(
        &self,
        spec: &RuleSpec,
        replaced: Option<u64>,
    ) -> Result<u128, LedgerError> {
        if spec.owner >= OWNERS {
            return Err(LedgerError::Owner { owner: spec.owner });
        }
        let kind = spec.key.kind();
        if let (KeyKind::Digest, Err(why)) = (kind, &self.digests) {
            return Err(LedgerError::Digest { why: why.clone() });
        }
        let mut hooks = 0;
        for hook in spec.hooks.iter() {
            let bit = applies(hook, kind).ok_or(LedgerError::Hook { hook })?.bit();
            if self.attached & bit == 0 {
                return Err(LedgerError::Unattached { hook });
            }
            hooks |= bit;
        }
        if hooks == 0 {
            return Err(LedgerError::NoHook);
        }
        let owned = self.owned.get(&spec.owner).copied().unwrap_or(0);
        if replaced.is_none() && owned >= spec.max_rules {
            return Err(LedgerError::TooManyRules { max: spec.max_rules });
        }
        Ok(hooks)
    }

    /// Finds the rule's key, and marks the lineages it names.
    pub(super) fn resolve(
        &mut self,
        spec: RuleSpec,
        hooks: u128,
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Result<Rule, LedgerError> {
        let place = match spec.key {
            RuleKey::Process(key) if (kinship.exists)(key) => Place::Process(abi(key)),
            RuleKey::Process(key) => return Err(LedgerError::UnknownProcess { tgid: key.tgid }),
            RuleKey::File(key) => Place::File(FileKey { ino: key.ino, dev: key.dev, pad: 0 }),
            RuleKey::Transport { protocol, .. } if !(1..=255).contains(&protocol) => {
                return Err(LedgerError::Protocol { protocol });
            }
            RuleKey::Network { address, prefix, port }
            | RuleKey::Transport { address, prefix, port, .. } => {
                Destination::new(address, prefix, port)
                    .map(Place::Network)
                    .ok_or(LedgerError::Prefix { prefix })?
            }
            RuleKey::Lineage(root) => Place::Lineage(self.lineage(root, now_boot_ns, kinship)?),
            RuleKey::Cgroup(id) => Place::Cgroup(id),
            RuleKey::Hook => Place::Hook(only(hooks).ok_or(LedgerError::SeveralHooks)?),
            RuleKey::Path { ref prefix, .. } => Place::Path(PathPrefix::new(prefix)?),
            RuleKey::Digest(digest) => Place::Digest(digest),
        };
        let subject_lineage = match spec.subject {
            Subject::Any => 0,
            Subject::Lineage(root) => {
                self.lineage(root, now_boot_ns, kinship).inspect_err(|_| {
                    if let Place::Lineage(id) = place {
                        self.release(vec![id], now_boot_ns);
                    }
                })?
            }
        };
        self.last_id += 1;
        let id = self.last_id;
        Ok(Rule { id, spec, place, subject_lineage, hooks, created_boot_ns: now_boot_ns })
    }

    /// The lineage of a root. Forks inherit before the first mark is set.
    fn lineage(
        &mut self,
        root: ProcessKey,
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Result<u64, LedgerError> {
        let (id, fresh) = self.lineages.acquire(root);
        if fresh {
            let marked = self
                .flags
                .write(&mut self.store, true)
                .map_err(LineageError::from)
                .and_then(|()| self.lineages.mark_all(&mut self.store, id, kinship));
            if let Err(error) = marked {
                self.release(vec![id], now_boot_ns);
                return Err(error.into());
            }
        }
        Ok(id)
    }

    /// Puts a rule into book, maps and flags, or into none. Returns the rule that it replaced.
    pub(super) fn commit(
        &mut self,
        rule: Rule,
        replaced: Option<u64>,
    ) -> Result<Option<Rule>, LedgerError> {
        let (id, hooks, bits) = (rule.id, rule.hooks, rule.needs());
        self.store.open_hits(id)?;
        let change = match self.book.change(Some(rule), replaced) {
            Ok(change) => change,
            Err(overfull) => {
                self.close_hits(id);
                return Err(LedgerError::KeyFull { place: overfull.0.to_string() });
            }
        };
        if let Err(error) = self.book.write(&mut self.store, &change, WhenFull::Fail) {
            self.book.revert(change);
            self.close_hits(id);
            return Err(error.into());
        }
        // Bits of the replaced rule are cleared when it is concluded.
        self.flags.add(hooks, bits);
        if let Err(error) = self.flags.write(&mut self.store, self.lineages.is_live()) {
            self.flags.remove(hooks, bits);
            self.book.unwrite(&mut self.store, &change);
            self.book.revert(change);
            self.close_hits(id);
            return Err(error.into());
        }
        Ok(change.ended)
    }
}
