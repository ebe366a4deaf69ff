//! The only owner of leases: which rule is whose, why it exists, until when, and what the maps hold.
//!
//! A rule is in force when its lease is in the maps and the flags words of its hooks say so; flags
//! are set after the entry and cleared after its removal. A refused rule changes nothing, and the
//! rule it was to replace stays.

mod book;
mod commit;
mod error;
mod flags;
mod identity;
mod label;
mod label_book;
mod label_names;
mod labelled;
mod lineage;
pub(crate) mod memory;
mod meter;
mod network;
mod place;
mod regrant;
mod renew;
mod rule;
mod share;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use krsi_host_abi::deny::{Bounds, Lease, flag};
use krsi_host_abi::hook::Hook as AbiHook;
use krsi_plugin_schema::latest::ProcessKey;

use self::book::{Book, WhenFull};
use self::error::NoProgram;
use self::flags::FlagWords;
use self::identity::RuleIdentity;
use self::label_book::LabelBook;
use self::label_names::PublishedNames;
use self::lineage::{Lineages, abi};
use self::meter::MeteredStore;
use self::place::Place;
use self::rule::Rule;
use crate::kernel::map::store::{RuleStore, StoreError};

pub(crate) use self::error::{LedgerError, NoDigests};
pub(crate) use self::label_book::{KEPT, LabelError, LabelView, NO_ROOM, Undeclared};
pub(crate) use self::label_names::{LabelNames, PublishedNames as PublishedLabelNames};
pub use self::lineage::Kinship;
pub(crate) use self::regrant::{GrantVerdict, Regranted};
pub(crate) use self::renew::MadeRule;
pub use self::rule::looked_up;
pub(crate) use self::rule::{Ending, RuleSpec, RuleView};

/// Ended rules of a plugin that can still be explained: a denial's record can arrive after its rule's end.
const ENDED_MAX: usize = 256;
/// Rules that are cleared away at a time, so that nobody waits long for the ledger.
const SWEEP_MAX: usize = 256;
/// When a removal that the kernel refused is tried again.
const RETRY_NS: u64 = 1_000_000_000;

/// The rules of all plugins and the maps that enforce them.
#[derive(Debug)]
pub struct Ledger<S> {
    store: MeteredStore<S>,
    /// Hooks that are attached, in the kernel contract's bits.
    attached: u128,
    /// Whether executables are hashed, or why not.
    digests: Result<(), NoDigests>,
    last_id: u64,
    book: Book,
    lineages: Lineages,
    flags: FlagWords,
    labels: LabelBook,
    label_names: PublishedNames,
    by_token: HashMap<(u8, u32), u64>,
    /// What makes each rule the same as one that is made again.
    identities: HashMap<RuleIdentity, u64>,
    /// Rules by owner.
    owned: HashMap<u8, usize>,
    /// Ends of rules, by time. A rule that ended otherwise leaves its line behind.
    ends: BTreeMap<(u64, u64), Ending>,
    /// Rules of each plugin that ended last, oldest first.
    ended: HashMap<u8, VecDeque<RuleView>>,
    /// Rules that ended by themselves since the last [`Ledger::expire`].
    unreported: Vec<RuleView>,
}

impl<S: RuleStore> Ledger<S> {
    /// An empty ledger over empty maps. Rules on hooks that are not `attached` are refused.
    pub fn new(store: S, attached: impl IntoIterator<Item = AbiHook>) -> Self {
        Self {
            store: MeteredStore::new(store),
            attached: attached.into_iter().fold(0, |bits, hook| bits | hook.bit()),
            digests: Err(Arc::new(NoProgram)),
            last_id: 0,
            book: Book::default(),
            lineages: Lineages::default(),
            flags: FlagWords::default(),
            labels: LabelBook::default(),
            label_names: PublishedNames::default(),
            by_token: HashMap::new(),
            identities: HashMap::new(),
            owned: HashMap::new(),
            ends: BTreeMap::new(),
            ended: HashMap::new(),
            unreported: Vec::new(),
        }
    }

    /// Has a lease answer calls of a hook whose object cannot be read, before any rule that applies to
    /// them, for as long as the host runs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn answer_errors(&mut self, hook: AbiHook, lease: Lease) -> Result<(), StoreError> {
        self.book.stand(&mut self.store, Place::Unread(hook), lease)?;
        self.flags.add(hook.bit(), flag::ERROR_RULE);
        self.write_flags()
    }

    /// Has the rules of an owner concern nobody but whom the operator says, from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bound(&mut self, owner: u8, to: Bounds) -> Result<(), StoreError> {
        self.store.bound(owner, to)
    }

    /// Puts a rule in force, in place of the plugin's rule with the same token. The same rule made again,
    /// whatever its token, is renewed: it has the later end of both, and both tokens are answered.
    ///
    /// # Errors
    /// When it cannot be in force; then nothing has changed.
    pub fn add(
        &mut self,
        spec: RuleSpec,
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Result<MadeRule, LedgerError> {
        self.sweep(now_boot_ns);
        let (at, max) = ((spec.owner, spec.token), spec.max_rules);
        let hooks = self.check(&spec)?;
        let identity = RuleIdentity::of(&spec, hooks)?;
        if let Some(id) = self.identities.get(&identity).copied() {
            return self.renew(id, spec, now_boot_ns, kinship);
        }
        let replaced = self.by_token.get(&at).copied();
        if replaced.is_none() && self.owned(at.0) >= max {
            return Err(LedgerError::TooManyRules { max });
        }
        let named = (self.last_id + 1, vec![at.1]);
        let rule = self.resolve(named, spec, (&identity, hooks), now_boot_ns, kinship)?;
        self.last_id += 1;
        let labelled = rule.labels_at_exec();
        let (id, expires, held) = (rule.id, rule.spec.expires_boot_ns, rule.lineages().collect());
        let ended = match self.commit(rule, replaced) {
            Ok(ended) => ended,
            Err(error) => {
                self.release(at.0, held, now_boot_ns);
                return Err(error);
            }
        };
        self.by_token.insert(at, id);
        self.identities.insert(identity, id);
        *self.owned.entry(at.0).or_default() += 1;
        if expires != 0 {
            self.ends.insert((expires, id), Ending::Expired);
        }
        if let Some(rule) = ended {
            self.conclude(&rule, Ending::Replaced, now_boot_ns);
        }
        if let Some((bit, key)) = labelled {
            self.label_running(bit, &key, kinship);
        }
        Ok(MadeRule { rule_id: id, renewed: false })
    }

    /// Ends a rule by its plugin's own name for it.
    ///
    /// # Errors
    /// When there is none, or the kernel refuses; the rule is then still in force.
    pub fn revoke(
        &mut self,
        owner: u8,
        token: u32,
        now_boot_ns: u64,
    ) -> Result<RuleView, LedgerError> {
        let id = self.by_token.get(&(owner, token)).copied();
        let ended = id.map(|id| self.end(id, Ending::Revoked, now_boot_ns)).transpose()?;
        ended.flatten().ok_or(LedgerError::UnknownRule { token })
    }

    /// Ends a rule as its plugin ends. If the kernel refuses to remove it, [`Ledger::expire`] tries again.
    pub fn withdraw_one(&mut self, id: u64, now_boot_ns: u64) -> Option<RuleView> {
        self.try_end(id, Ending::Withdrawn, now_boot_ns)
    }

    /// Updates of maps so far.
    #[must_use]
    pub const fn writes(&self) -> u64 {
        self.store.writes()
    }

    /// Allows rules on a hook that has been attached since, or no more on one that has not.
    pub fn set_attached(&mut self, hooks: impl IntoIterator<Item = AbiHook>) {
        self.attached = hooks.into_iter().fold(0, |bits, hook| bits | hook.bit());
    }

    /// Allows rules on digests, or says why there can be none.
    pub fn set_digests(&mut self, digests: Result<(), NoDigests>) {
        self.digests = digests;
    }

    /// Clears away what has ended by itself: rules whose time is over, which the kernel has not
    /// obeyed since, and those of processes that exited. To be called every second or so, and again while
    /// something [is overdue](Ledger::is_overdue).
    pub fn expire(&mut self, now_boot_ns: u64) -> Vec<RuleView> {
        self.sweep(now_boot_ns);
        self.lineages.fade(now_boot_ns);
        self.drain_labels();
        std::mem::take(&mut self.unreported)
    }

    /// Whether a rule's time is over that was not cleared away.
    #[must_use]
    pub fn is_overdue(&self, now_boot_ns: u64) -> bool {
        self.ends.first_key_value().is_some_and(|((at, _), _)| *at <= now_boot_ns)
    }

    /// A rule, in force or among the last that ended.
    #[must_use]
    pub fn explain(&self, rule_id: u64) -> Option<RuleView> {
        match self.book.get(rule_id) {
            Some(rule) => Some(rule.view(self.hits(rule_id), None)),
            None => {
                let mut ended = self.ended.values().flatten();
                ended.find(|view| view.rule_id == rule_id).cloned()
            }
        }
    }

    /// How many rules of a plugin are in force.
    #[must_use]
    pub fn owned(&self, owner: u8) -> usize {
        self.owned.get(&owner).copied().unwrap_or(0)
    }

    /// Shows the rules of a plugin that are in force, but for the one with a token.
    pub(crate) fn own_rules(&self, (owner, but): (u8, u32), see: &mut dyn FnMut(&RuleSpec)) {
        let own = self.book.iter().map(|rule| &rule.spec);
        own.filter(|spec| spec.owner == owner && spec.token != but).for_each(see);
    }

    /// Every rule in force, in the order of ids.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleView> {
        self.book.iter().map(|rule| rule.view(self.hits(rule.id), None)).collect()
    }

    /// Follows a fork: to be called for every `joined` of an observation, before any rule is made
    /// from it.
    pub fn on_fork(&mut self, parent: ProcessKey, child: ProcessKey) {
        if let Err(error) = self.lineages.fork(&mut self.store, parent, child) {
            tracing::warn!(tgid = child.tgid, %error, "a child did not inherit its lineages");
        }
    }

    /// Follows an exit: forgets marks, and ends rules on that one process.
    pub fn on_exit(&mut self, gone: ProcessKey, now_boot_ns: u64) {
        self.lineages.exit(&mut self.store, gone);
        self.unlabel_gone(gone);
        for id in self.book.at(Place::Process(abi(gone))) {
            let ended = self.try_end(id, Ending::Exited, now_boot_ns);
            self.unreported.extend(ended);
        }
    }

    fn sweep(&mut self, now_boot_ns: u64) {
        self.book.repair(&mut self.store);
        for _ in 0..SWEEP_MAX {
            let first = self.ends.first_key_value().map(|(at, ending)| (*at, *ending));
            let Some(((at, id), ending)) = first.filter(|((at, _), _)| *at <= now_boot_ns) else {
                return;
            };
            self.ends.remove(&(at, id));
            let ended = self.try_end(id, ending, now_boot_ns);
            self.unreported.extend(ended);
        }
    }

    /// Ends a rule, later if the kernel refuses now.
    fn try_end(&mut self, id: u64, ending: Ending, now_boot_ns: u64) -> Option<RuleView> {
        self.end(id, ending, now_boot_ns).unwrap_or_else(|error| {
            tracing::warn!(rule_id = id, %error, "a rule could not be removed yet");
            self.ends.insert((now_boot_ns.saturating_add(RETRY_NS), id), ending);
            None
        })
    }

    fn end(
        &mut self,
        id: u64,
        ending: Ending,
        now_boot_ns: u64,
    ) -> Result<Option<RuleView>, StoreError> {
        // Taking a rule out makes no key overfull.
        let Ok(mut change) = self.book.change(None, Some(id)) else { return Ok(None) };
        if let Err(error) = self.book.write(&mut self.store, &change, WhenFull::Reinsert) {
            self.book.revert(change);
            return Err(error);
        }
        let rule = change.ended.take();
        Ok(rule.map(|rule| self.conclude(&rule, ending, now_boot_ns)))
    }

    /// Clears up after a rule that is out of the maps.
    fn conclude(&mut self, rule: &Rule, ending: Ending, now_boot_ns: u64) -> RuleView {
        let view = rule.view(self.hits(rule.id), Some(ending));
        self.close_hits(rule.id);
        let owner = rule.spec.owner;
        for token in &rule.tokens {
            if self.by_token.get(&(owner, *token)) == Some(&rule.id) {
                self.by_token.remove(&(owner, *token));
            }
        }
        if let Ok(identity) = RuleIdentity::of(&rule.spec, rule.hooks)
            && self.identities.get(&identity) == Some(&rule.id)
        {
            self.identities.remove(&identity);
        }
        if let Some(owned) = self.owned.get_mut(&owner) {
            *owned = owned.saturating_sub(1);
        }
        self.ends.remove(&(rule.spec.expires_boot_ns, rule.id));
        self.flags.remove(rule.hooks, rule.needs());
        self.release(owner, rule.lineages().collect(), now_boot_ns);
        let ended = self.ended.entry(owner).or_default();
        if ended.len() >= ENDED_MAX {
            ended.pop_front();
        }
        ended.push_back(view.clone());
        view
    }

    /// Lets go of lineages and clears flags that nothing needs any more.
    fn release(&mut self, owner: u8, lineages: Vec<u64>, now_boot_ns: u64) {
        for id in lineages {
            self.lineages.release(&mut self.store, (id, owner), now_boot_ns);
        }
        if let Err(error) = self.write_flags() {
            tracing::warn!(%error, "a flag that nothing needs is still set");
        }
    }

    fn hits(&self, rule_id: u64) -> u64 {
        self.store.hits(rule_id).unwrap_or(0)
    }

    fn close_hits(&mut self, rule_id: u64) {
        if let Err(error) = self.store.close_hits(rule_id) {
            tracing::warn!(rule_id, %error, "hits of an ended rule are still counted");
        }
    }
}

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
