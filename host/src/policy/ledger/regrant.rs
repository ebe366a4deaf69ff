//! What another grant of the operator's makes of rules in force: each stays, changes, or ends.

use krsi_host_abi::deny::Mode;
use krsi_plugin_schema::latest::Refusal;

use super::identity::RuleIdentity;
use super::rule::{Ending, RuleSpec, RuleView};
use super::{Kinship, Ledger, LedgerError};
use crate::kernel::map::store::RuleStore;

/// What a grant says of a rule in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantVerdict {
    /// The rule is granted, to do no more than this mode.
    Granted(Mode),
    /// The rule is not granted any more, for this reason.
    Refused(Refusal, String),
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regranted {
    /// The rule does something else than before.
    Changed(RuleView),
    /// The rule ended; its plugin is told this reason.
    Ended(RuleView, Refusal, String),
}

impl<S: RuleStore> Ledger<S> {
    /// Ids of a plugin's rules.
    #[must_use]
    pub fn ids_of(&self, owner: u8) -> Vec<u64> {
        self.book.iter().filter(|rule| rule.spec.owner == owner).map(|rule| rule.id).collect()
    }

    /// What a rule in force was made of.
    #[must_use]
    pub fn spec(&self, id: u64) -> Option<&RuleSpec> {
        self.book.get(id).map(|rule| &rule.spec)
    }

    /// Checks a rule in force against a grant. A rule that cannot be in force as it is granted now, for want of
    /// room, ends and says why.
    pub fn regrant(
        &mut self,
        id: u64,
        verdict: GrantVerdict,
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Option<Regranted> {
        let (refusal, why) = match verdict {
            GrantVerdict::Granted(mode) if self.spec(id)?.mode == mode => return None,
            GrantVerdict::Granted(mode) => match self.remake(id, mode, now_boot_ns, kinship) {
                Ok(()) => return self.explain(id).map(Regranted::Changed),
                Err(error) => (error.refusal(), error.to_string()),
            },
            GrantVerdict::Refused(refusal, why) => (refusal, why),
        };
        let ended = self.try_end(id, Ending::Ungranted, now_boot_ns)?;
        Some(Regranted::Ended(ended, refusal, why))
    }

    /// Makes a rule do something else.
    fn remake(
        &mut self,
        id: u64,
        mode: Mode,
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Result<(), LedgerError> {
        let Some(before) = self.book.get(id).cloned() else { return Ok(()) };
        let (spec, hooks) = (RuleSpec { mode, ..before.spec }, before.hooks);
        let (owner, identity) = (spec.owner, RuleIdentity::of(&spec, hooks)?);
        let named = (id, before.tokens);
        let mut rule = self.resolve(named, spec, (&identity, hooks), now_boot_ns, kinship)?;
        rule.created_boot_ns = before.created_boot_ns;
        let held = rule.lineages().collect();
        match self.commit(rule, Some(id)) {
            Ok(Some(before)) => {
                self.flags.remove(before.hooks, before.needs());
                self.release(owner, before.lineages().collect(), now_boot_ns);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                self.release(owner, held, now_boot_ns);
                Err(error)
            }
        }
    }
}
