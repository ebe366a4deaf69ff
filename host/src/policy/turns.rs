//! The ledger behind its lock: many changes in a row, each a turn, between which whoever waits gets the lock.
//!
//! A lock that is only let go and taken again stays with the thread that has it; these are let go to
//! whoever has waited longest.

use std::collections::HashSet;

use parking_lot::{Mutex, MutexGuard};

use super::ledger::{GrantVerdict, Kinship, Ledger, Regranted, RuleSpec, RuleView};
use crate::kernel::map::store::RuleStore;

/// Shows the other rules of a plugin that are in force.
pub(crate) type Others<'l> = &'l dyn Fn(&mut dyn FnMut(&RuleSpec));

/// The ledger of all plugins.
#[derive(Debug)]
pub struct Turns<S>(Mutex<Ledger<S>>);

impl<S: RuleStore> Turns<S> {
    /// Puts a ledger behind a lock.
    pub const fn new(ledger: Ledger<S>) -> Self {
        Self(Mutex::new(ledger))
    }

    /// The ledger, for something short.
    pub fn lock(&self) -> MutexGuard<'_, Ledger<S>> {
        self.0.lock()
    }

    pub fn turn<T>(&self, change: impl FnOnce(&mut Ledger<S>) -> T) -> T {
        let mut ledger = self.0.lock();
        let result = change(&mut ledger);
        MutexGuard::unlock_fair(ledger);
        result
    }

    /// Ends all rules of a plugin; how many. One that the kernel refuses to remove is tried again by
    /// [`Ledger::expire`].
    pub fn withdraw(&self, owner: u8, now_boot_ns: u64) -> usize {
        let mut ids = self.turn(|ledger| ledger.ids_of(owner));
        // First those that refuse who lacks a label: nobody is to lose it before.
        self.turn(|ledger| ids.sort_by_key(|id| !ledger.refuses_who_lacks(*id)));
        let ended = ids
            .into_iter()
            .filter_map(|id| self.turn(|ledger| ledger.withdraw_one(id, now_boot_ns)));
        ended.count()
    }

    /// Ends the rules of a plugin's `init` of whose tokens none is in `stay`.
    pub fn withdraw_init(&self, owner: u8, stay: &HashSet<u32>, now_boot_ns: u64) {
        for id in self.turn(|ledger| ledger.ids_of(owner)) {
            self.turn(|ledger| ledger.withdraw_init(id, stay, now_boot_ns));
        }
    }

    /// Clears away what has ended by itself.
    pub fn expire(&self, now_boot_ns: u64) -> Vec<RuleView> {
        let mut ended = Vec::new();
        loop {
            let (views, more) =
                self.turn(|ledger| (ledger.expire(now_boot_ns), ledger.is_overdue(now_boot_ns)));
            ended.extend(views);
            if !more {
                return ended;
            }
        }
    }

    /// Has a grant recheck a plugin's rules in force, the oldest first, each beside the others that are still in
    /// force.
    pub fn regrant(
        &self,
        owner: u8,
        mut recheck: impl FnMut(&RuleSpec, Others<'_>) -> GrantVerdict,
        now_boot_ns: u64,
        kinship: Kinship<'_>,
    ) -> Vec<Regranted> {
        let ids = self.turn(|ledger| ledger.ids_of(owner));
        let one = |id| {
            self.turn(|ledger| {
                let rule = ledger.spec(id)?;
                let verdict = recheck(rule, &|see| ledger.own_rules((owner, rule.token), see));
                ledger.regrant(id, verdict, now_boot_ns, kinship)
            })
        };
        ids.into_iter().filter_map(one).collect()
    }
}
