//! The labels of all plugins: whose each of the kernel's 64 is, and what becomes of it.
//!
//! A label keeps its number as long as its plugin declares it, over reloads and restarts of the plugin. When no
//! version declares it any more it stays until no rule or watch names it; then it is taken from every process, and
//! its number is free.

use std::collections::HashSet;
use std::sync::Arc;

use krsi_plugin_schema::latest::{Label, ProcessKey, RuleKey, SetLabel};

use super::flags::Followed;
use super::label_book::{HOST, LabelBook, LabelError, LabelView, Undeclared};
use super::label_names::PublishedNames;
use super::lineage::abi;
use super::{Kinship, Ledger, LedgerError};
use crate::kernel::map::store::{RuleStore, StoreError};

/// Passes over all processes in which a label is given or taken: a child can come of each one while it runs.
const PASSES: usize = 8;
/// Updates of maps that a look at all processes counts as, in what a call of a plugin may cost.
const LOOK_WRITES: u64 = 128;

impl<S: RuleStore> Ledger<S> {
    /// Has a plugin own the labels that its running version declares, and those of an earlier one that rules name.
    ///
    /// # Errors
    /// When no label is free or the kernel refuses; then nothing has changed.
    pub(crate) fn declare_labels(
        &mut self,
        plugin: &Arc<str>,
        wanted: &[Label],
        others: Undeclared,
    ) -> Result<(), LedgerError> {
        // Those of this name are the administrator's.
        if &**plugin == HOST {
            return if wanted.is_empty() { Ok(()) } else { Err(LabelError::Host.into()) };
        }
        if wanted.is_empty() && !self.labels.has_some(plugin) {
            return Ok(());
        }
        self.declare(plugin, wanted, others)
    }

    /// Declares the administrator's labels.
    ///
    /// # Errors
    /// When there are too many or the kernel refuses.
    pub(crate) fn declare_own_labels(&mut self, wanted: &[Label]) -> Result<(), LedgerError> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.declare(&HOST.into(), wanted, Undeclared::Stay)
    }

    fn declare(
        &mut self,
        plugin: &Arc<str>,
        wanted: &[Label],
        others: Undeclared,
    ) -> Result<(), LedgerError> {
        let before = self.labels.clone();
        self.labels.declare(plugin, wanted, others)?;
        self.write_labels(before)
    }

    /// That a plugin can have the labels that it declares.
    ///
    /// # Errors
    /// When too few are free, or they would be the administrator's.
    pub(crate) fn check_labels(&self, plugin: &str, wanted: &[Label]) -> Result<(), LabelError> {
        if plugin == HOST && !wanted.is_empty() {
            return Err(LabelError::Host);
        }
        self.labels.check(plugin, wanted)
    }

    /// Keeps numbers for the labels of a version that is about to run, so that its watches can name them, until
    /// it declares them or [`Self::unreserve_labels`] is called.
    ///
    /// # Errors
    /// When a plugin cannot have them, or the kernel refuses; then nothing has changed.
    pub(crate) fn reserve_labels(
        &mut self,
        plugin: &str,
        wanted: &[Label],
    ) -> Result<(), LedgerError> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.check_labels(plugin, wanted)?;
        let before = self.labels.clone();
        self.labels.reserve(&plugin.into(), wanted)?;
        self.write_labels(before)
    }

    /// A version does not run, or has declared its labels.
    pub(crate) fn unreserve_labels(&mut self, plugin: &str) {
        self.labels.unreserve(plugin);
    }

    /// The number of a label that a watch of a plugin names, or of the administrator's: he names any, a plugin its own.
    ///
    /// # Errors
    /// When it is not the plugin's, or nothing that runs declares it.
    pub(crate) fn named_label(&self, plugin: Option<&str>, label: &str) -> Result<u8, LabelError> {
        self.labels.named(plugin, label)
    }

    /// Keeps the numbers of labels that watches name, given as bits, for as long as these have a program.
    pub(crate) fn hold_labels(&mut self, bits: u64) {
        self.labels.watched = bits;
    }

    /// Labels whose numbers are kept for watches, as bits.
    pub(crate) fn held_labels(&self) -> u64 {
        self.labels.watched
    }

    /// Writes what holds of labels and who is followed, or goes back to what held before.
    fn write_labels(&mut self, before: LabelBook) -> Result<(), LedgerError> {
        let written = self.store.set_label_rules(self.labels.rules());
        if let Err(error) = written.and_then(|()| self.write_flags()) {
            self.labels = before;
            return Err(error.into());
        }
        self.label_names.publish(&self.labels.views());
        Ok(())
    }

    /// Names of the labels in use, which can be read without the ledger.
    pub(crate) fn published_labels(&self) -> PublishedNames {
        self.label_names.clone()
    }

    /// Gives a process a label of a plugin's, or takes it away.
    ///
    /// # Errors
    /// When the plugin has no such label, there is no such process, or there is no room.
    pub(crate) fn set_label(
        &mut self,
        plugin: &str,
        set: &SetLabel<'_>,
        kinship: Kinship<'_>,
    ) -> Result<(), LedgerError> {
        let bit = 1 << self.labels.of(plugin, &set.label)?;
        let (gives, takes) = if set.gives { (bit, 0) } else { (0, bit) };
        let exists = (kinship.exists)(set.process);
        if !set.descendants {
            if !exists {
                return Err(LedgerError::UnknownProcess { tgid: set.process.tgid });
            }
            return Ok(self.store.set_labels(abi(set.process), gives, takes)?);
        }
        let mut done = HashSet::new();
        for _ in 0..PASSES {
            let root = Some(set.process).filter(|_| exists);
            let all = (kinship.descendants)(set.process).into_iter().chain(root);
            let fresh: Vec<ProcessKey> = all.filter(|process| done.insert(*process)).collect();
            if fresh.is_empty() {
                break;
            }
            for process in fresh {
                self.store.set_labels(abi(process), gives, takes)?;
            }
        }
        if done.is_empty() {
            return Err(LedgerError::UnknownProcess { tgid: set.process.tgid });
        }
        Ok(())
    }

    /// The labels in use, and how many processes have each.
    #[must_use]
    pub(crate) fn labels(&self) -> Vec<LabelView> {
        let mut views = self.labels.views();
        if views.is_empty() {
            return views;
        }
        for (_, bits) in self.store.labels().unwrap_or_default() {
            for view in views.iter_mut().filter(|view| view.bit & bits != 0) {
                view.processes += 1;
            }
        }
        views
    }

    /// Gives a label to what runs already as if it were executed now: rules that ask for it come later.
    pub(super) fn label_running(&mut self, bit: u64, key: &RuleKey, kinship: Kinship<'_>) {
        let is_kept = self.labels.rules().dropped_at_exec & bit == 0;
        let (mut done, mut failed) = (HashSet::new(), 0);
        for _ in 0..PASSES {
            self.store.charge(LOOK_WRITES);
            let mut all = (kinship.running)(key);
            if is_kept {
                all.extend(all.clone().into_iter().flat_map(kinship.descendants));
            }
            let fresh: Vec<ProcessKey> =
                all.into_iter().filter(|process| done.insert(*process)).collect();
            if fresh.is_empty() {
                break;
            }
            let given =
                fresh.into_iter().map(|process| self.store.set_labels(abi(process), bit, 0));
            failed += given.filter(Result::is_err).count();
        }
        if failed > 0 {
            tracing::warn!(
                processes = failed,
                "processes that run already have no room for a label"
            );
        }
    }

    /// Forgets the labels of a process that ended, in case one was given after its end.
    pub(super) fn unlabel_gone(&mut self, gone: ProcessKey) {
        if !self.labels.is_live() {
            return;
        }
        if let Err(error) = self.store.forget_labels(abi(gone)) {
            tracing::warn!(tgid = gone.tgid, %error, "labels of a process that ended are left over");
        }
    }

    /// Takes labels that nobody declares and no rule names from every process, and frees them when none has them.
    pub(super) fn drain_labels(&mut self) {
        let mut ends = self.labels.undeclared();
        if ends == 0 {
            return;
        }
        ends &=
            !self.book.iter().fold(self.labels.watched, |named, rule| named | rule.labels.all());
        if ends == 0 {
            return;
        }
        let mut rules = self.labels.rules();
        rules.live &= !ends;
        let drained = self.store.set_label_rules(rules).and_then(|()| {
            for _ in 0..PASSES {
                let all = self.store.labels()?;
                let mut having = all.into_iter().filter(|(_, bits)| bits & ends != 0).peekable();
                if having.peek().is_none() {
                    return Ok(true);
                }
                for (process, _) in having {
                    self.store.set_labels(process, 0, ends)?;
                }
            }
            Ok(false)
        });
        match drained {
            Ok(true) => {
                self.labels.free(ends);
                self.label_names.publish(&self.labels.views());
                if let Err(error) = self.write_flags() {
                    tracing::warn!(%error, "a flag that nothing needs is still set");
                }
            }
            // Tried again with the next look.
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "labels that nobody declares are still in use"),
        }
    }

    /// Whether a rule concerns those who lack a label.
    #[must_use]
    pub(crate) fn refuses_who_lacks(&self, id: u64) -> bool {
        self.book.get(id).is_some_and(|rule| rule.labels.lacks != 0)
    }

    /// Writes the flags words that changed.
    pub(super) fn write_flags(&mut self) -> Result<(), StoreError> {
        let (members, labels) = (self.lineages.is_live(), self.labels.is_live());
        self.flags.write(&mut self.store, Followed { members, labels })
    }
}
