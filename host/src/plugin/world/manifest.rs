//! What a plugin asks for: its manifest, checked field by field.

use std::time::Duration;

use krsi_plugin_schema::latest::{Hook, HookSet};
use krsi_plugin_schema::v0_1;

/// Longest name of a plugin.
const NAME_MAX: usize = 64;
/// Longest version of a plugin.
const VERSION_MAX: usize = 64;
/// Shortest interval of ticks.
const TICK_MIN_MS: u32 = 10;
/// Watches of one plugin.
const WATCHES_MAX: usize = 64;
/// Longest text of a watch.
const WATCH_MAX: usize = 1024;
/// Filters of one plugin.
const FILTERS_MAX: usize = 256;
/// Longest path prefix of a filter.
const PREFIX_MAX: usize = 255;

/// What becomes of a plugin's rules when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They stand until they expire.
    Keep,
    /// They are withdrawn.
    Clear,
}

/// A kind of keys of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyKey {
    /// One process.
    Process,
    /// A process and its descendants.
    Lineage,
    /// A file.
    File,
    /// A destination.
    Network,
    /// A cgroup.
    Cgroup,
    /// A path prefix.
    Path,
    /// A digest of the executable.
    Digest,
    /// Every call of a hook.
    Hook,
}

/// What of a hook a plugin wants to see: calls that every condition holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The hook, one that it subscribes to.
    pub hook: Hook,
    /// User id.
    pub uid: Option<u32>,
    /// Cgroup id.
    pub cgroup: Option<u64>,
    /// How the path starts, from a slash on.
    pub path_prefix: Option<String>,
    /// One of these `O_*` flags.
    pub flags_any: Option<u32>,
    /// Port.
    pub port: Option<u16>,
    /// Only the first call of a process on an object.
    pub first_seen: bool,
    /// Calls of one process in a second.
    pub per_process_rate: Option<u32>,
}

/// What a plugin asks for, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name, `[a-z0-9-]`.
    pub name: String,
    /// Version.
    pub version: String,
    /// Schema of the batches it reads.
    pub schema: u16,
    /// Hooks it subscribes to.
    pub hooks: HookSet,
    /// Its own watches, as it wrote them; their grammar is checked when they are resolved.
    pub watches: Vec<String>,
    /// What of its hooks it wants to see; everything of a hook without a filter.
    pub filters: Vec<Filter>,
    /// Hooks its rules refuse.
    pub deny_hooks: HookSet,
    /// Kinds of keys that it denies by.
    pub deny_keys: Vec<DenyKey>,
    /// Whether it wants to kill.
    pub kill: bool,
    /// Interval of ticks, if it wants any.
    pub tick: Option<Duration>,
    /// What becomes of its rules when it stops.
    pub on_stop: OnStop,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A name that cannot own rules.
    #[error("name {name:?} is not 1 to {NAME_MAX} of a-z, 0-9 and -")]
    Name {
        /// The name.
        name: String,
    },
    /// A version that cannot be shown.
    #[error("version {version:?} is not 1 to {VERSION_MAX} printable ASCII characters")]
    Version {
        /// The version.
        version: String,
    },
    /// Another schema of batches than its contract's.
    #[error("schema {schema} is not that of its contract, {contract} is")]
    Schema {
        /// The schema.
        schema: u16,
        /// The contract's.
        contract: u16,
    },
    /// Too many watches or filters.
    #[error("{count} {what}, at most {limit} are allowed")]
    Many {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A watch that can be no watch.
    #[error("watch {index} is not 1 to {WATCH_MAX} bytes of one line")]
    Watch {
        /// Its place.
        index: usize,
    },
    /// A filter of a hook that it does not subscribe to.
    #[error("a filter is for {hook:?}, which is not among its hooks")]
    FilterHook {
        /// The hook.
        hook: String,
    },
    /// A filter that nothing can pass.
    #[error("a filter of {hook} has {what}")]
    FilterField {
        /// The hook.
        hook: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A hook that this host does not know.
    #[error("hook {hook:?} is not known to this host")]
    Hook {
        /// The hook.
        hook: String,
    },
    /// Ticks that come too fast.
    #[error("a tick every {tick_ms} ms is more often than every {TICK_MIN_MS} ms")]
    Tick {
        /// The interval.
        tick_ms: u32,
    },
}

/// A manifest as a contract's bindings give it.
pub(super) struct RawManifest {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) schema: u16,
    pub(super) hooks: Vec<String>,
    pub(super) watches: Vec<String>,
    pub(super) filters: Vec<RawFilter>,
    pub(super) deny_hooks: Vec<String>,
    pub(super) deny_keys: Vec<DenyKey>,
    pub(super) kill: bool,
    pub(super) tick_ms: u32,
    pub(super) on_stop: OnStop,
}

/// A filter as a contract's bindings give it.
#[derive(Clone, Default)]
pub(super) struct RawFilter {
    pub(super) hook: String,
    pub(super) uid: Option<u32>,
    pub(super) cgroup: Option<u64>,
    pub(super) path_prefix: Option<String>,
    pub(super) flags_any: Option<u32>,
    pub(super) port: Option<u16>,
    pub(super) first_seen: bool,
    pub(super) per_process_rate: Option<u32>,
}

impl RawManifest {
    /// Checks every field. `contract` is the schema of the contract it was built against.
    pub(super) fn check(self, contract: u16) -> Result<Manifest, ManifestError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > NAME_MAX || !self.name.bytes().all(plain) {
            return Err(ManifestError::Name { name: cut(&self.name) });
        }
        let printable = self.version.bytes().all(|byte| byte.is_ascii_graphic());
        if self.version.is_empty() || self.version.len() > VERSION_MAX || !printable {
            return Err(ManifestError::Version { version: cut(&self.version) });
        }
        if self.schema != contract {
            return Err(ManifestError::Schema { schema: self.schema, contract });
        }
        if (1..TICK_MIN_MS).contains(&self.tick_ms) {
            return Err(ManifestError::Tick { tick_ms: self.tick_ms });
        }
        let wanted = hooks(&self.hooks, contract)?;
        Ok(Manifest {
            hooks: wanted,
            watches: watches(self.watches)?,
            filters: filters(self.filters, wanted)?,
            deny_hooks: hooks(&self.deny_hooks, contract)?,
            name: self.name,
            version: self.version,
            schema: contract,
            deny_keys: self.deny_keys,
            kill: self.kill,
            tick: (self.tick_ms > 0).then(|| Duration::from_millis(u64::from(self.tick_ms))),
            on_stop: self.on_stop,
        })
    }
}

/// A plugin of an older contract could not read events of a hook that its contract does not have.
fn hooks(names: &[String], contract: u16) -> Result<HookSet, ManifestError> {
    names.iter().try_fold(HookSet::default(), |set, name| {
        let hook = Hook::from_name(name)
            .filter(|hook| contract > v0_1::SCHEMA || v0_1::Hook::from_name(hook.name()).is_some());
        let hook = hook.ok_or_else(|| ManifestError::Hook { hook: cut(name) })?;
        Ok(set.with(hook))
    })
}

fn few(what: &'static str, count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit { Err(ManifestError::Many { what, count, limit }) } else { Ok(()) }
}

fn watches(watches: Vec<String>) -> Result<Vec<String>, ManifestError> {
    few("watches", watches.len(), WATCHES_MAX)?;
    let wrong = |text: &String| {
        text.is_empty() || text.len() > WATCH_MAX || text.chars().any(char::is_control)
    };
    match watches.iter().position(wrong) {
        Some(index) => Err(ManifestError::Watch { index }),
        None => Ok(watches),
    }
}

fn filters(raw: Vec<RawFilter>, wanted: HookSet) -> Result<Vec<Filter>, ManifestError> {
    few("filters", raw.len(), FILTERS_MAX)?;
    raw.into_iter().map(|raw| filter(raw, wanted)).collect()
}

fn filter(raw: RawFilter, wanted: HookSet) -> Result<Filter, ManifestError> {
    let hook = Hook::from_name(&raw.hook)
        .filter(|hook| wanted.contains(*hook))
        .ok_or_else(|| ManifestError::FilterHook { hook: cut(&raw.hook) })?;
    let is_path = |prefix: &String| {
        prefix.starts_with('/') && prefix.len() <= PREFIX_MAX && !prefix.contains('\0')
    };
    let wrong = if raw.path_prefix.as_ref().is_some_and(|prefix| !is_path(prefix)) {
        Some("a path prefix that is not 1 to 255 bytes from a slash on")
    } else if raw.flags_any == Some(0) {
        Some("no bit in its flags")
    } else if raw.per_process_rate == Some(0) {
        Some("a rate of 0")
    } else {
        None
    };
    if let Some(what) = wrong {
        return Err(ManifestError::FilterField { hook: hook.name(), what });
    }
    Ok(Filter {
        hook,
        uid: raw.uid,
        cgroup: raw.cgroup,
        path_prefix: raw.path_prefix,
        flags_any: raw.flags_any,
        port: raw.port,
        first_seen: raw.first_seen,
        per_process_rate: raw.per_process_rate,
    })
}

fn cut(text: &str) -> String {
    text.chars().take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawManifest {
        RawManifest {
            name: "a-1".into(),
            version: "1.0.0".into(),
            schema: 2,
            hooks: vec!["file_open".into(), "path_unlink".into()],
            watches: vec!["inode_getattr: path".into()],
            filters: vec![RawFilter { hook: "file_open".into(), ..RawFilter::default() }],
            deny_hooks: Vec::new(),
            deny_keys: Vec::new(),
            kill: false,
            tick_ms: 0,
            on_stop: OnStop::Keep,
        }
    }

    fn check(change: fn(&mut RawManifest), contract: u16, words: &str) {
        let mut manifest = raw();
        change(&mut manifest);
        let error = manifest.check(contract).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(words) && error.is_empty() == words.is_empty(), "{error}");
    }

    #[test]
    fn manifests_are_checked_field_by_field() {
        check(|_| {}, 2, "");
        check(|manifest| manifest.name.clear(), 2, "name");
        check(|manifest| manifest.name = "A".into(), 2, "name");
        check(|manifest| manifest.name = "a".repeat(65), 2, "name");
        check(|manifest| manifest.version = "1\n".into(), 2, "version");
        check(|manifest| manifest.schema = 3, 2, "schema 3");
        check(|manifest| manifest.hooks.push("no_such".into()), 2, "no_such");
        check(|manifest| manifest.tick_ms = 1, 2, "tick");
        check(|manifest| manifest.watches.push(String::new()), 2, "watch 1");
        check(|manifest| manifest.watches.push("a\nb".into()), 2, "watch 1");
        check(|manifest| manifest.watches = vec!["a: b".into(); 65], 2, "65 watches");
        check(|manifest| manifest.filters = vec![RawFilter::default(); 257], 2, "257 filters");
    }

    #[test]
    fn a_filter_nothing_can_pass_is_refused() {
        let other = |manifest: &mut RawManifest| manifest.filters[0].hook = "task_kill".into();
        check(other, 2, "task_kill");
        let prefix =
            |manifest: &mut RawManifest| manifest.filters[0].path_prefix = Some("x".into());
        check(prefix, 2, "path prefix");
        check(|manifest| manifest.filters[0].flags_any = Some(0), 2, "flags");
        check(|manifest| manifest.filters[0].per_process_rate = Some(0), 2, "rate of 0");
    }

    #[test]
    fn the_first_contract_has_its_six_hooks_and_no_others() {
        let first = |manifest: &mut RawManifest| {
            (manifest.schema, manifest.watches, manifest.filters) = (1, Vec::new(), Vec::new());
        };
        check(first, 1, "path_unlink");
        check(|manifest| manifest.schema = 1, 2, "schema 1");
        let mut manifest = raw();
        first(&mut manifest);
        manifest.hooks.pop();
        let manifest = manifest.check(1).unwrap();
        assert_eq!((manifest.schema, manifest.hooks.iter().count()), (1, 1));
    }
}
