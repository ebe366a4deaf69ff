//! One rule into force, or not at all: checks, lineages, book, maps, flags, in this order.

use krsi_host_abi::deny::Mode;
use krsi_host_abi::hook::Hook as AbiHook;
use krsi_plugin_schema::latest::{Hook, KeyKind, ProcessKey, RuleKey, Subject};

use super::Ledger;
use super::book::{BookChange, WhenFull};
use super::error::LedgerError;
use super::identity::{Anchor, RuleIdentity};
use super::lineage::{Kinship, LineageError, LineageHold};
use super::place::Place;
use super::rule::{Rule, RuleSpec, applies};
use super::share::OWNER_SLOTS;
use crate::kernel::map::store::RuleStore;

/// Slots of plugins; the one after is the administrator's.
const OWNERS: u8 = 63;

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
