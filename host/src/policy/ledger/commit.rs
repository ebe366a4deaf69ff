//! One rule into force, or not at all: checks, lineages, book, maps, flags, in this order.

use std::error::Error;
use std::sync::Arc;

use krsi_host_abi::deny::{Mode, SLOTS};
use krsi_host_abi::hook::Hook as AbiHook;
use krsi_plugin_schema::latest::{Hook, KeyKind, ProcessKey, Refusal, RuleKey, Subject};

use super::Ledger;
use super::book::{BookChange, WhenFull};
use super::identity::{Anchor, RuleIdentity};
use super::label_book::LabelError;
use super::lineage::{Kinship, LineageError, LineageHold};
use super::place::Place;
use super::rule::{Rule, RuleSpec, applies};
use super::share::OWNER_SLOTS;
use crate::kernel::map::prefix::PrefixError;
use crate::kernel::map::store::{RuleStore, StoreError};

/// Slots of plugins; the one after is the administrator's.
const OWNERS: u8 = 63;

/// Why there can be no rules on digests: what attaches the program that has executables hashed says it.
pub(crate) type NoDigests = Arc<dyn Error + Send + Sync>;

/// Why there are no rules on digests before anything is attached.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no program that hashes executables is attached")]
pub(super) struct NoProgram;

/// Why a rule is not in force, or still is.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not a plugin's slot.
    #[error("owner slot {owner} is no plugin's")]
    Owner { owner: u8 },
    /// A hook that does not look up that kind of key.
    #[error("{hook} does not look up keys of that kind", hook = hook.name())]
    Hook {
        /// The hook that the rule names.
        hook: Hook,
    },
    /// Digests, which this kernel does not tell.
    #[error("rules on digests cannot be enforced here: {why}")]
    Digest {
        /// Why there are no rules on digests.
        why: NoDigests,
    },
    /// No path starts so.
    #[error(transparent)]
    Path(#[from] PrefixError),
    /// A rule of a whole hook that names several.
    #[error("a rule of a whole hook names one hook")]
    SeveralHooks,
    #[error("the rule names no hook")]
    NoHook,
    /// A hook that is not attached.
    #[error("{hook} is not attached on this kernel", hook = hook.name())]
    Unattached {
        /// The hook that the rule names.
        hook: Hook,
    },
    /// A prefix that is longer than the address.
    #[error("a prefix of {prefix} bits is longer than the address")]
    Prefix { prefix: u8 },
    /// A protocol that no socket has by which a rule could know it.
    #[error("{protocol} is no protocol: 1 to 255 are (IPPROTO_*)")]
    Protocol { protocol: u16 },
    /// No process with this id runs.
    #[error("process {tgid} is not running")]
    UnknownProcess { tgid: u32 },
    /// The plugin has no rule with this token.
    #[error("no rule has token {token}")]
    UnknownRule { token: u32 },
    /// The plugin has as many rules as it may.
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
    /// What one plugin may take of a key's slots.
    #[error(
        "{place} carries {OWNER_SLOTS} rules of this plugin and the operator already: others need the rest of {SLOTS}"
    )]
    SlotShare {
        /// The key, in words; it can be one within the rule's.
        place: String,
    },
    /// What one plugin may take of a map.
    #[error("{share} keys of the {map} map are this plugin's already: others need the rest")]
    MapShare {
        /// Name of the map.
        map: &'static str,
        /// Keys that it may have.
        share: usize,
    },
    /// A label that the plugin does not have.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A hook at which no label is given.
    #[error("{hook} gives no labels: a rule on bprm_check_security gives an exec's", hook = hook.name())]
    LabelHook {
        /// Hook that the rule names.
        hook: Hook,
    },
    /// A key that gives no label.
    #[error("rules on digests give no labels: rules on files and paths do")]
    LabelDigest,
    /// The lineage could not be had.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// A deny map refused the update.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LedgerError {
    /// The refusal that the plugin gets.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Owner { .. }
            | Self::Hook { .. }
            | Self::NoHook
            | Self::SeveralHooks
            | Self::Path(_)
            | Self::Label(
                LabelError::Undeclared { .. }
                | LabelError::Absent { .. }
                | LabelError::Foreign { .. }
                | LabelError::NoTable { .. }
                | LabelError::Host,
            )
            | Self::LabelHook { .. }
            | Self::Prefix { .. }
            | Self::Protocol { .. } => Refusal::Invalid,
            Self::Unattached { .. } | Self::Digest { .. } | Self::LabelDigest => {
                Refusal::Unsupported
            }
            Self::UnknownProcess { .. } | Self::Lineage(LineageError::Unknown { .. }) => {
                Refusal::UnknownProcess
            }
            Self::UnknownRule { .. } => Refusal::UnknownRule,
            Self::TooManyRules { .. }
            | Self::MapShare { .. }
            | Self::Label(LabelError::NoneFree) => Refusal::TooManyRules,
            Self::KeyFull { .. }
            | Self::SlotShare { .. }
            | Self::Lineage(LineageError::Full { .. } | LineageError::Share { .. }) => {
                Refusal::KeyFull
            }
            Self::Store(error) | Self::Lineage(LineageError::Store(error)) => match error {
                StoreError::Full { .. } => Refusal::MapFull,
                StoreError::Missing { .. }
                | StoreError::Slot { .. }
                | StoreError::Kernel { .. } => Refusal::Kernel,
            },
        }
    }
}

impl<S: RuleStore> Ledger<S> {
    /// Checks what needs no map. Returns the hooks in the kernel contract's bits.
    pub(super) fn check(&self, spec: &RuleSpec) -> Result<u128, LedgerError> {
        if spec.owner >= OWNERS {
            return Err(LedgerError::Owner { owner: spec.owner });
        }
        let kind = spec.key.kind();
        if let (KeyKind::Digest, Err(why)) = (kind, &self.digests) {
            return Err(LedgerError::Digest { why: why.clone() });
        }
        if spec.gives.is_some() && kind == KeyKind::Digest {
            return Err(LedgerError::LabelDigest);
        }
        let mut hooks = 0;
        for hook in spec.hooks.iter() {
            let bit = applies(hook, kind).ok_or(LedgerError::Hook { hook })?.bit();
            let is_exec = hook.name().starts_with("bprm_") && hook != Hook::BprmCheckSecurity;
            if spec.gives.is_some() && is_exec {
                return Err(LedgerError::LabelHook { hook });
            }
            if self.attached & bit == 0 {
                return Err(LedgerError::Unattached { hook });
            }
            // What a failed exec would have given is forgotten where the next one begins.
            let begins = AbiHook::BprmCredsForExec.bit();
            let waits = spec.gives.is_some() && hook == Hook::BprmCheckSecurity;
            if waits && self.attached & begins == 0 {
                return Err(LedgerError::Unattached { hook: Hook::BprmCredsForExec });
            }
            hooks |= bit;
        }
        if hooks == 0 {
            return Err(LedgerError::NoHook);
        }
        Ok(hooks)
    }

    /// Marks the lineages that a rule names; what it becomes, under an id and with its plugin's names for it.
    pub(super) fn resolve(
        &mut self,
        (id, tokens): (u64, Vec<u32>),
        spec: RuleSpec,
        (identity, hooks): (&RuleIdentity, u128),
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Result<Rule, LedgerError> {
        if let RuleKey::Process(key) = spec.key
            && !(kinship.exists)(key)
        {
            return Err(LedgerError::UnknownProcess { tgid: key.tgid });
        }
        let labels = self.labels.bits(&spec.plugin, &spec.labels, spec.gives.as_deref())?;
        // A rule that is off takes no mark.
        let mark = |ledger: &mut Self, root| match spec.mode {
            Mode::Off => Ok(0),
            Mode::Enforce | Mode::Audit | Mode::Allow | Mode::Label => {
                ledger.lineage(root, spec.owner, now_boot_ns, kinship)
            }
        };
        let place = match identity.anchor {
            Anchor::Place(place) => place,
            Anchor::Lineage(root) => Place::Lineage(mark(self, root)?),
        };
        let subject_lineage = match spec.subject {
            Subject::Any => 0,
            Subject::Lineage(root) => mark(self, root).inspect_err(|_| {
                if let Place::Lineage(id) = place {
                    self.release(spec.owner, vec![id], now_boot_ns);
                }
            })?,
        };
        let created_boot_ns = now_boot_ns;
        Ok(Rule { id, spec, tokens, place, subject_lineage, labels, hooks, created_boot_ns })
    }

    /// The lineage of a root. Forks inherit before the first mark is set.
    fn lineage(
        &mut self,
        root: ProcessKey,
        owner: u8,
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Result<u64, LedgerError> {
        let (id, held) = self.lineages.acquire(root, owner);
        let marked = match held {
            LineageHold::First => self
                .write_flags()
                .map_err(LineageError::from)
                .and_then(|()| self.lineages.mark_all(&mut self.store, id, owner, kinship)),
            LineageHold::ByOneMore => self.lineages.check_share(&self.store, id, owner, kinship),
            LineageHold::Again => Ok(()),
        };
        match marked {
            Ok(()) => Ok(id),
            Err(error) => {
                self.release(owner, vec![id], now_boot_ns);
                Err(error.into())
            }
        }
    }

    /// Puts a rule into book, maps and flags, or into none. Returns the rule that it replaced, which can be
    /// an earlier form of itself.
    pub(super) fn commit(
        &mut self,
        rule: Rule,
        replaced: Option<u64>,
    ) -> Result<Option<Rule>, LedgerError> {
        let (id, hooks, bits) = (rule.id, rule.hooks, rule.needs());
        let is_counted = |rule: &Rule| rule.id == id && !rule.is_off();
        let opens = !rule.is_off() && !self.book.get(id).is_some_and(is_counted);
        if opens {
            self.store.open_hits(id)?;
        }
        let change = match self.change(rule, replaced) {
            Ok(change) => change,
            Err(error) => {
                self.uncount(id, opens);
                return Err(error);
            }
        };
        if let Err(error) = self.book.write(&mut self.store, &change, WhenFull::Fail) {
            self.book.revert(change);
            self.uncount(id, opens);
            return Err(error.into());
        }
        // Bits of the replaced rule are cleared when it is concluded.
        self.flags.add(hooks, bits);
        if let Err(error) = self.write_flags() {
            self.flags.remove(hooks, bits);
            self.book.unwrite(&mut self.store, &change);
            self.book.revert(change);
            self.uncount(id, opens);
            return Err(error.into());
        }
        Ok(change.ended)
    }

    /// Puts a rule into the book, within its plugin's shares.
    fn change(&mut self, rule: Rule, replaced: Option<u64>) -> Result<BookChange, LedgerError> {
        let (owner, places) = (rule.spec.owner, rule.places());
        let holds = |ledger: &Self, place| ledger.book.held().of(owner, place);
        let before: Vec<usize> = places.iter().map(|place| holds(self, *place)).collect();
        let change = self.book.change(Some(rule), replaced);
        let change =
            change.map_err(|overfull| LedgerError::KeyFull { place: overfull.0.to_string() })?;
        let beyond = self.book.beyond(&change, owner, OWNER_SLOTS);
        let mut refused = beyond.map(|place| LedgerError::SlotShare { place: place.to_string() });
        for (place, before) in places.into_iter().zip(before) {
            let Some((map, room)) = self.store.capacity(place.key()) else { continue };
            let (held, share) = (holds(self, place), self.book.held().share(owner, place, room));
            if held > before && held > share {
                refused = refused.or(Some(LedgerError::MapShare { map, share }));
            }
        }
        match refused {
            None => Ok(change),
            Some(error) => {
                self.book.revert(change);
                Err(error)
            }
        }
    }

    fn uncount(&mut self, rule_id: u64, opened: bool) {
        if opened {
            self.close_hits(rule_id);
        }
    }
}
