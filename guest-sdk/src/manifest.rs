//! What a plugin asks for.

use krsi_plugin_schema::latest::Hook;

/// What becomes of a plugin's rules when it stops and the host goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They stand until they expire.
    Keep,
    /// They are withdrawn at once.
    Clear,
}

/// What of a hook a plugin wants to see: a call is sent when every condition of one of the hook's
/// filters holds. The kernel counts what it leaves out; denials are always sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub(crate) hook: Hook,
    pub(crate) uid: Option<u32>,
    pub(crate) cgroup: Option<u64>,
    pub(crate) path_prefix: Option<String>,
    pub(crate) flags_any: Option<u32>,
    pub(crate) port: Option<u16>,
    pub(crate) first_seen: bool,
    pub(crate) per_process_rate: Option<u32>,
}

impl Filter {
    /// A filter that lets every call of a hook pass.
    #[must_use]
    pub const fn new(hook: Hook) -> Self {
        Self {
            hook,
            uid: None,
            cgroup: None,
            path_prefix: None,
            flags_any: None,
            port: None,
            first_seen: false,
            per_process_rate: None,
        }
    }

    /// Only calls under a user id.
    #[must_use]
    pub const fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Only calls from a cgroup, by its id ([`crate::Meta::cgroup_id`]).
    #[must_use]
    pub const fn cgroup(mut self, id: u64) -> Self {
        self.cgroup = Some(id);
        self
    }

    /// Only files whose path starts so; a path that could not be resolved in full is sent.
    #[must_use]
    pub fn path_prefix(mut self, prefix: &str) -> Self {
        self.path_prefix = Some(prefix.into());
        self
    }

    /// Only opens with one of these `O_*` flags.
    #[must_use]
    pub const fn flags_any(mut self, flags: u32) -> Self {
        self.flags_any = Some(flags);
        self
    }

    /// Only addresses with a port.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Only the first call of a process on the same object, as far as the kernel remembers.
    #[must_use]
    pub const fn first_seen(mut self) -> Self {
        self.first_seen = true;
        self
    }

    /// Only so many calls of a process in a second.
    #[must_use]
    pub const fn per_process_rate(mut self, calls: u32) -> Self {
        self.per_process_rate = Some(calls);
        self
    }
}

/// Kinds of keys of deny rules, in the order of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenyKey {
    Process,
    Lineage,
    File,
    Network,
    Cgroup,
    Path,
    Digest,
    Hook,
}

/// Name, version, hooks and capabilities of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) watches: Vec<String>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) deny_hooks: Vec<Hook>,
    deny_keys: u8,
    pub(crate) kill: bool,
    pub(crate) tick_ms: u32,
    pub(crate) on_stop: OnStop,
}

impl Manifest {
    /// A manifest that asks for nothing. The name is `[a-z0-9-]`, at most 64 bytes: rules belong
    /// to it.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            hooks: Vec::new(),
            watches: Vec::new(),
            filters: Vec::new(),
            deny_hooks: Vec::new(),
            deny_keys: 0,
            kill: false,
            tick_ms: 0,
            on_stop: OnStop::Keep,
        }
    }

    /// Subscribes to a hook.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Watches any LSM hook of the kernel, `HOOK: FIELD, … [if PREDICATE] [deny ERRNO]`; what it
    /// sees arrives in [`crate::Plugin::watch`], with the watch's place in the order of these calls.
    #[must_use]
    pub fn watch(mut self, watch: &str) -> Self {
        self.watches.push(watch.into());
        self
    }

    /// Leaves out calls of a hook in the kernel; several filters of one hook add up.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Asks to deny calls of a hook.
    #[must_use]
    pub fn deny_hook(mut self, hook: Hook) -> Self {
        self.deny_hooks.push(hook);
        self
    }

    /// Asks to deny by process.
    #[must_use]
    pub const fn deny_by_process(self) -> Self {
        self.by(DenyKey::Process)
    }

    /// Asks to deny by lineage, as key or as subject.
    #[must_use]
    pub const fn deny_by_lineage(self) -> Self {
        self.by(DenyKey::Lineage)
    }

    /// Asks to deny by file.
    #[must_use]
    pub const fn deny_by_file(self) -> Self {
        self.by(DenyKey::File)
    }

    /// Asks to deny by network destination.
    #[must_use]
    pub const fn deny_by_network(self) -> Self {
        self.by(DenyKey::Network)
    }

    /// Asks to deny by cgroup.
    #[must_use]
    pub const fn deny_by_cgroup(self) -> Self {
        self.by(DenyKey::Cgroup)
    }

    /// Asks to deny by path.
    #[must_use]
    pub const fn deny_by_path(self) -> Self {
        self.by(DenyKey::Path)
    }

    /// Asks to deny by digest of the executable.
    #[must_use]
    pub const fn deny_by_digest(self) -> Self {
        self.by(DenyKey::Digest)
    }

    /// Asks to deny every call of a hook.
    #[must_use]
    pub const fn deny_by_hook(self) -> Self {
        self.by(DenyKey::Hook)
    }

    const fn by(mut self, key: DenyKey) -> Self {
        self.deny_keys |= 1 << key as u8;
        self
    }

    /// Whether it asks for keys of a kind.
    #[cfg(any(test, target_arch = "wasm32"))]
    pub(crate) const fn denies_by(&self, key: DenyKey) -> bool {
        self.deny_keys & 1 << key as u8 != 0
    }

    /// Asks to kill processes.
    #[must_use]
    pub const fn kill(mut self) -> Self {
        self.kill = true;
        self
    }

    /// Asks for a tick every so many milliseconds, at least 10.
    #[must_use]
    pub const fn tick_ms(mut self, tick_ms: u32) -> Self {
        self.tick_ms = tick_ms;
        self
    }

    /// Says what becomes of its rules when it stops; they are kept unless said otherwise.
    #[must_use]
    pub const fn on_stop(mut self, on_stop: OnStop) -> Self {
        self.on_stop = on_stop;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_holds_what_was_asked_in_order() {
        let filter = Filter::new(Hook::FileOpen).path_prefix("/etc/").flags_any(2).uid(0);
        let manifest = Manifest::new("a", "1.0.0")
            .watch("inode_getattr: path")
            .watch("task_kill: sig")
            .filter(filter.clone())
            .deny_by_cgroup()
            .deny_by_file();
        assert_eq!(manifest.watches, ["inode_getattr: path", "task_kill: sig"]);
        assert_eq!(manifest.filters, [filter]);
        assert!(manifest.denies_by(DenyKey::Cgroup) && manifest.denies_by(DenyKey::File));
        assert!(!manifest.denies_by(DenyKey::Process) && !manifest.denies_by(DenyKey::Hook));
    }
}
