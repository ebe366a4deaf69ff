//! The configuration file: limits and grants, for all plugins and for single ones.
//!
//! ```toml
//! [defaults]              # every plugin
//! memory-mib = 64
//! [plugin.miner]          # the plugin of that name, over the defaults
//! kill = true
//! errnos = ["EPERM", "EACCES"]
//! scope = "cgroup:/user.slice"
//! ```
//! A list of hooks or keys bounds what the manifest asks for; without one the manifest counts, as it
//! was when the plugin was first loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use krsi_plugin_schema::latest::{Hook, HookSet, KeyKind, KeyKinds, RuleMode};
use serde::Deserialize;

use super::labels::{LabelTables, labels};
use super::rules::RulesTable;
use super::setting::SettingError;
use super::source::Source;
use super::{ConfigError, RuleSettings, Settings};
use crate::errno::errno_number;
use crate::route::scope::Scope;

/// The file as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    #[serde(default)]
    defaults: PluginTable,
    #[serde(default)]
    plugin: BTreeMap<String, PluginTable>,
    #[serde(default)]
    rules: RulesTable,
    #[serde(default)]
    labels: LabelTables,
}

/// A plugin's table in the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PluginTable {
    /// Linear memory, MiB.
    memory_mib: Option<u16>,
    table_elements: Option<u32>,
    /// Native stack of a call, KiB.
    stack_kib: Option<u16>,
    /// Time of a call, milliseconds.
    deadline_ms: Option<u32>,
    /// Time of `describe`, `init` and `restore`, milliseconds.
    init_deadline_ms: Option<u32>,
    /// Size of the Wasm file, MiB.
    binary_mib: Option<u16>,
    /// Length of what a call may return, KiB.
    output_kib: Option<u16>,
    /// Length of the state that `snapshot` may return, KiB.
    state_kib: Option<u32>,
    /// Records that may wait in the plugin's queue.
    queue_records: Option<u32>,
    /// Bytes of its log in a second.
    log_bytes_per_second: Option<u32>,
    /// Faults after which it is given up.
    faults: Option<u32>,
    /// Batches that a new version must handle before the old one is let go.
    probation_batches: Option<u32>,
    /// Hooks it may see.
    hooks: Option<Vec<String>>,
    /// Hooks its rules may refuse.
    deny_hooks: Option<Vec<String>>,
    /// Names of [`KeyKind`]s.
    deny_keys: Option<Vec<String>>,
    /// Whether it may kill.
    kill: Option<bool>,
    /// Errnos it may answer.
    errnos: Option<Vec<String>>,
    /// Longest life of a rule, seconds.
    max_ttl_s: Option<u32>,
    /// Whether a denial may be without end.
    permanent: Option<bool>,
    /// Whether its denials may be broad.
    broad: Option<bool>,
    /// Whether its watches may read whatever the kernel's types lead to.
    deep: Option<bool>,
    /// Whether its watches may show the first bytes of what processes send.
    content: Option<bool>,
    /// Rules it may have in force.
    rules: Option<u32>,
    /// Actions of one call.
    actions: Option<u32>,
    /// Updates of maps of one call.
    map_updates: Option<u32>,
    alerts_per_second: Option<u32>,
    /// Asks for samples of processes that may be open, 0 for none.
    samples: Option<u32>,
    samples_per_second: Option<u32>,
    /// `system`, `uid:N` or `cgroup:/PATH`.
    scope: Option<String>,
    /// Mode of the plugin's rules.
    mode: Option<ModeWord>,
    /// The only file that may be the plugin.
    file: Option<PathBuf>,
    /// SHA-256 of the only bytes that may be the plugin, hexadecimal.
    sha256: Option<String>,
    /// Public key file that the plugin must be signed with.
    key: Option<PathBuf>,
}

/// `enforce`, `audit` or `off`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ModeWord {
    Enforce,
    Audit,
    Off,
}

impl File {
    /// Names of the plugins that have a table.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.plugin.keys().map(String::as_str)
    }

    /// Files of the public keys that plugins are pinned to.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Path> {
        self.plugin.values().filter_map(|table| table.key.as_deref())
    }

    /// Returns the settings of all rules, with the administrator's labels.
    pub(super) fn rules(&self) -> Result<RuleSettings, SettingError> {
        Ok(RuleSettings { labels: labels(&self.labels)?, ..self.rules.settings()? })
    }

    pub(super) fn read(source: &Source) -> Result<Self, ConfigError> {
        let wrong = |reason| ConfigError::File { file: source.path().into(), reason };
        Self::parse(source.read()?).map_err(wrong)
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, SettingError> {
        let parsed: File = toml::from_str(&String::from_utf8(bytes)?)?;
        // Every table is tried now, so that a mistake is told at once and not when a plugin comes.
        for name in parsed.plugin.keys() {
            parsed.apply(name, Settings::default())?;
        }
        parsed.apply("", Settings::default())?;
        Ok(parsed)
    }

    /// `base` with what the file says of a plugin.
    pub(super) fn apply(&self, name: &str, mut base: Settings) -> Result<Settings, SettingError> {
        let defaults = self.defaults.apply(&mut base).and_then(|()| self.defaults.pins_nothing());
        defaults.map_err(|error| error.in_table("defaults"))?;
        if let Some(table) = self.plugin.get(name) {
            table.apply(&mut base).map_err(|error| error.in_table(format!("plugin.{name}")))?;
        }
        Ok(base)
    }
}

impl PluginTable {
    fn apply(&self, to: &mut Settings) -> Result<(), SettingError> {
        self.limit(to)?;
        self.grant(to)?;
        self.pin(to)
    }

    /// Checks that the table holds no pin: a pin is of one plugin.
    fn pins_nothing(&self) -> Result<(), SettingError> {
        let Self { file, sha256, key, .. } = self;
        let said = [("file", file.is_some()), ("sha256", sha256.is_some()), ("key", key.is_some())];
        match said.into_iter().find(|(_, said)| *said) {
            Some((key, _)) => Err(SettingError::PinOfAll { key }),
            None => Ok(()),
        }
    }

    fn pin(&self, to: &mut Settings) -> Result<(), SettingError> {
        for (key, path) in [("file", &self.file), ("key", &self.key)] {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                return Err(SettingError::Relative { path: path.clone() }.at_key(key));
            }
        }
        if let Some(text) = &self.sha256 {
            let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
            if (digits, text.len()) != (64, 64) {
                return Err(SettingError::Digest { text: text.clone() });
            }
            to.pin.sha256 = Some(text.to_ascii_lowercase());
        }
        to.pin.file = self.file.clone().or(to.pin.file.take());
        to.pin.key = self.key.clone().or(to.pin.key.take());
        Ok(())
    }

    fn limit(&self, to: &mut Settings) -> Result<(), SettingError> {
        let limits = &mut to.limits;
        let (kib, mib) = (|n: u32| (n as usize) << 10, |n: u16| usize::from(n) << 20);
        let ms = |n: u32| Duration::from_millis(u64::from(n));
        set(&mut limits.memory_bytes, self.memory_mib.map(mib));
        set(&mut limits.table_elements, self.table_elements.map(|n| n as usize));
        set(&mut limits.stack_bytes, self.stack_kib.map(|n| kib(u32::from(n))));
        set(&mut limits.call_deadline, self.deadline_ms.map(ms));
        set(&mut limits.init_deadline, self.init_deadline_ms.map(ms));
        set(&mut limits.binary_bytes, self.binary_mib.map(|n| u64::from(n) << 20));
        set(&mut limits.output_bytes, self.output_kib.map(|n| kib(u32::from(n))));
        set(&mut limits.state_bytes, self.state_kib.map(kib));
        set(&mut limits.queue_records, self.queue_records.map(|n| n as usize));
        set(&mut limits.log_bytes_per_second, self.log_bytes_per_second);
        set(&mut to.restart.faults_max, self.faults);
        set(&mut to.restart.probation_batches, self.probation_batches);
        within("memory-mib", limits.memory_bytes >> 20, 1, 4096)?;
        // Less leaves no room for the host's own part of a call, more than a thread has is fatal.
        within("stack-kib", limits.stack_bytes >> 10, 64, 1024)?;
        within("deadline-ms", millis(limits.call_deadline), 10, 60_000)?;
        within("init-deadline-ms", millis(limits.init_deadline), 10, 600_000)?;
        within("binary-mib", (limits.binary_bytes >> 20) as usize, 1, 256)?;
        within("state-kib", limits.state_bytes >> 10, 0, 1 << 20)?;
        within("queue-records", limits.queue_records, 1, 1 << 24)?;
        within("faults", to.restart.faults_max as usize, 1, 1000)
    }

    fn grant(&self, to: &mut Settings) -> Result<(), SettingError> {
        let grant = &mut to.grant;
        if let Some(names) = &self.hooks {
            grant.hooks = Some(hooks(names)?);
        }
        if let Some(names) = &self.deny_hooks {
            grant.deny_hooks = Some(hooks(names)?);
        }
        if let Some(names) = &self.deny_keys {
            let key = |name: &String| {
                KeyKind::from_name(name).ok_or_else(|| {
                    let known = KeyKind::ALL.iter().map(|kind| kind.name()).collect();
                    SettingError::Unknown { name: name.clone(), known }.at_key("deny-keys")
                })
            };
            let keys: Result<KeyKinds, SettingError> = names.iter().map(key).collect();
            grant.deny_keys = Some(keys?);
        }
        if let Some(names) = &self.errnos {
            let number = |name: &String| errno_of(name).map_err(|error| error.at_key("errnos"));
            let numbers: Result<Vec<u16>, SettingError> = names.iter().map(number).collect();
            grant.errnos = Some(numbers?.into());
        }
        if let Some(mode) = self.mode {
            grant.mode = match mode {
                ModeWord::Enforce => RuleMode::Enforce,
                ModeWord::Audit => RuleMode::Audit,
                ModeWord::Off => RuleMode::Off,
            };
        }
        if let Some(text) = &self.scope {
            grant.scope = scope(text)?;
        }
        set(&mut grant.kill, self.kill);
        set(&mut grant.max_ttl_ms, self.max_ttl_s.map(|seconds| u64::from(seconds) * 1000));
        set(&mut grant.permanent, self.permanent);
        set(&mut grant.broad, self.broad);
        set(&mut grant.deep, self.deep);
        set(&mut grant.content, self.content);
        set(&mut grant.max_rules, self.rules.map(|n| n as usize));
        set(&mut grant.actions_max, self.actions.map(|n| n as usize));
        set(&mut grant.writes_max, self.map_updates.map(u64::from));
        set(&mut grant.alerts_per_second, self.alerts_per_second);
        set(&mut grant.samples.asks, self.samples.map(|n| n as usize));
        set(&mut grant.samples.per_second, self.samples_per_second);
        within("samples", grant.samples.asks, 0, 4096)?;
        within("samples-per-second", grant.samples.per_second as usize, 1, 4096)?;
        // The host reckons with at most so many between two checkpoints.
        within("map-updates", grant.writes_max as usize, 16, 1 << 20)?;
        within("actions", grant.actions_max, 1, 4096)
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn millis(time: Duration) -> usize {
    usize::try_from(time.as_millis()).unwrap_or(usize::MAX)
}

pub(super) fn within(
    key: &str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), SettingError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SettingError::Range { key: key.to_owned(), value, least, most })
}

/// The errno of a name.
pub(super) fn errno_of(name: &str) -> Result<u16, SettingError> {
    errno_number(name).ok_or_else(|| SettingError::Errno { name: name.to_owned() })
}

fn hooks(names: &[String]) -> Result<HookSet, SettingError> {
    names.iter().try_fold(HookSet::default(), |set, name| {
        let known = || Hook::ALL.iter().map(|hook| hook.name()).collect();
        let hook = Hook::from_name(name);
        hook.map(|hook| set.with(hook))
            .ok_or_else(|| SettingError::Unknown { name: name.clone(), known: known() })
    })
}

fn scope(text: &str) -> Result<Scope, SettingError> {
    let wrong = || SettingError::Scope { text: text.to_owned() };
    match text.split_once(':') {
        None if text == "system" => Ok(Scope::System),
        Some(("uid", id)) => id.parse().map(Scope::Uid).map_err(|_| wrong()),
        Some(("cgroup", path)) if path.starts_with('/') => Ok(Scope::Cgroup(path.into())),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pin;
    use super::*;
    use crate::plugin::Limits;

    fn parse(text: &str) -> Result<Settings, SettingError> {
        File::parse(text.into())?.apply("miner", Settings::default())
    }

    #[test]
    fn a_plugins_table_goes_over_the_defaults() {
        let text = "[defaults]\nmemory-mib = 8\nkill = true\n[plugin.miner]\nmemory-mib = 16\n\
                    errnos = [\"EACCES\"]\nscope = \"uid:7\"\nhooks = [\"file_open\"]\n\
                    [plugin.other]\nmemory-mib = 1";
        let settings = parse(text).unwrap();
        assert_eq!((settings.limits.memory_bytes, settings.grant.kill), (16 << 20, true));
        assert_eq!(settings.grant.errnos.as_deref(), Some(&[libc::EACCES as u16][..]));
        assert_eq!(settings.grant.scope, Scope::Uid(7));
        assert_eq!(settings.grant.hooks, Some(HookSet::default().with(Hook::FileOpen)));
    }

    #[test]
    fn every_limit_can_be_set() {
        let text = "[plugin.miner]\nmemory-mib = 1\ntable-elements = 2\nstack-kib = 65\n\
                    deadline-ms = 11\ninit-deadline-ms = 12\nbinary-mib = 3\noutput-kib = 4\n\
                    state-kib = 5\nqueue-records = 6\nlog-bytes-per-second = 7\nfaults = 8\n\
                    probation-batches = 9";
        let Settings { limits, restart, .. } = parse(text).unwrap();
        let expected = Limits {
            memory_bytes: 1 << 20,
            table_elements: 2,
            stack_bytes: 65 << 10,
            call_deadline: Duration::from_millis(11),
            init_deadline: Duration::from_millis(12),
            binary_bytes: 3 << 20,
            output_bytes: 4 << 10,
            state_bytes: 5 << 10,
            queue_records: 6,
            log_bytes_per_second: 7,
            ..Limits::default()
        };
        assert_eq!((limits, restart.faults_max, restart.probation_batches), (expected, 8, 9));
        let text = "[defaults]\nrules = 1\nactions = 2\nmap-updates = 99\nalerts-per-second = 3\nmax-ttl-s = 4\n\
                    permanent = true\nbroad = true\ndeep = true\ncontent = true\nmode = \"audit\"\n\
                    samples = 5\nsamples-per-second = 6";
        let grant = parse(text).unwrap().grant;
        assert_eq!((grant.max_rules, grant.actions_max, grant.alerts_per_second), (1, 2, 3));
        assert_eq!((grant.samples.asks, grant.samples.per_second), (5, 6));
        assert_eq!((grant.mode, grant.writes_max), (RuleMode::Audit, 99));
        assert!(
            grant.permanent
                && grant.broad
                && grant.deep
                && grant.content
                && grant.max_ttl_ms == 4000,
            "{grant:?}"
        );
    }

    #[test]
    fn mistakes_name_the_key_and_what_is_known() {
        let check = |text: &str, words: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        check("[defaults]\nmemory = 8", "memory-mib");
        check("[default]", "defaults");
        check("[defaults]\nmode = \"on\"", "enforce");
        check("[defaults]\nmemory-mib = 0", "[defaults] memory-mib = 0 is not from 1 to 4096");
        check("[plugin.miner]\nhooks = [\"open\"]", "file_open");
        check("[plugin.miner]\nscope = \"uid:x\"", "cgroup:/PATH");
        check("[plugin.miner]\nerrnos = [\"EWHAT\"]", "EWHAT");
        check("[plugin.miner]\nsha256 = \"abc\"", "[plugin.miner] sha256 = \"abc\" is not 64");
        check("[plugin.miner]\nfile = \"a.wasm\"", "file: \"a.wasm\" is not absolute");
        check("[defaults]\nkey = \"/k.pub\"", "[defaults] key pins one plugin");
    }

    #[test]
    fn a_plugin_is_pinned_in_its_own_table() {
        let digest = "AB".repeat(32);
        let text = format!(
            "[plugin.miner]\nfile = \"/p/miner.wasm\"\nsha256 = \"{digest}\"\nkey = \"/k.pub\""
        );
        let pin = parse(&text).unwrap().pin;
        let expected = Pin {
            file: Some("/p/miner.wasm".into()),
            sha256: Some(digest.to_lowercase()),
            key: Some("/k.pub".into()),
        };
        assert_eq!(pin, expected);
        let other = File::parse(text.into()).unwrap().apply("other", Settings::default());
        assert_eq!(other.unwrap().pin, Pin::default());
    }
}
