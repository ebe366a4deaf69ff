//! What a plugin asks for: its manifest, checked field by field.

use std::time::Duration;

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::latest::{
    self, Condition, Hook, HookSet, KeyKinds, Label, ManifestFault, OnStop, ToldRunning,
};

use crate::route::filter::Filter;

/// Longest name of a plugin.
const NAME_MAX: usize = 64;
/// Longest version of a plugin.
const VERSION_MAX: usize = 64;
/// Shortest interval of ticks.
const TICK_MIN_MS: u32 = 10;
/// Watches of one plugin.
const WATCHES_MAX: usize = 64;
/// Labels of a plugin.
const LABELS_MAX: usize = 8;
/// Longest name of a label.
const LABEL_NAME_MAX: usize = 32;
/// Longest text of a watch.
const WATCH_MAX: usize = 1024;
/// Filters of one plugin.
const FILTERS_MAX: usize = 256;

/// What a plugin asks for, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the plugin, `[a-z0-9-]`.
    pub name: String,
    pub version: String,
    /// Schema of the batches that it is sent: its contract's.
    pub schema: Schema,
    /// Hooks it subscribes to.
    pub hooks: HookSet,
    /// Its own watches, as it wrote them; their grammar is checked when they are resolved.
    pub watches: Vec<String>,
    /// What of its hooks it wants to see; everything of a hook without a filter.
    pub filters: Vec<Filter>,
    /// Hooks its rules refuse.
    pub deny_hooks: HookSet,
    /// Kinds of keys that it denies by.
    pub deny_keys: KeyKinds,
    /// Labels that it declares.
    pub labels: Vec<Label>,
    /// Whether it is told of what runs already.
    pub running: ToldRunning,
    /// Whether it asks for samples of processes.
    pub samples: bool,
    /// Whether it wants to kill.
    pub kill: bool,
    /// Interval of ticks, if it wants any.
    pub tick: Option<Duration>,
    /// What becomes of the plugin's rules when the plugin stops.
    pub on_stop: OnStop,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read, or requires what this host does not have.
    #[error(transparent)]
    Fault(#[from] ManifestFault),
    /// A name that cannot own rules.
    #[error("name {name:?} is not 1 to {NAME_MAX} of a-z, 0-9 and -")]
    Name { name: String },
    /// A version that cannot be shown.
    #[error("version {version:?} is not 1 to {VERSION_MAX} printable ASCII characters")]
    Version { version: String },
    /// The schema of batches is not the one of the contract.
    #[error("schema {schema} is not that of its contract, {} is", contract.number())]
    Schema {
        schema: u16,
        /// Schema of the contract.
        contract: Schema,
    },
    /// Too many watches or filters.
    #[error("{count} {what}, at most {limit} are allowed")]
    Many { what: &'static str, count: usize, limit: usize },
    /// A watch that can be no watch.
    #[error("watch {index} is not 1 to {WATCH_MAX} bytes of one line")]
    Watch { index: usize },
    /// A label's name.
    #[error("the label {name:?} is there twice, or is not 1 to {LABEL_NAME_MAX} of a-z, 0-9 and -")]
    Label {
        /// Name of the label.
        name: String,
    },
    /// A filter of a hook that it does not subscribe to.
    #[error("a filter is for {hook:?}, which is not among its hooks")]
    FilterHook { hook: String },
    /// A filter that nothing can pass.
    #[error("a filter of {hook} has {what}")]
    FilterField { hook: &'static str, what: &'static str },
    /// A hook that this host does not know.
    #[error("hook {hook:?} is not known to this host")]
    Hook { hook: String },
    /// Ticks that come too fast.
    #[error("a tick every {tick_ms} ms is more often than every {TICK_MIN_MS} ms")]
    Tick {
        /// The interval that is asked for, milliseconds.
        tick_ms: u32,
    },
}

/// Whether a plugin can have that name: 1 to 64 of a-z, 0-9 and -.
#[must_use]
pub(crate) fn is_plugin_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(plain)
}

/// Whether a label can have that name: 1 to 32 of a-z, 0-9 and -.
#[must_use]
pub(crate) fn is_label_name(name: &str) -> bool {
    is_plugin_name(name) && name.len() <= LABEL_NAME_MAX
}

/// Checks every field of a manifest. `contract` is the schema of the contract it was built against.
pub(super) fn check(asked: latest::Manifest, contract: Schema) -> Result<Manifest, ManifestError> {
    if !is_plugin_name(&asked.name) {
        return Err(ManifestError::Name { name: cut(&asked.name) });
    }
    let printable = asked.version.bytes().all(|byte| byte.is_ascii_graphic());
    if asked.version.is_empty() || asked.version.len() > VERSION_MAX || !printable {
        return Err(ManifestError::Version { version: cut(&asked.version) });
    }
    if !contract.serves(asked.schema) {
        return Err(ManifestError::Schema { schema: asked.schema, contract });
    }
    if (1..TICK_MIN_MS).contains(&asked.tick_ms) {
        return Err(ManifestError::Tick { tick_ms: asked.tick_ms });
    }
    let wanted = hooks(&asked.hooks, contract)?;
    Ok(Manifest {
        hooks: wanted,
        watches: watches(asked.watches)?,
        filters: filters(asked.filters, wanted)?,
        deny_hooks: hooks(&asked.deny_hooks, contract)?,
        name: asked.name,
        version: asked.version,
        schema: contract,
        deny_keys: asked.deny_keys,
        labels: labels(asked.labels)?,
        running: asked.running,
        samples: asked.samples,
        kill: asked.kill,
        tick: (asked.tick_ms > 0).then(|| Duration::from_millis(u64::from(asked.tick_ms))),
        on_stop: asked.on_stop,
    })
}

fn labels(labels: Vec<Label>) -> Result<Vec<Label>, ManifestError> {
    few("labels", labels.len(), LABELS_MAX)?;
    for (at, label) in labels.iter().enumerate() {
        if !is_label_name(&label.name)
            || labels.iter().take(at).any(|other| other.name == label.name)
        {
            return Err(ManifestError::Label { name: cut(&label.name) });
        }
    }
    Ok(labels)
}

/// A plugin of an older contract could not read events of a hook that its contract does not have.
fn hooks(names: &[String], contract: Schema) -> Result<HookSet, ManifestError> {
    names.iter().try_fold(HookSet::default(), |set, name| {
        let hook = Hook::from_name(name).filter(|hook| contract.has(*hook));
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

fn filters(asked: Vec<latest::Filter>, wanted: HookSet) -> Result<Vec<Filter>, ManifestError> {
    few("filters", asked.len(), FILTERS_MAX)?;
    asked.into_iter().map(|asked| filter(asked, wanted)).collect()
}

fn filter(asked: latest::Filter, wanted: HookSet) -> Result<Filter, ManifestError> {
    let hook = Hook::from_name(&asked.hook)
        .filter(|hook| wanted.contains(*hook))
        .ok_or_else(|| ManifestError::FilterHook { hook: cut(&asked.hook) })?;
    match asked.conditions.iter().find_map(Condition::fault) {
        Some(what) => Err(ManifestError::FilterField { hook: hook.name(), what }),
        None => Ok(Filter { hook, conditions: asked.conditions }),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Schema = Schema::V0_2;

    fn raw() -> latest::Manifest {
        latest::Manifest::new("a-1", "1.0.0")
            .hook(Hook::FileOpen)
            .hook(Hook::PathUnlink)
            .watch("inode_getattr: path")
            .filter(latest::Filter::new(Hook::FileOpen))
    }

    fn check(change: fn(&mut latest::Manifest), contract: Schema, words: &str) {
        let mut manifest = raw();
        change(&mut manifest);
        let error = super::check(manifest, contract).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(words) && error.is_empty() == words.is_empty(), "{error}");
    }

    #[test]
    fn manifests_are_checked_field_by_field() {
        check(|_| {}, NEW, "");
        check(|manifest| manifest.name.clear(), NEW, "name");
        check(|manifest| manifest.name = "A".into(), NEW, "name");
        check(|manifest| manifest.name = "a".repeat(65), NEW, "name");
        check(|manifest| manifest.version = "1\n".into(), NEW, "version");
        check(|manifest| manifest.schema = 0, NEW, "schema 0");
        check(|manifest| manifest.schema = 3, NEW, "");
        check(|manifest| manifest.hooks.push("no_such".into()), NEW, "no_such");
        check(|manifest| manifest.tick_ms = 1, NEW, "tick");
        check(|manifest| manifest.watches.push(String::new()), NEW, "watch 1");
        check(|manifest| manifest.watches.push("a\nb".into()), NEW, "watch 1");
        check(|manifest| manifest.watches = vec!["a: b".into(); 65], NEW, "65 watches");
        check(
            |manifest| manifest.filters = vec![latest::Filter::default(); 257],
            NEW,
            "257 filters",
        );
    }

    #[test]
    fn a_filter_nothing_can_pass_is_refused() {
        let other = |manifest: &mut latest::Manifest| manifest.filters[0].hook = "task_kill".into();
        check(other, NEW, "task_kill");
        let one = |condition: fn(latest::Filter) -> latest::Filter, words: &str| {
            let filter = condition(latest::Filter::new(Hook::FileOpen));
            let error = super::check(raw().filter(filter), NEW).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        one(|filter| filter.path_prefix("x"), "path prefix");
        one(|filter| filter.flags_any(0), "flags");
        one(|filter| filter.per_process_rate(0), "rate of 0");
    }

    #[test]
    fn the_first_contract_has_its_six_hooks_and_no_others() {
        let first = |manifest: &mut latest::Manifest| {
            (manifest.schema, manifest.watches, manifest.filters) = (1, Vec::new(), Vec::new());
        };
        check(first, Schema::V0_1, "path_unlink");
        check(|manifest| manifest.schema = 1, NEW, "schema 1");
        let mut manifest = raw();
        first(&mut manifest);
        manifest.hooks.pop();
        let manifest = super::check(manifest, Schema::V0_1).unwrap();
        assert_eq!((manifest.schema, manifest.hooks.iter().count()), (Schema::V0_1, 1));
        let mut later = raw();
        first(&mut later);
        later.schema = 3;
        let refused = super::check(later, Schema::V0_1).unwrap_err().to_string();
        assert!(refused.contains("schema 3"), "{refused}");
    }
}
