//! A rule that its plugin makes again is the same rule, with the later end: a renewal takes no further slot.

use std::collections::HashSet;

use krsi_plugin_schema::latest::{INIT_TOKEN, RuleKey};

use super::book::WhenFull;
use super::rule::{Ending, RuleSpec};
use super::{Kinship, Ledger, LedgerError};
use crate::kernel::map::store::RuleStore;

/// A rule that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeRule {
    pub rule_id: u64,
    /// Whether it was in force before, and was made again.
    pub renewed: bool,
}

/// The later of two ends, of which 0 is never.
fn later(one: u64, other: u64) -> u64 {
    if one == 0 || other == 0 { 0 } else { one.max(other) }
}

impl<S: RuleStore> Ledger<S> {
    /// Lets a rule live as long as its plugin wants it to live now, under one more token.
    pub(super) fn renew(
        &mut self,
        id: u64,
        spec: RuleSpec,
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Result<MadeRule, LedgerError> {
        if let RuleKey::Process(key) = spec.key
            && !(kinship.exists)(key)
        {
            return Err(LedgerError::UnknownProcess { tgid: key.tgid });
        }
        let at = (spec.owner, spec.token);
        let named = self.by_token.get(&at).copied();
        let Some(mut rule) = self.book.get(id).cloned() else {
            return Err(LedgerError::UnknownRule { token: spec.token });
        };
        let before = rule.spec.expires_boot_ns;
        let until = later(before, spec.expires_boot_ns);
        rule.spec.expires_boot_ns = until;
        (rule.spec.token, rule.spec.reason) = (spec.token, spec.reason);
        let forgotten = rule.name(spec.token);
        // The same keys with the same number of rules: none is overfull.
        let Ok(change) = self.book.change(Some(rule), Some(id)) else {
            return Err(LedgerError::UnknownRule { token: spec.token });
        };
        if let Err(error) = self.book.write(&mut self.store, &change, WhenFull::Fail) {
            self.book.revert(change);
            return Err(error.into());
        }
        self.ends.remove(&(before, id));
        if until != 0 {
            self.ends.insert((until, id), Ending::Expired);
        }
        self.by_token.insert(at, id);
        if let Some(token) = forgotten {
            self.by_token.remove(&(spec.owner, token));
        }
        // The token was another rule's, in whose place this one is.
        if let Some(other) = named.filter(|other| *other != id) {
            self.try_end(other, Ending::Replaced, now_boot_ns);
        }
        Ok(MadeRule { rule_id: id, renewed: true })
    }

    /// Ends a rule of its plugin's `init` of whose tokens none is in `stay`.
    pub fn withdraw_init(&mut self, id: u64, stay: &HashSet<u32>, now_boot_ns: u64) {
        let gone = |token: &u32| *token >= INIT_TOKEN && !stay.contains(token);
        let Some(rule) = self.book.get_mut(id) else { return };
        if rule.tokens.iter().all(gone) {
            self.try_end(id, Ending::Replaced, now_boot_ns);
            return;
        }
        let owner = rule.spec.owner;
        for token in rule.tokens.extract_if(.., |token| gone(token)) {
            self.by_token.remove(&(owner, token));
        }
    }
}
