//! The rules in force, and what a change of them means for the entries of the deny maps.

#![allow(clippy::result_large_err, reason = "an overfull key is rare and holds its path")]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use krsi_host_abi::deny::{Entry, Lease, SLOTS};

use super::place::{Place, Places};
use super::rule::Rule;
use super::share::Holdings;
use crate::kernel::map::store::{RuleStore, StoreError};

/// A key that would carry more rules than it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overfull(pub(super) Place);

/// One entry, as it was and as it is to be.
#[derive(Clone, Copy, Debug)]
struct BookStep {
    place: Place,
    before: Option<Entry>,
    after: Option<Entry>,
}

/// A change that is in the book and not yet in the maps.
#[derive(Debug)]
pub(super) struct BookChange {
    steps: Vec<BookStep>,
    added: Option<u64>,
    /// The rule that left the book.
    pub(super) ended: Option<Rule>,
}

/// What a full map does to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// The change fails and nothing has changed.
    Fail,
    /// An entry is removed and put anew. Before 6.13 a full trie refuses to replace an entry; when
    /// a rule ends, a moment without the entry's other rules is better than never ending.
    Reinsert,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Book {
    rules: BTreeMap<u64, Rule>,
    places: Places,
    held: Holdings,
    /// The operator's own leases, each before the rules of its key.
    operators: BTreeMap<Place, Lease>,
    /// Keys whose entry could not be brought back to what it was.
    astray: BTreeSet<Place>,
}

impl Book {
    pub(super) fn get(&self, id: u64) -> Option<&Rule> {
        self.rules.get(&id)
    }

    /// A rule, to change what no map knows of it.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Rule> {
        self.rules.get_mut(&id)
    }

    /// Every rule, in the order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// Ids of the rules whose own key is `place`.
    pub(super) fn at(&self, place: Place) -> Vec<u64> {
        self.places.own(place).collect()
    }

    /// Keys that each plugin's rules hold.
    pub(super) const fn held(&self) -> &Holdings {
        &self.held
    }

    /// The first key of a change whose entry carries more than `most` rules of a plugin, with the operator's
    /// lease there.
    pub(super) fn beyond(&self, change: &BookChange, owner: u8, most: usize) -> Option<Place> {
        let is_own = |id: &u64| self.rules.get(id).is_some_and(|rule| rule.spec.owner == owner);
        let own = |place| self.places.carried(place).iter().filter(|id| is_own(id)).count();
        let stands = |place| usize::from(self.operators.contains_key(&place));
        let places = change.steps.iter().map(|step| step.place);
        places.into_iter().find(|place| own(*place) + stands(*place) > most)
    }

    /// Whether a plugin has a rule at a key that is not off.
    fn holds(&self, owner: u8, place: Place) -> bool {
        let rules = self.places.judging(place).filter_map(|id| self.rules.get(&id));
        rules.into_iter().any(|rule| rule.spec.owner == owner)
    }

    /// Takes one rule out and another one in. Entries of the new rule stand first among the steps,
    /// each rule's own key before those it is pushed down to. An overfull key leaves the book as it
    /// was.
    pub(super) fn change(
        &mut self,
        add: Option<Rule>,
        end: Option<u64>,
    ) -> Result<BookChange, Overfull> {
        let places = add.iter().flat_map(Rule::places);
        let ended = end.and_then(|id| self.rules.get(&id)).into_iter().flat_map(Rule::places);
        let mut met = HashSet::new();
        let mut touched: Vec<Place> =
            places.chain(ended).flat_map(|place| self.places.affected(place)).collect();
        touched.retain(|place| met.insert(*place));
        let before: Vec<Option<Entry>> =
            touched.iter().map(|place| self.entry(*place)).collect::<Result<_, _>>()?;

        let ended = end.and_then(|id| self.remove(id));
        let added = add.map(|rule| self.insert(rule));
        let mut change = BookChange { steps: Vec::with_capacity(touched.len()), added, ended };
        for (place, before) in touched.into_iter().zip(before) {
            match self.entry(place) {
                Ok(after) if after == before => {}
                Ok(after) => change.steps.push(BookStep { place, before, after }),
                Err(overfull) => {
                    self.revert(change);
                    return Err(overfull);
                }
            }
        }
        Ok(change)
    }

    /// Puts a lease of the operator's in force, once and for all.
    pub(super) fn stand(
        &mut self,
        store: &mut impl RuleStore,
        place: Place,
        lease: Lease,
    ) -> Result<(), StoreError> {
        self.operators.insert(place, lease);
        put(store, place, self.entry(place).ok().flatten().as_ref())
    }

    /// Takes a change back.
    pub(super) fn revert(&mut self, change: BookChange) {
        if let Some(id) = change.added {
            self.remove(id);
        }
        if let Some(rule) = change.ended {
            self.insert(rule);
        }
    }

    /// Puts a change into the maps, all of it or nothing.
    pub(super) fn write(
        &mut self,
        store: &mut impl RuleStore,
        change: &BookChange,
        when_full: WhenFull,
    ) -> Result<(), StoreError> {
        for (done, step) in change.steps.iter().enumerate() {
            let mut result = put(store, step.place, step.after.as_ref());
            if when_full == WhenFull::Reinsert && matches!(result, Err(StoreError::Full { .. })) {
                result = put(store, step.place, None)
                    .and_then(|()| put(store, step.place, step.after.as_ref()));
            }
            if let Err(error) = result {
                self.undo(store, change.steps.get(..=done).unwrap_or_default());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a change out of the maps again.
    pub(super) fn unwrite(&mut self, store: &mut impl RuleStore, change: &BookChange) {
        self.undo(store, &change.steps);
    }

    /// Tries again to make entries what the book says that could not be undone.
    pub(super) fn repair(&mut self, store: &mut impl RuleStore) {
        for place in std::mem::take(&mut self.astray) {
            let entry = self.entry(place).ok().flatten();
            if put(store, place, entry.as_ref()).is_err() {
                self.astray.insert(place);
            }
        }
    }

    /// Keys that were not there go first, so that a full map has room for the others.
    fn undo(&mut self, store: &mut impl RuleStore, steps: &[BookStep]) {
        let (there, absent): (Vec<&BookStep>, Vec<&BookStep>) =
            steps.iter().partition(|step| step.before.is_some());
        for step in absent.into_iter().chain(there) {
            if let Err(error) = put(store, step.place, step.before.as_ref()) {
                tracing::error!(place = %step.place, %error, "rules of a key could not be restored");
                self.astray.insert(step.place);
            }
        }
    }

    fn insert(&mut self, rule: Rule) -> u64 {
        let (id, owner) = (rule.id, rule.spec.owner);
        for place in rule.places() {
            if !rule.is_off() && !self.holds(owner, place) {
                self.held.add(owner, place);
            }
            self.places.insert(place, rule.spec.mode, id);
        }
        self.rules.insert(id, rule);
        id
    }

    fn remove(&mut self, id: u64) -> Option<Rule> {
        let rule = self.rules.remove(&id)?;
        for place in rule.places() {
            self.places.remove(place, rule.spec.mode, id);
            if !rule.is_off() && !self.holds(rule.spec.owner, place) {
                self.held.remove(rule.spec.owner, place);
            }
        }
        Some(rule)
    }

    fn entry(&self, place: Place) -> Result<Option<Entry>, Overfull> {
        let carried = self.places.carried(place);
        let operators = self.operators.get(&place).copied();
        let leases = carried.len() + usize::from(operators.is_some());
        if leases == 0 {
            return Ok(None);
        }
        if leases > SLOTS {
            return Err(Overfull(place));
        }
        let mut entry = Entry::default();
        let rules = carried.iter().filter_map(|id| self.rules.get(id)).map(Rule::lease);
        for (slot, lease) in entry.slots.iter_mut().zip(operators.into_iter().chain(rules)) {
            *slot = lease;
        }
        Ok(Some(entry))
    }
}

fn put(store: &mut impl RuleStore, place: Place, entry: Option<&Entry>) -> Result<(), StoreError> {
    match entry {
        Some(entry) => store.put(place.key(), entry),
        None => store.remove(place.key()),
    }
}
