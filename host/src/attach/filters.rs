//! In-kernel filters: what every subscriber of a hook asks for, joined into one.

use krsi_host_abi::filter::{CLAUSES, Clause, Filter, PREFIX_LEN, test};
use krsi_plugin_schema::latest::{Condition, Hook};

use zerocopy::{FromZeros, IntoBytes};

use crate::plugin::Filter as HookFilter;
use crate::route::filter::FOLLOWED;

/// A clause of one subscriber, for one hook.
#[derive(Clone, Debug, PartialEq)]
struct HookClause {
    hook: Hook,
    clause: Clause,
    /// Its path prefix, cut to what the kernel compares; empty without one.
    path: Vec<u8>,
}

/// Conditions of all subscribers, by hook. A hook of which somebody wants everything has no filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AskedFilters {
    /// Clauses of the subscribers' filters.
    clauses: Vec<HookClause>,
    /// Hooks of which somebody wants everything.
    whole: Vec<Hook>,
}

impl AskedFilters {
    /// What one subscriber asks of the hooks it sees.
    pub(crate) fn of_plugin(
        owner: u8,
        seen: impl Iterator<Item = Hook>,
        filters: &[HookFilter],
    ) -> Self {
        let mut asked = Self::default();
        for hook in seen {
            let own = filters.iter().filter(|filter| filter.hook == hook);
            let before = asked.clauses.len();
            asked.clauses.extend(own.map(|filter| clause(owner, filter)));
            if asked.clauses.len() == before {
                asked.whole.push(hook);
            }
        }
        asked
    }

    /// Joins what others ask.
    pub(crate) fn join(&mut self, other: &AskedFilters) {
        self.clauses.extend(other.clauses.iter().cloned());
        self.whole.extend(other.whole.iter().copied());
    }

    /// The filter of a hook; none when everything is forwarded. What the host follows processes by always
    /// reaches it: what plugins see of that is filtered when it is handed to them.
    pub(crate) fn of(&self, hook: Hook) -> Option<Filter> {
        if FOLLOWED.contains(&hook) {
            return None;
        }
        let own = || self.clauses.iter().filter(|own| own.hook == hook);
        let count = own().count();
        if self.whole.contains(&hook) || count == 0 || count > CLAUSES {
            return None;
        }
        let mut filter = Filter::new_zeroed();
        let texts = filter.prefixes.iter_mut().zip(&mut filter.masks);
        for ((clause, (prefix, mask)), wanted) in filter.clauses.iter_mut().zip(texts).zip(own()) {
            *clause = wanted.clause;
            let bytes = prefix.as_mut_bytes().iter_mut().zip(mask.as_mut_bytes());
            bytes
                .zip(&wanted.path)
                .for_each(|((byte, mask), from)| (*byte, *mask) = (*from, u8::MAX));
        }
        Some(filter.seal())
    }
}

fn clause(owner: u8, filter: &HookFilter) -> HookClause {
    let mut clause = Clause { tests: test::LIVE, owner: u32::from(owner), ..Clause::default() };
    let mut path = Vec::new();
    for condition in &filter.conditions {
        clause.tests |= match condition {
            Condition::Uid(uid) => {
                clause.uid = *uid;
                test::UID
            }
            Condition::Cgroup(id) => {
                clause.cgroup_id = *id;
                test::CGROUP
            }
            Condition::FlagsAny(flags) => {
                clause.flags_any = *flags;
                test::FLAGS
            }
            Condition::Port(port) => {
                clause.port = *port;
                test::PORT
            }
            Condition::PerProcessRate(calls) => {
                clause.rate = *calls;
                test::RATE
            }
            Condition::FirstSeen => test::FIRST_SEEN,
            Condition::PathPrefix(prefix) => {
                // What is longer than the kernel compares passes with its beginning: the plugin sees
                // more.
                path = prefix.as_bytes().iter().copied().take(PREFIX_LEN).collect();
                clause.prefix_len = u16::try_from(path.len()).unwrap_or(0);
                test::PREFIX
            }
        };
    }
    HookClause { hook: filter.hook, clause, path }
}
