//! Lineages in force and the processes marked with them.
//!
//! The kernel inherits marks on fork and drops them on exit. What it cannot see is a fork that was
//! under way while the host marked or unmarked: the record of that fork is where the host catches
//! up. Ids are never used twice, so a mark that is left over means nothing; it only takes room.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use krsi_host_abi::deny::{LINEAGES, Membership, ProcessKey as AbiProcessKey};
use krsi_plugin_schema::latest::{ProcessKey, RuleKey};

use super::share::OWNER_LINEAGES;
use crate::kernel::map::store::{RuleStore, StoreError};

/// How long the children of the once marked are watched for left-over marks.
const FADE_NS: u64 = 5_000_000_000;

/// What is known of processes when a rule is made.
#[derive(Clone, Copy)]
pub struct Kinship<'a> {
    /// Whether a process is running.
    pub exists: &'a dyn Fn(ProcessKey) -> bool,
    /// All running descendants of a process, which may itself have ended.
    pub descendants: &'a dyn Fn(ProcessKey) -> Vec<ProcessKey>,
    /// Processes that run a file or a path of a rule.
    pub running: &'a dyn Fn(&RuleKey) -> Vec<ProcessKey>,
}

/// Why a lineage could not be had. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    /// Neither the root nor a descendant is running.
    #[error("process {tgid} is not known, nor is a descendant of it")]
    Unknown {
        /// Process id of the lineage's root.
        tgid: u32,
    },
    /// A member belongs to as many lineages of one plugin's rules as it may.
    #[error(
        "process {tgid} belongs to {OWNER_LINEAGES} of the {LINEAGES} lineages that it can already, by this plugin's rules: others need the rest"
    )]
    Share {
        /// Process id of the member.
        tgid: u32,
    },
    /// A member belongs to as many lineages as it can.
    #[error("process {tgid} belongs to {LINEAGES} lineages already")]
    Full {
        /// Process id of the member.
        tgid: u32,
    },
    /// The map of marks refused the update.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug)]
struct Lineage {
    root: ProcessKey,
    /// Rules by owner.
    rules: BTreeMap<u8, usize>,
}

/// What is new of a lineage when one more rule holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineageHold {
    /// The lineage: nobody is marked yet.
    First,
    /// The owner: others hold the lineage already.
    ByOneMore,
    /// Nothing is new: the owner holds the lineage already.
    Again,
}

#[derive(Debug, Default)]
pub(super) struct Lineages {
    last_id: u64,
    by_root: HashMap<ProcessKey, u64>,
    live: BTreeMap<u64, Lineage>,
    members: HashMap<ProcessKey, BTreeSet<u64>>,
    /// `(lineage, member)`.
    of: BTreeSet<(u64, ProcessKey)>,
    /// Once members, and until when their children are looked at.
    fading: HashMap<ProcessKey, u64>,
}

impl Lineages {
    /// Whether any process is marked.
    pub(super) fn is_live(&self) -> bool {
        !self.live.is_empty()
    }

    /// A lineage's root.
    pub(super) fn root(&self, id: u64) -> Option<ProcessKey> {
        self.live.get(&id).map(|lineage| lineage.root)
    }

    /// The id of the lineage of `root` for one more rule of a plugin, and what is new of it.
    pub(super) fn acquire(&mut self, root: ProcessKey, owner: u8) -> (u64, LineageHold) {
        if let Some(id) = self.by_root.get(&root).copied()
            && let Some(lineage) = self.live.get_mut(&id)
        {
            let rules = lineage.rules.entry(owner).or_default();
            *rules += 1;
            return (id, if *rules == 1 { LineageHold::ByOneMore } else { LineageHold::Again });
        }
        self.last_id += 1;
        self.by_root.insert(root, self.last_id);
        self.live.insert(self.last_id, Lineage { root, rules: [(owner, 1)].into() });
        (self.last_id, LineageHold::First)
    }

    /// That nobody belongs to more lineages of a plugin's rules than one plugin may use up.
    pub(super) fn check_share(
        &self,
        store: &impl RuleStore,
        id: u64,
        owner: u8,
        kinship: Kinship<'_>,
    ) -> Result<(), LineageError> {
        let Some(root) = self.root(id) else { return Ok(()) };
        for process in (kinship.descendants)(root).into_iter().chain([root]) {
            self.within_share(process, &self.marks(store, process)?, id, owner)?;
        }
        Ok(())
    }

    fn within_share(
        &self,
        process: ProcessKey,
        marks: &BTreeSet<u64>,
        id: u64,
        owner: u8,
    ) -> Result<(), LineageError> {
        let is_own = |mark: &&u64| {
            **mark != id && self.live.get(mark).is_some_and(|live| live.rules.contains_key(&owner))
        };
        if marks.iter().filter(is_own).count() < OWNER_LINEAGES {
            return Ok(());
        }
        Err(LineageError::Share { tgid: process.tgid })
    }

    /// Marks the root and all its descendants for a plugin's rule, or none.
    pub(super) fn mark_all(
        &mut self,
        store: &mut impl RuleStore,
        id: u64,
        owner: u8,
        kinship: Kinship<'_>,
    ) -> Result<(), LineageError> {
        let Some(root) = self.root(id) else { return Ok(()) };
        let mut targets = (kinship.descendants)(root);
        if (kinship.exists)(root) {
            targets.push(root);
        }
        if targets.is_empty() {
            return Err(LineageError::Unknown { tgid: root.tgid });
        }
        let mut marked = Vec::with_capacity(targets.len());
        for process in targets {
            let mut marks = self.marks(store, process)?;
            self.within_share(process, &marks, id, owner)?;
            marks.insert(id);
            let membership = membership(&marks).ok_or(LineageError::Full { tgid: process.tgid })?;
            marked.push((process, marks, membership));
        }
        for (process, _, membership) in &marked {
            if let Err(error) = store.mark(abi(*process), membership) {
                self.restore(store, marked.iter().map(|(process, ..)| *process));
                return Err(error.into());
            }
        }
        for (process, marks, _) in marked {
            self.keep(process, marks);
        }
        Ok(())
    }

    /// One rule of a plugin less that holds a lineage; the last one takes the marks with it.
    pub(super) fn release(
        &mut self,
        store: &mut impl RuleStore,
        (id, owner): (u64, u8),
        now_boot_ns: u64,
    ) {
        let Some(lineage) = self.live.get_mut(&id) else { return };
        if let Some(rules) = lineage.rules.get_mut(&owner) {
            *rules = rules.saturating_sub(1);
            if *rules == 0 {
                lineage.rules.remove(&owner);
            }
        }
        if !lineage.rules.is_empty() {
            return;
        }
        let root = lineage.root;
        self.live.remove(&id);
        self.by_root.remove(&root);
        let later = self.of.split_off(&(id + 1, ProcessKey::default()));
        let ended = self.of.split_off(&(id, ProcessKey::default()));
        self.of.extend(later);
        for (_, member) in &ended {
            if let Some(marks) = self.members.get_mut(member) {
                marks.remove(&id);
                if marks.is_empty() {
                    self.members.remove(member);
                    self.fading.insert(*member, now_boot_ns.saturating_add(FADE_NS));
                }
            }
        }
        self.restore(store, ended.into_iter().map(|(_, member)| member));
    }

    /// Catches up with a fork: the child of a member is one, whatever the kernel made of it.
    pub(super) fn fork(
        &mut self,
        store: &mut impl RuleStore,
        parent: ProcessKey,
        child: ProcessKey,
    ) -> Result<(), LineageError> {
        if self.members.is_empty() && self.fading.is_empty() {
            return Ok(());
        }
        let inherited = self.members.get(&parent);
        let until = self.fading.get(&parent).copied();
        if inherited.is_none() && until.is_none() {
            return Ok(());
        }
        let inherited = inherited.cloned().unwrap_or_default();
        if let Some(until) = until {
            self.fading.insert(child, until);
        }
        let there = store.marks(abi(child))?;
        let mut marks = self.members.get(&child).cloned().unwrap_or_default();
        marks.extend(inherited);
        if marks.is_empty() {
            return if there.is_some() { Ok(store.unmark(abi(child))?) } else { Ok(()) };
        }
        let wanted = membership(&marks).ok_or(LineageError::Full { tgid: child.tgid })?;
        if there.is_none_or(|there| ids(&there) != marks) {
            store.mark(abi(child), &wanted)?;
        }
        self.keep(child, marks);
        Ok(())
    }

    /// Forgets a process that ended. Its mark goes too, in case it was set after the end.
    pub(super) fn exit(&mut self, store: &mut impl RuleStore, gone: ProcessKey) {
        let marks = self.members.remove(&gone);
        let faded = self.fading.remove(&gone);
        if marks.is_some() || faded.is_some() {
            for id in marks.into_iter().flatten() {
                self.of.remove(&(id, gone));
            }
            self.restore(store, [gone]);
        }
    }

    /// Ends the watch over those that faded.
    pub(super) fn fade(&mut self, now_boot_ns: u64) {
        if !self.fading.is_empty() {
            self.fading.retain(|_, until| *until > now_boot_ns);
        }
    }

    /// Live lineages of a process, by the host's book and by the kernel's.
    fn marks(
        &self,
        store: &impl RuleStore,
        process: ProcessKey,
    ) -> Result<BTreeSet<u64>, StoreError> {
        let mut marks = self.members.get(&process).cloned().unwrap_or_default();
        if let Some(there) = store.marks(abi(process))? {
            marks.extend(ids(&there).into_iter().filter(|id| self.live.contains_key(id)));
        }
        Ok(marks)
    }

    fn keep(&mut self, process: ProcessKey, marks: BTreeSet<u64>) {
        self.of.extend(marks.iter().map(|id| (*id, process)));
        self.members.insert(process, marks);
    }

    /// Makes the kernel's marks those of the book.
    fn restore(&self, store: &mut impl RuleStore, processes: impl IntoIterator<Item = ProcessKey>) {
        for process in processes {
            let marks = self.members.get(&process).and_then(membership);
            let done = match marks {
                Some(membership) => store.mark(abi(process), &membership),
                None => store.unmark(abi(process)),
            };
            if let Err(error) = done {
                tracing::warn!(tgid = process.tgid, %error, "a lineage mark is left over");
            }
        }
    }
}

/// A process key as the kernel contract writes it.
pub(super) const fn abi(key: ProcessKey) -> AbiProcessKey {
    AbiProcessKey { start_boot_ns: key.start_boot_ns, tgid: key.tgid, pad: 0 }
}

fn ids(membership: &Membership) -> BTreeSet<u64> {
    membership.lineages.into_iter().filter(|id| *id != 0).collect()
}

/// The map's value; `None` when there are more lineages than it can hold, or none.
fn membership(marks: &BTreeSet<u64>) -> Option<Membership> {
    if marks.is_empty() || marks.len() > LINEAGES {
        return None;
    }
    let mut value = Membership::default();
    for (slot, id) in value.lineages.iter_mut().zip(marks) {
        *slot = *id;
    }
    Some(value)
}
