//! The labels of all plugins: whose each of the kernel's 64 is, and what becomes of it.
//!
//! A label keeps its number as long as its plugin declares it, over reloads and restarts of the plugin. When no
//! version declares it any more it stays until no rule names it; then it is taken from every process, and its number
//! is free.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use krsi_host_abi::deny::{LABELS, LabelRules};
use krsi_plugin_schema::latest::{
    Label, LabelExec, LabelFull, LabelTest, ProcessKey, RuleKey, SetLabel,
};

use super::flags::Followed;
use super::lineage::abi;
use super::{Kinship, Ledger, LedgerError};
use crate::kernel::map::store::{RuleStore, StoreError};

/// Rule id of calls that are refused as there is no room for the label that they would be given.
pub(crate) const NO_ROOM: u64 = 1 << 61;
/// Labels that are kept for the administrator.
const KEPT: usize = 8;

/// Why a plugin cannot have a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No manifest of the plugin declares it.
    #[error("the plugin's manifest declares no label {label:?}")]
    Undeclared {
        /// Name of the label, without the plugin's.
        label: String,
    },
    /// All numbers are in use.
    #[error("no label is free: plugins have all {} of theirs", LABELS - KEPT)]
    NoneFree,
}

/// What becomes of labels that a plugin had and its running version does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undeclared {
    /// They stay declared: the version before may come back.
    Stay,
    /// They end as soon as no rule names them.
    End,
}

/// What a rule asks of labels and gives, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LabelBits {
    /// Number of the label that it gives.
    pub(super) gives: Option<u8>,
    /// Labels that the caller must have.
    pub(super) has: u64,
    /// Labels of which it must have none.
    pub(super) lacks: u64,
}

impl LabelBits {
    /// All labels that it names.
    pub(super) fn all(self) -> u64 {
        self.has | self.lacks | self.gives.map_or(0, |at| 1 << at)
    }
}

#[derive(Clone, Debug)]
struct Known {
    plugin: Arc<str>,
    label: Label,
    /// Whether the running version of the plugin declares it.
    is_declared: bool,
}

/// A label in use, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelView {
    /// Name of the label, `plugin.name`.
    pub name: String,
    /// The label as a bit.
    pub bit: u64,
    /// Processes that have it.
    pub processes: usize,
}

/// The labels in use, by their numbers.
#[derive(Clone, Debug)]
pub(super) struct LabelBook {
    known: [Option<Known>; LABELS],
}

impl Default for LabelBook {
    fn default() -> Self {
        Self { known: [const { None }; LABELS] }
    }
}

impl LabelBook {
    /// Whether there is any.
    pub(super) fn is_live(&self) -> bool {
        self.known.iter().any(Option::is_some)
    }

    /// Has a plugin own the labels that its running version declares. Those of an earlier version stay until
    /// nothing names them.
    pub(super) fn declare(
        &mut self,
        plugin: &Arc<str>,
        wanted: &[Label],
        others: Undeclared,
    ) -> Result<(), LabelError> {
        self.check(plugin, wanted)?;
        for known in self.known.iter_mut().flatten().filter(|known| known.plugin == *plugin) {
            known.is_declared &= others == Undeclared::Stay;
        }
        for label in wanted {
            let own = self.number(plugin, &label.name).map(usize::from);
            let free = || self.known.iter().take(LABELS - KEPT).position(Option::is_none);
            let at = own.or_else(free).and_then(|at| self.known.get_mut(at));
            *at.ok_or(LabelError::NoneFree)? =
                Some(Known { plugin: Arc::clone(plugin), label: label.clone(), is_declared: true });
        }
        Ok(())
    }

    /// That there is room for the labels of a plugin.
    pub(super) fn check(&self, plugin: &str, wanted: &[Label]) -> Result<(), LabelError> {
        let room = self.known.iter().take(LABELS - KEPT).filter(|known| known.is_none()).count();
        let is_new = |label: &&Label| self.number(plugin, &label.name).is_none();
        if wanted.iter().filter(is_new).count() > room { Err(LabelError::NoneFree) } else { Ok(()) }
    }

    fn number(&self, plugin: &str, name: &str) -> Option<u8> {
        let is_it = |known: &Known| &*known.plugin == plugin && known.label.name == name;
        let mut known = (0..).zip(&self.known);
        known.find(|(_, known)| known.as_ref().is_some_and(is_it)).map(|(at, _)| at)
    }

    /// The number of a plugin's label.
    pub(super) fn of(&self, plugin: &str, name: &str) -> Result<u8, LabelError> {
        self.number(plugin, name).ok_or_else(|| LabelError::Undeclared { label: name.to_owned() })
    }

    /// Bits of the labels that a rule asks for and gives.
    pub(super) fn bits(
        &self,
        plugin: &str,
        test: &LabelTest<'_>,
        gives: Option<&str>,
    ) -> Result<LabelBits, LabelError> {
        let all = |names: &[Cow<'_, str>]| {
            names.iter().try_fold(0, |bits, name| Ok(bits | 1u64 << self.of(plugin, name)?))
        };
        let gives = gives.map(|name| self.of(plugin, name)).transpose()?;
        Ok(LabelBits { gives, has: all(&test.has)?, lacks: all(&test.lacks)? })
    }

    /// Whether a plugin has labels.
    fn has_some(&self, plugin: &str) -> bool {
        self.known.iter().flatten().any(|known| &*known.plugin == plugin)
    }

    /// The rules of labels as the kernel reads them.
    pub(super) fn rules(&self) -> LabelRules {
        let mut rules = LabelRules { full_rule: NO_ROOM, ..LabelRules::default() };
        for (at, known) in self.known.iter().enumerate() {
            let Some(Known { label: Label { exec, full, .. }, .. }) = known else { continue };
            let bit = 1 << at;
            rules.live |= bit;
            rules.dropped_at_exec |= if *exec == LabelExec::Drop { bit } else { 0 };
            rules.refused_when_full |= if *full == LabelFull::Refuse { bit } else { 0 };
        }
        rules
    }

    /// Labels that no running version declares, as bits.
    pub(super) fn undeclared(&self) -> u64 {
        let known = self.known.iter().enumerate();
        known.fold(0, |bits, (at, known)| {
            let is_it = known.as_ref().is_some_and(|known| !known.is_declared);
            bits | if is_it { 1 << at } else { 0 }
        })
    }

    /// Frees numbers, given as bits.
    pub(super) fn free(&mut self, bits: u64) {
        for (at, known) in self.known.iter_mut().enumerate() {
            if bits >> at & 1 != 0 {
                *known = None;
            }
        }
    }

    /// The labels in use.
    pub(super) fn views(&self) -> Vec<LabelView> {
        let known = self.known.iter().enumerate();
        known
            .filter_map(|(at, known)| {
                let Known { plugin, label, .. } = known.as_ref()?;
                Some(LabelView {
                    name: format!("{plugin}.{}", label.name),
                    bit: 1 << at,
                    processes: 0,
                })
            })
            .collect()
    }
}

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
        if wanted.is_empty() && !self.labels.has_some(plugin) {
            return Ok(());
        }
        let before = self.labels.clone();
        self.labels.declare(plugin, wanted, others)?;
        let written = self.store.set_label_rules(self.labels.rules());
        if let Err(error) = written.and_then(|()| self.write_flags()) {
            self.labels = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// That a plugin can have the labels that it declares.
    ///
    /// # Errors
    /// When too few are free.
    pub(crate) fn check_labels(&self, plugin: &str, wanted: &[Label]) -> Result<(), LabelError> {
        self.labels.check(plugin, wanted)
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
        ends &= !self.book.iter().fold(0, |named, rule| named | rule.labels.all());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, exec: LabelExec, full: LabelFull) -> Label {
        Label { name: name.into(), exec, full }
    }

    #[test]
    fn a_label_keeps_its_number_over_versions_and_is_freed_alone() {
        let (mut book, a, b) = (LabelBook::default(), "a".into(), "b".into());
        let one = label("one", LabelExec::Keep, LabelFull::Count);
        let two = label("two", LabelExec::Drop, LabelFull::Refuse);
        book.declare(&a, &[one.clone(), two.clone()], Undeclared::End).unwrap();
        book.declare(&b, std::slice::from_ref(&one), Undeclared::End).unwrap();
        assert_eq!(
            (book.of("a", "one"), book.of("a", "two"), book.of("b", "one")),
            (Ok(0), Ok(1), Ok(2))
        );
        assert!(matches!(book.of("b", "two"), Err(LabelError::Undeclared { .. })));
        let rules = book.rules();
        assert_eq!((rules.live, rules.dropped_at_exec, rules.refused_when_full), (7, 2, 2));
        // The next version has another order, and one label less.
        book.declare(&a, std::slice::from_ref(&two), Undeclared::End).unwrap();
        assert_eq!((book.of("a", "two"), book.undeclared()), (Ok(1), 1));
        book.free(1);
        assert_eq!(book.rules().live, 6);
        let names: Vec<String> = book.views().into_iter().map(|view| view.name).collect();
        assert_eq!(names, ["a.two", "b.one"]);
    }

    #[test]
    fn the_administrators_numbers_are_left_to_him() {
        let mut book = LabelBook::default();
        let eight = |owner: u8| -> Vec<Label> {
            (0..8)
                .map(|at| label(&format!("l{owner}-{at}"), LabelExec::Keep, LabelFull::Count))
                .collect()
        };
        let plugin = |number: u8| -> Arc<str> { format!("p{number}").into() };
        for owner in 0..7 {
            book.declare(&plugin(owner), &eight(owner), Undeclared::End).unwrap();
        }
        assert_eq!(
            book.declare(&plugin(7), &eight(7)[..1], Undeclared::End),
            Err(LabelError::NoneFree)
        );
        assert_eq!(book.rules().live, u64::MAX >> 8);
        // Nothing has changed, and who has them keeps them.
        book.declare(&plugin(6), &eight(6), Undeclared::Stay).unwrap();
    }
}
