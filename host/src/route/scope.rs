//! Whose events a plugin may see, and whom its rules may concern.

use std::sync::Arc;

use krsi_plugin_schema::latest::{Event, Process};

use super::batch::ProcessSource;

/// A part of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    #[default]
    System,
    /// Processes that run under a user id.
    Uid(u32),
    /// Processes in a cgroup or below it; the path starts with a slash.
    Cgroup(Arc<str>),
}

impl Scope {
    /// Whether an event's caller lies within.
    pub fn sees(&self, event: &Event<'_>, processes: &impl ProcessSource) -> bool {
        match self {
            Scope::System => true,
            Scope::Uid(uid) => event.meta.uid == *uid,
            Scope::Cgroup(_) => {
                processes.process(event.meta.process).is_some_and(|caller| self.holds(caller))
            }
        }
    }

    /// Whether a process lies within.
    #[must_use]
    pub fn holds(&self, process: &Process<'_>) -> bool {
        match self {
            Scope::System => true,
            Scope::Uid(uid) => process.uid == *uid,
            Scope::Cgroup(path) => {
                let below = process.cgroup.strip_prefix(&**path);
                below.is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('/') || path.ends_with('/')
                })
            }
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::System => f.write_str("system"),
            Scope::Uid(uid) => write!(f, "uid {uid}"),
            Scope::Cgroup(path) => write!(f, "cgroup {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_holds_what_lies_below_and_no_namesake() {
        let holds = |scope: &str, cgroup: &'static str| {
            let process = Process { cgroup: cgroup.into(), ..Process::default() };
            Scope::Cgroup(scope.into()).holds(&process)
        };
        assert!(holds("/a", "/a") && holds("/a", "/a/b") && holds("/", "/a"));
        assert!(!holds("/a", "/ab") && !holds("/a", "/") && !holds("/a", ""));
    }
}
