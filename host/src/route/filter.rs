//! A plugin's filters on the hooks that the host follows processes by.
//!
//! The host needs each of their calls, so the kernel filters none of them; what a plugin is sent of them is
//! what passes its own filters here. Filters on all other hooks are the kernel's; where no kernel has filtered, in
//! scenarios and on a recorded stream, those are applied here too.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use krsi_plugin_schema::latest::{Body, Condition, Event, FileKey, Hook, ProcessKey};

/// Hooks that the host follows processes by.
pub(crate) const FOLLOWED: [Hook; 3] =
    [Hook::BprmCommittedCreds, Hook::SchedProcessFork, Hook::SchedProcessExit];

/// Calls that are remembered for rates and first calls; beyond, all are forgotten and more is sent.
const REMEMBERED_MAX: usize = 16_384;
/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// What of a hook a plugin wants to see: calls that every condition holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The hook, one that it subscribes to.
    pub hook: Hook,
    pub conditions: Vec<Condition>,
}

/// File or destination of a call.
type SeenObject = (FileKey, Option<IpAddr>, u16);

/// The filters of a view, and what they remember.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    filters: Arc<[Filter]>,
    /// Whether filters on all hooks are applied, not only on those of [`FOLLOWED`].
    is_of_every_hook: bool,
    /// Calls of a process in a second, by filter.
    calls: HashMap<(usize, ProcessKey), (u64, u32), RandomState>,
    /// Objects of a process, by filter.
    seen: HashSet<(usize, ProcessKey, SeenObject), RandomState>,
}

impl Sieve {
    pub(super) fn new(filters: Arc<[Filter]>) -> Self {
        Self { filters, ..Self::default() }
    }

    /// A sieve for calls that no kernel has filtered. Where the kernel takes a path, flags, port or object from
    /// values that a record has under names of its own, conditions on it hold.
    pub(crate) fn of_every_hook(filters: Arc<[Filter]>) -> Self {
        Self { filters, is_of_every_hook: true, ..Self::default() }
    }

    /// Whether its filters let the same pass.
    pub(super) fn is_of(&self, filters: &[Filter]) -> bool {
        let own = |filters: &[Filter]| -> Vec<Filter> {
            filters.iter().filter(|filter| FOLLOWED.contains(&filter.hook)).cloned().collect()
        };
        own(&self.filters) == own(filters)
    }

    /// Whether an event is sent: one of a hook without filters is, and one that passes one of them.
    pub(crate) fn passes(&mut self, event: &Event<'_>) -> bool {
        let is_judged = |hook: &Hook| self.is_of_every_hook || FOLLOWED.contains(hook);
        let Some(hook) = event.body.hook().filter(is_judged) else {
            return true;
        };
        let filters = Arc::clone(&self.filters);
        let mut own =
            filters.iter().enumerate().filter(|(_, filter)| filter.hook == hook).peekable();
        own.peek().is_none() || own.any(|(at, filter)| self.holds(at, filter, event))
    }

    fn holds(&mut self, at: usize, filter: &Filter, event: &Event<'_>) -> bool {
        let remembers =
            |one: &&Condition| matches!(one, Condition::FirstSeen | Condition::PerProcessRate(_));
        // As in the kernel, those that remember are asked last, the rate before the first call.
        let plain = filter.conditions.iter().filter(|one| !remembers(one));
        let rates =
            filter.conditions.iter().filter(|one| matches!(one, Condition::PerProcessRate(_)));
        let firsts = filter.conditions.iter().filter(|one| matches!(one, Condition::FirstSeen));
        plain.chain(rates).chain(firsts).all(|one| self.is_met(at, one, event))
    }

    fn is_met(&mut self, at: usize, condition: &Condition, event: &Event<'_>) -> bool {
        let (meta, process) = (&event.meta, event.meta.process);
        let (path, object) = match &event.body {
            Body::BprmCommittedCreds(exec) | Body::BprmCheckSecurity(exec) => {
                (Some((&exec.path, exec.path_truncated)), (exec.file, None, 0))
            }
            Body::FileOpen(open) => (Some((&open.path, open.path_truncated)), (open.file, None, 0)),
            Body::SocketConnect(to) => (None, (FileKey::default(), to.address, to.port)),
            _ => (None, (FileKey::default(), None, 0)),
        };
        // The record of another hook may have it, under a name of its own.
        let is_unknown = matches!(event.body, Body::Call(_));
        match condition {
            Condition::Uid(uid) => meta.uid == *uid,
            Condition::Cgroup(id) => meta.cgroup_id == *id,
            Condition::PathPrefix(prefix) => {
                path.map_or(is_unknown, |(path, is_cut)| is_cut || path.starts_with(prefix))
            }
            Condition::FlagsAny(flags) => match &event.body {
                Body::FileOpen(open) => open.flags & flags != 0,
                _ => is_unknown,
            },
            Condition::Port(port) => match &event.body {
                Body::SocketConnect(connect) => connect.port == *port,
                _ => is_unknown,
            },
            Condition::PerProcessRate(most) => {
                if self.calls.len() >= REMEMBERED_MAX {
                    self.calls.clear();
                }
                let second = meta.boot_ns / SECOND_NS;
                let (last, calls) = self.calls.entry((at, process)).or_default();
                if *last != second {
                    (*last, *calls) = (second, 0);
                }
                *calls = calls.saturating_add(1);
                *calls <= *most
            }
            Condition::FirstSeen => {
                if self.seen.len() >= REMEMBERED_MAX {
                    self.seen.clear();
                }
                is_unknown || self.seen.insert((at, process, object))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{Call, Connect, Exec, Exit, FileOpen, Meta};

    use super::*;

    fn event(uid: u32, body: Body<'static>) -> Event<'static> {
        let process = ProcessKey { start_boot_ns: 1, tgid: uid };
        let meta = Meta { uid, process, cgroup_id: 9, boot_ns: 5, ..Meta::default() };
        Event { meta, body }
    }

    fn exec(path: &'static str) -> Body<'static> {
        Body::BprmCommittedCreds(Exec { path: path.into(), ..Exec::default() })
    }

    fn sieve(conditions: &[&[Condition]]) -> Sieve {
        let filter = |conditions: &&[Condition]| Filter {
            hook: Hook::BprmCommittedCreds,
            conditions: conditions.to_vec(),
        };
        Sieve::new(conditions.iter().map(filter).collect())
    }

    #[test]
    fn what_passes_one_of_a_hooks_filters_is_sent() {
        let prefix = Condition::PathPrefix("/opt/".into());
        let mut one = sieve(&[&[Condition::Uid(7), prefix.clone()], &[Condition::Cgroup(8)]]);
        assert!(one.passes(&event(7, exec("/opt/a"))));
        assert!(!one.passes(&event(8, exec("/opt/a"))) && !one.passes(&event(7, exec("/bin/a"))));
        let cut = Exec { path: "?".into(), path_truncated: true, ..Exec::default() };
        assert!(one.passes(&event(7, Body::BprmCommittedCreds(cut))));
        // Hooks without a filter, and hooks that the kernel filters.
        assert!(one.passes(&event(1, Body::SchedProcessExit(Exit::default()))));
        assert!(one.passes(&event(1, Body::SocketConnect(Connect::default()))));
        assert!(sieve(&[]).passes(&event(1, exec("/bin/a"))));
        assert!(sieve(&[&[]]).passes(&event(1, exec("/bin/a"))));
        assert!(!sieve(&[&[Condition::Port(1)]]).passes(&event(1, exec("/bin/a"))));
    }

    #[test]
    fn rates_and_first_calls_are_each_processs_own() {
        let mut rate = sieve(&[&[Condition::PerProcessRate(2)]]);
        let mut passed = |uid| (0..5).filter(|_| rate.passes(&event(uid, exec("/a")))).count();
        assert_eq!((passed(1), passed(2)), (2, 2));
        let mut first = sieve(&[&[Condition::FirstSeen]]);
        let mut passed = |uid| (0..5).filter(|_| first.passes(&event(uid, exec("/a")))).count();
        assert_eq!((passed(1), passed(2)), (1, 1));
    }

    #[test]
    fn where_no_kernel_filters_every_hook_is_judged() {
        let one = |condition: Condition| {
            Sieve::of_every_hook(
                [Hook::FileOpen, Hook::SocketConnect, Hook::TaskKill]
                    .map(|hook| Filter { hook, conditions: vec![condition.clone()] })
                    .into(),
            )
        };
        let open = |path: &'static str, flags| {
            event(1, Body::FileOpen(FileOpen { path: path.into(), flags, ..FileOpen::default() }))
        };
        let connect = |port| event(1, Body::SocketConnect(Connect { port, ..Connect::default() }));
        let kill = event(1, Body::Call(Call { hook: Hook::TaskKill, values: Vec::new() }));
        let mut below = one(Condition::PathPrefix("/etc/".into()));
        assert!(below.passes(&open("/etc/shadow", 0)) && !below.passes(&open("/tmp/a", 0)));
        assert!(!below.passes(&connect(1)) && below.passes(&kill));
        let mut cut = one(Condition::FlagsAny(0o1000));
        assert!(cut.passes(&open("/a", 0o1001)) && !cut.passes(&open("/a", 1)));
        let mut port = one(Condition::Port(22));
        assert!(port.passes(&connect(22)) && !port.passes(&connect(23)));
        let mut first = one(Condition::FirstSeen);
        let mut firsts = |call: &Event<'_>| (0..3).filter(|_| first.passes(call)).count();
        assert_eq!([firsts(&connect(22)), firsts(&connect(23)), firsts(&connect(22))], [1, 1, 0]);
        let mut user = one(Condition::Uid(7));
        assert!(!user.passes(&kill) && user.passes(&event(1, exec("/a"))));
    }

    #[test]
    fn views_differ_by_filters_on_these_hooks_alone() {
        let filter = |hook| Filter { hook, conditions: vec![Condition::Uid(7)] };
        let own: Arc<[Filter]> = [filter(Hook::SchedProcessFork)].into();
        let other = [filter(Hook::FileOpen), filter(Hook::SchedProcessFork)];
        assert!(Sieve::new(own).is_of(&other));
        assert!(!Sieve::default().is_of(&other) && Sieve::default().is_of(&other[..1]));
    }
}
