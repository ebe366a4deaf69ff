//! The labels in use: whose each of the kernel's 64 is, and which of them somebody declares.

use std::borrow::Cow;
use std::sync::Arc;

use krsi_host_abi::deny::{LABELS, LabelRules};
use krsi_plugin_schema::latest::{Label, LabelExec, LabelFull, LabelTest};

/// Rule id of calls that are refused as there is no room for the label that they would be given.
pub(crate) const NO_ROOM: u64 = 1 << 61;
/// Labels that are kept for the administrator.
pub(crate) const KEPT: usize = 8;

/// Why a plugin cannot have a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No manifest of the plugin declares it.
    #[error("the plugin's manifest declares no label {label:?}")]
    Undeclared {
        /// Name of the label, without the plugin's.
        label: String,
    },
    /// All numbers of labels are in use.
    #[error("no label is free: plugins have all {} of theirs", LABELS - KEPT)]
    NoneFree,
    /// The plugin of the label does not run, or declares none of the name.
    #[error("no plugin {plugin} that declares the label {label} runs")]
    Absent {
        /// Name of the plugin.
        plugin: String,
        /// Name of the label, without the plugin's.
        label: String,
    },
    /// The label belongs to another plugin or to the administrator.
    #[error("the label {label} is not the plugin's own")]
    Foreign {
        /// The label, as it was written.
        label: String,
    },
    /// The configuration has no such label.
    #[error("the configuration has no table [labels.{label}]")]
    NoTable {
        /// Name of the label, without `host`.
        label: String,
    },
    /// A plugin whose labels could not be told from the administrator's.
    #[error("a plugin that is called {HOST} has no labels: host.NAME are the administrator's")]
    Host,
}

/// Owner of the administrator's labels, before the point of their names.
pub(crate) const HOST: &str = "host";

/// What becomes of labels that a plugin had and its running version does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undeclared {
    /// The labels stay declared: the version before may come back.
    Stay,
    /// The labels end as soon as no rule names them.
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
    /// All labels that the rule names, as bits.
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
    /// Whether a version that is about to run declares it.
    is_reserved: bool,
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
    /// Labels that watches name, as bits.
    pub(super) watched: u64,
    /// Number after the one that was given last: records of a label that is gone find nobody in its place.
    next: usize,
}

impl Default for LabelBook {
    fn default() -> Self {
        Self { known: [const { None }; LABELS], watched: 0, next: 0 }
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
            self.set(plugin, label, true)?;
        }
        Ok(())
    }

    /// Keeps numbers for the labels of a version that is about to run; what the running one declares stays as it is.
    pub(super) fn reserve(
        &mut self,
        plugin: &Arc<str>,
        wanted: &[Label],
    ) -> Result<(), LabelError> {
        self.check(plugin, wanted)?;
        for label in wanted {
            match self.number(plugin, &label.name).and_then(|at| self.known_mut(at)) {
                Some(known) => known.is_reserved = true,
                None => self.set(plugin, label, false)?,
            }
        }
        Ok(())
    }

    fn known_mut(&mut self, at: u8) -> Option<&mut Known> {
        self.known.get_mut(usize::from(at))?.as_mut()
    }

    /// Gives a label its number: the one that it has, or the first that is free.
    fn set(
        &mut self,
        plugin: &Arc<str>,
        label: &Label,
        is_declared: bool,
    ) -> Result<(), LabelError> {
        let own = self.number(plugin, &label.name).map(usize::from);
        let is_free = |at: &usize| self.known.get(*at).is_some_and(Option::is_none);
        let free = || {
            let later = numbers(plugin).filter(|at| *at >= self.next).find(is_free);
            later.or_else(|| numbers(plugin).find(is_free))
        };
        let at = own.or_else(free).ok_or(LabelError::NoneFree)?;
        if own.is_none() && at < LABELS - KEPT {
            self.next = at + 1;
        }
        let (plugin, label, is_reserved) = (Arc::clone(plugin), label.clone(), !is_declared);
        let known = Known { plugin, label, is_declared, is_reserved };
        self.known.get_mut(at).into_iter().for_each(|place| *place = Some(known.clone()));
        Ok(())
    }

    /// Nothing of a plugin is about to run any more.
    pub(super) fn unreserve(&mut self, plugin: &str) {
        let known = self.known.iter_mut().flatten();
        known.filter(|known| &*known.plugin == plugin).for_each(|known| known.is_reserved = false);
    }

    /// The number of a label that a watch of a plugin names, or of the administrator's.
    pub(super) fn named(&self, plugin: Option<&str>, label: &str) -> Result<u8, LabelError> {
        let (owner, name) = match (label.split_once('.'), plugin) {
            (Some((owner, name)), _) => (owner, name),
            (None, plugin) => (plugin.unwrap_or(HOST), label),
        };
        if plugin.is_some_and(|plugin| plugin != owner || plugin == HOST) {
            return Err(LabelError::Foreign { label: label.to_owned() });
        }
        let is_used = |at: &u8| {
            let known = self.known.get(usize::from(*at)).and_then(Option::as_ref);
            known.is_some_and(|known| known.is_declared || known.is_reserved)
        };
        self.number(owner, name).filter(is_used).ok_or_else(|| match plugin {
            Some(_) => LabelError::Undeclared { label: name.to_owned() },
            None if owner == HOST => LabelError::NoTable { label: name.to_owned() },
            None => LabelError::Absent { plugin: owner.to_owned(), label: name.to_owned() },
        })
    }

    /// That there is room for the labels of a plugin.
    pub(super) fn check(&self, plugin: &str, wanted: &[Label]) -> Result<(), LabelError> {
        let is_free = |at: &usize| self.known.get(*at).is_some_and(Option::is_none);
        let room = numbers(plugin).filter(is_free).count();
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
    pub(super) fn has_some(&self, plugin: &str) -> bool {
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
            let is_it = |known: &Known| !known.is_declared && !known.is_reserved;
            bits | if known.as_ref().is_some_and(is_it) { 1 << at } else { 0 }
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

/// Numbers of an owner's labels: the last ones are the administrator's.
fn numbers(owner: &str) -> std::ops::Range<usize> {
    if owner == HOST { LABELS - KEPT..LABELS } else { 0..LABELS - KEPT }
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
    fn who_watches_names_his_own_and_the_administrator_any_that_somebody_declares() {
        let (mut book, a) = (LabelBook::default(), "a".into());
        let one = label("one", LabelExec::Keep, LabelFull::Count);
        let own = label("own", LabelExec::Drop, LabelFull::Count);
        book.declare(&HOST.into(), std::slice::from_ref(&own), Undeclared::Stay).unwrap();
        let absent = LabelError::Absent { plugin: "a".into(), label: "one".into() };
        assert_eq!(book.named(None, "a.one"), Err(absent.clone()));
        // A version that is about to run has a number, and what it would change of the running one waits.
        book.reserve(&a, std::slice::from_ref(&one)).unwrap();
        assert_eq!((book.named(None, "a.one"), book.undeclared()), (Ok(0), 0));
        book.unreserve("a");
        assert_eq!((book.named(None, "a.one"), book.undeclared()), (Err(absent.clone()), 1));
        book.declare(&a, std::slice::from_ref(&one), Undeclared::End).unwrap();
        let changed = label("one", LabelExec::Drop, LabelFull::Refuse);
        book.reserve(&a, std::slice::from_ref(&changed)).unwrap();
        assert_eq!((book.rules().dropped_at_exec, book.rules().refused_when_full), (1 << 56, 0));
        book.unreserve("a");
        for name in ["one", "a.one"] {
            assert_eq!(book.named(Some("a"), name), Ok(0), "{name}");
        }
        assert_eq!((book.named(None, "own"), book.named(None, "host.own")), (Ok(56), Ok(56)));
        assert!(matches!(book.named(None, "other"), Err(LabelError::NoTable { .. })));
        assert!(matches!(book.named(Some("a"), "two"), Err(LabelError::Undeclared { .. })));
        for (plugin, name) in [("a", "host.own"), ("b", "a.one"), ("host", "own")] {
            let found = book.named(Some(plugin), name);
            assert!(matches!(found, Err(LabelError::Foreign { .. })), "{plugin} {name}: {found:?}");
        }
        book.declare(&a, &[], Undeclared::End).unwrap();
        assert_eq!(book.named(None, "a.one"), Err(absent));
        // Its number is the last to be given again.
        book.free(1);
        book.declare(&a, std::slice::from_ref(&one), Undeclared::End).unwrap();
        assert_eq!(book.of("a", "one"), Ok(1));
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
