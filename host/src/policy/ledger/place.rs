//! Which rules stand at which key of the deny maps, and in which order the kernel looks them up.
//!
//! Order inside an entry: rules of the key itself, then of the destinations or paths that cover it,
//! the longest prefix first; at each of them `allow` first, then the oldest. So an `allow` lifts denials
//! on its own key and on wider ones, and never one that is more specific than itself. A rule that is `off`
//! stands at its key and takes no slot of the entry.

use std::collections::BTreeMap;
use std::fmt;

use krsi_host_abi::deny::{Digest, FileKey, Mode, ProcessKey, UNHASHED, flag};
use krsi_host_abi::hook::Hook;
use krsi_plugin_schema::latest::FileKey as PluginFile;

use super::network::Destination;
use crate::kernel::map::lease::EntryKey;
use crate::kernel::map::prefix::PathPrefix;
use crate::text::Quoted;

macro_rules! places {
    ($(
        $(#[$doc:meta])* $place:ident($key:ident: $type:ty) => $entry:expr, $flag:expr,
        |$f:ident| $words:expr;
    )*) => {
        /// A key, normalised.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(clippy::large_enum_variant, reason = "keys are few and copied; a path is kept in place")]
        pub(super) enum Place { $($(#[$doc])* $place($type),)* }

        #[allow(unused_variables, reason = "not every row needs its key everywhere")]
        impl Place {
            /// The key in the maps.
            pub(super) fn key(self) -> EntryKey {
                match self { $(Place::$place($key) => $entry,)* }
            }

            /// Bit that a rule on it needs in the word of each of its hooks.
            pub(super) const fn flag(self) -> u64 {
                match self { $(Place::$place($key) => $flag,)* }
            }
        }

        #[allow(unused_variables, reason = "not every row needs its key everywhere")]
        impl fmt::Display for Place {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self { $(Place::$place($key) => { let $f = f; $words })* }
            }
        }
    };
}

places! {
    Process(key: ProcessKey) => EntryKey::Process(key), flag::PROCESS,
        |f| write!(f, "process {}", key.tgid);
    Lineage(id: u64) => EntryKey::Lineage(id), flag::LINEAGE, |f| write!(f, "lineage {id}");
    File(key: FileKey) => EntryKey::File(key), flag::FILE,
        |f| {
            let FileKey { ino, dev, generation } = key;
            write!(f, "file {}", PluginFile { ino, dev, generation })
        };
    Network(to: Destination) => EntryKey::Network(to.key()),
        if to.is_any_port() { flag::ANY_PORT } else { flag::NETWORK }, |f| to.fmt(f);
    Cgroup(id: u64) => EntryKey::Cgroup(id), flag::CGROUP, |f| write!(f, "cgroup {id}");
    Path(prefix: PathPrefix) => EntryKey::Path(prefix), flag::PATH, |f| write!(f, "path {}", Quoted(&prefix.to_string()));
    /// Paths of the hook that could not be resolved.
    Unresolved(hook: Hook) => EntryKey::Unresolved(hook), flag::PATH,
        |f| write!(f, "unresolved paths of {}", hook.name());
    /// Executables by digest; [`UNHASHED`] stands for those that are not hashed.
    Digest(digest: Digest) => EntryKey::Digest(digest), flag::DIGEST, |f| {
        if digest == UNHASHED {
            return f.write_str("executables that are not hashed");
        }
        f.write_str("digest ")?;
        digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    };
    /// Files and destinations of the hook that could not be read.
    Unread(hook: Hook) => EntryKey::Unread(hook), flag::ERROR_RULE,
        |f| write!(f, "what cannot be read of {}", hook.name());
    Hook(hook: Hook) => EntryKey::Hook(hook), flag::HOOK, |f| f.write_str("every call");
}

/// Where a rule stands among those of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Lifts,
    Decides,
    /// Not in the maps.
    Off,
}

/// A rule in the order of its key: `allow` first, then by id.
type Ranked = (Rank, u64);

const fn ranked(mode: Mode, rule_id: u64) -> Ranked {
    let rank = match mode {
        Mode::Allow => Rank::Lifts,
        Mode::Enforce | Mode::Audit | Mode::Label => Rank::Decides,
        Mode::Off => Rank::Off,
    };
    (rank, rule_id)
}

/// The rules by key.
#[derive(Debug, Default)]
pub(super) struct Places {
    at: BTreeMap<Place, Vec<Ranked>>,
}

impl Places {
    /// Puts a rule at a key.
    pub(super) fn insert(&mut self, place: Place, mode: Mode, rule_id: u64) {
        let rules = self.at.entry(place).or_default();
        rules.push(ranked(mode, rule_id));
        rules.sort_unstable();
    }

    /// Takes a rule from a key.
    pub(super) fn remove(&mut self, place: Place, mode: Mode, rule_id: u64) {
        let Some(rules) = self.at.get_mut(&place) else { return };
        rules.retain(|rule| *rule != ranked(mode, rule_id));
        if rules.is_empty() {
            self.at.remove(&place);
        }
    }

    /// Rules of the key itself, in order.
    pub(super) fn own(&self, place: Place) -> impl Iterator<Item = u64> {
        self.at.get(&place).into_iter().flatten().map(|(_, rule_id)| *rule_id)
    }

    /// Rules of the key itself that are not off, in order.
    pub(super) fn judging(&self, place: Place) -> impl Iterator<Item = u64> {
        let judging = self.at.get(&place).into_iter().flatten();
        judging.filter(|(rank, _)| *rank != Rank::Off).map(|(_, rule_id)| *rule_id)
    }

    /// Rules that the key's entry carries, in order; none when the key has no rule of its own,
    /// because then it needs no entry.
    pub(super) fn carried(&self, place: Place) -> Vec<u64> {
        if self.judging(place).next().is_none() {
            return Vec::new();
        }
        match place {
            Place::Network(destination) => {
                let covering = destination.covering();
                covering.flat_map(|cover| self.judging(Place::Network(cover))).collect()
            }
            Place::Path(prefix) => {
                prefix.covering().flat_map(|cover| self.judging(Place::Path(cover))).collect()
            }
            place => self.judging(place).collect(),
        }
    }

    /// Keys whose entry changes with the rules of `place`: itself first, then those it covers.
    pub(super) fn affected(&self, place: Place) -> Vec<Place> {
        let mut all = vec![place];
        if let Place::Path(cover) = place {
            let covered = self.at.range(place..=Place::Path(cover.last()));
            all.extend(covered.map(|(other, _)| *other).filter(|other| match other {
                Place::Path(other) => *other != cover && cover.covers(other),
                _ => false,
            }));
        }
        if let Place::Network(cover) = place {
            let covered = self.at.range(place..=Place::Network(cover.last()));
            all.extend(covered.map(|(other, _)| *other).filter(|other| match other {
                Place::Network(other) => *other != cover && cover.covers(*other),
                _ => false,
            }));
        }
        all
    }
}
