//! What the operator chose, validated: command line and file into [`Config`].

mod file;
mod labels;
mod pin;
mod rules;
mod setting;
mod source;
mod writable;

use std::path::{Path, PathBuf};

use crate::kernel::map::RING_BYTES_MIN;
use crate::kernel::program::backend::BackendKind;
use crate::plugin::{CompileLimits, Limits, RestartPolicy};
use crate::policy::GrantSpec;
use crate::record;

pub(crate) use self::pin::{Pin, PinError};
pub(crate) use self::rules::{OnError, RuleSettings};
pub(crate) use self::setting::SettingError;
pub(crate) use self::source::Source;
pub(crate) use self::writable::Access;

use self::writable::{Writable, writable_by_others};

/// Largest configuration file of a plugin.
pub(crate) const PLUGIN_CONFIG_MAX: u64 = 1 << 20;
/// Most plugins of one host: owner slots fit a 64-bit mask, the last is the administrator's.
pub(crate) const PLUGINS_MAX: usize = 63;

/// A plugin that is to run: its file and its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSpec {
    /// Wasm file of the plugin.
    pub file: PathBuf,
    /// Configuration of the plugin, if it has one.
    pub config: Option<Source>,
}

/// Effect of rules on the calls that they match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeArg {
    /// Rules refuse calls.
    #[default]
    Enforce,
    /// Calls that rules would refuse are let through and reported.
    Audit,
    /// No rule is evaluated.
    Off,
}

/// How reports are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned lines for people, with colours or without.
    Terminal(crate::output::Colour),
    /// JSON, one object on each line.
    Json,
}

/// The settings of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Limits of the plugin.
    pub limits: Limits,
    /// Faults that are forgiven, waits before restarts, and length of a probation.
    pub restart: RestartPolicy,
    /// Grant of the plugin: what it may do of what it asks for.
    pub grant: GrantSpec,
    /// Pin: which file, digest or key may use the plugin's name.
    pub pin: Pin,
}

/// Everything a run needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Plugins, in order of their slots.
    pub plugins: Vec<PluginSpec>,
    /// Folders whose `*.wasm` are plugins.
    pub plugin_dirs: Vec<PathBuf>,
    /// Versions that run beside a plugin of their name, without effect.
    pub shadows: Vec<PathBuf>,
    /// Format of the reports.
    pub format: Format,
    /// Bytes of the telemetry ring.
    pub ring_bytes: u32,
    /// The backend; `None` takes the first that works.
    pub backend: Option<BackendKind>,
    /// Whether rules refuse, or only report what they would.
    pub mode: ModeArg,
    /// The administrator's watches.
    pub watches: Vec<String>,
    /// Hooks that are left alone.
    pub without: Vec<String>,
    /// Whether what all LSMs together answer is counted.
    pub witness: bool,
    /// Settings that the command line gives for every plugin.
    pub base: Settings,
    /// The configuration file.
    pub file: Option<Source>,
    /// Limits of compiling a plugin: memory and time.
    pub compile: CompileLimits,
    /// Where compiled code is kept.
    pub cache: Option<PathBuf>,
    /// Public key that every plugin must be signed with.
    pub require_signed: Option<PathBuf>,
    /// Where the control socket is.
    pub control: Option<PathBuf>,
    /// Whether files that others may change are run, and told of, instead of refused.
    pub allow_writable: bool,
    /// Created once hooks are proven live and rules of `init` are in force.
    pub ready_file: Option<PathBuf>,
    /// What a flight recorder keeps in memory, if there is to be one.
    pub flight: Option<record::FlightOptions>,
    /// Recording that begins at the start of the host, if there is to be one.
    pub record: Option<record::Options>,
}

/// Limits and grants of any plugin.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    base: Settings,
    file: file::File,
    rules: RuleSettings,
    allow_writable: bool,
    /// Files of the host's own that others may change, with what is to be told of it.
    writable: Vec<(PathBuf, String)>,
}

impl Policies {
    /// What is said of a plugin.
    ///
    /// # Errors
    /// When the file's values are out of range.
    pub fn of(&self, name: &str) -> Result<Settings, ConfigError> {
        let wrong = |reason| ConfigError::File { file: PathBuf::new(), reason };
        self.file.apply(name, self.base.clone()).map_err(wrong)
    }

    /// Looks whether others may change a plugin's file, its configuration or what the host itself goes by; the files
    /// of which that is to be told, where it is allowed.
    ///
    /// # Errors
    /// When it is not allowed.
    pub fn check_writers(&self, spec: &PluginSpec) -> Result<Vec<(PathBuf, String)>, ConfigError> {
        let config = spec.config.as_ref().filter(|config| config.is_file()).map(Source::path);
        let files = [Some(spec.file.as_path()), config].into_iter().flatten();
        let mut told = writable(files, self.allow_writable)?;
        told.extend_from_slice(&self.writable);
        Ok(told)
    }

    /// Names of the plugins that something is said of by name.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.file.named()
    }

    /// What is said of all rules; it holds from the start on.
    #[must_use]
    pub const fn rules(&self) -> &RuleSettings {
        &self.rules
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// More plugins than owner slots.
    #[error("{count} plugins, at most {PLUGINS_MAX} run at a time")]
    TooManyPlugins { count: usize },
    /// A ring size that the kernel would refuse, or that the longest record does not fit.
    #[error(
        "a ring of {bytes} bytes is not a power of two from {RING_BYTES_MIN}, which the longest record needs, to 1 GiB"
    )]
    RingBytes { bytes: u32 },
    /// A configuration file that cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A configuration file that does not parse, or says what cannot be.
    #[error("{}: {reason}", file.display())]
    File {
        file: PathBuf,
        /// Fault in the file, with its place.
        reason: SettingError,
    },
    /// Others may change what a plugin is made of.
    #[error("{}: others may change {}: {why}", file.display(), path.display())]
    Writable {
        /// The plugin's file, its configuration, or a file of the host's own.
        file: PathBuf,
        /// What they may change: the file itself, or a folder on the way to it.
        path: PathBuf,
        /// Reason why others may change it.
        why: Access,
    },
    /// A configuration without its plugin.
    #[error("--plugin-config {}: there are fewer --plugin than --plugin-config", config.display())]
    NoPluginOf {
        /// The configuration without a plugin.
        config: PathBuf,
    },
    /// A folder of plugins that is none.
    #[error("--plugin-dir {}: not a folder", folder.display())]
    NoFolder {
        /// Path that was given, from the root on.
        folder: PathBuf,
    },
    /// There is no plugin to run.
    #[error("no plugin: neither --plugin nor --plugin-dir is given")]
    NoPlugin,
    /// A configuration file beyond [`PLUGIN_CONFIG_MAX`].
    #[error("{}: longer than {PLUGIN_CONFIG_MAX} bytes", file.display())]
    TooLong { file: PathBuf },
}

impl Config {
    /// Checks what the command line parser cannot.
    ///
    /// # Errors
    /// Names the value and its bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.plugins.is_empty() && self.plugin_dirs.is_empty() && self.watches.is_empty() {
            return Err(ConfigError::NoPlugin);
        }
        if self.plugins.len() > PLUGINS_MAX {
            return Err(ConfigError::TooManyPlugins { count: self.plugins.len() });
        }
        // One that is not there yet may come, and is told of.
        let is_other = |folder: &&PathBuf| folder.metadata().is_ok_and(|meta| !meta.is_dir());
        if let Some(folder) = self.plugin_dirs.iter().find(is_other) {
            return Err(ConfigError::NoFolder { folder: folder.clone() });
        }
        let bytes = self.ring_bytes;
        if !bytes.is_power_of_two() || !(RING_BYTES_MIN..=1 << 30).contains(&bytes) {
            return Err(ConfigError::RingBytes { bytes });
        }
        Ok(())
    }

    /// Limits and grants, as the file says them now.
    ///
    /// # Errors
    /// Names the file, the line and the key.
    pub fn policies(&self) -> Result<Policies, ConfigError> {
        let own = self.file.as_ref().filter(|file| file.is_file()).map(Source::path);
        let own = own.into_iter().chain(self.require_signed.as_deref());
        let mut writable_own = writable(own, self.allow_writable)?;
        let file = self.file.as_ref().map(file::File::read).transpose()?.unwrap_or_default();
        writable_own.extend(writable(file.keys(), self.allow_writable)?);
        let path = || self.file.as_ref().map(|file| file.path().to_owned()).unwrap_or_default();
        let wrong = |reason| ConfigError::File { file: path(), reason };
        let rules = file.rules().map_err(wrong)?;
        let (base, allow_writable) = (self.base.clone(), self.allow_writable);
        Ok(Policies { base, file, rules, allow_writable, writable: writable_own })
    }
}

/// Which of some files others may change, with what is to be told of it where that is allowed.
///
/// # Errors
/// When it is not allowed.
fn writable<'f>(
    files: impl IntoIterator<Item = &'f Path>,
    is_allowed: bool,
) -> Result<Vec<(PathBuf, String)>, ConfigError> {
    let mut told = Vec::new();
    for file in files {
        let Some(Writable { path, why }) = writable_by_others(file) else { continue };
        let refused = ConfigError::Writable { file: file.into(), path, why };
        if !is_allowed {
            return Err(refused);
        }
        told.push((file.to_owned(), refused.to_string()));
    }
    Ok(told)
}

impl PluginSpec {
    /// A plugin with the configuration that lies beside it as `NAME.toml`, if there is one.
    #[must_use]
    pub fn beside(file: PathBuf) -> Self {
        let config = file.with_extension("toml");
        Self { config: config.is_file().then(|| Source::file(config)), file }
    }

    /// The same, with the configuration that lies beside the file now.
    #[must_use]
    pub fn again(self) -> Self {
        let beside = self.file.with_extension("toml");
        match &self.config {
            Some(config) if config.path() != beside => self,
            _ => Self::beside(self.file),
        }
    }

    /// A file beside the plugin's that is its configuration in all but the spelling of the name: `-` for `_`, or
    /// capitals. `None` where the plugin has a configuration.
    #[must_use]
    pub fn misspelt(&self) -> Option<PathBuf> {
        if self.config.is_some() {
            return None;
        }
        let plain = |path: &Path| {
            let stem = path.file_stem()?.to_str()?;
            Some(stem.to_lowercase().replace(['-', '_', ' ', '.'], ""))
        };
        let own = plain(&self.file)?;
        let beside = std::fs::read_dir(self.file.parent()?).ok()?;
        let mut files = beside.flatten().map(|entry| entry.path());
        files.find(|file| {
            let is_toml = file.extension().is_some_and(|is| is.eq_ignore_ascii_case("toml"));
            is_toml && plain(file).as_ref() == Some(&own)
        })
    }

    /// The bytes of the configuration, empty without one.
    ///
    /// # Errors
    /// When the file cannot be read or is too long.
    pub fn read_config(&self) -> Result<Vec<u8>, ConfigError> {
        self.config.as_ref().map_or_else(|| Ok(Vec::new()), Source::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_almost_the_plugins_name_is_found() {
        let folder = std::env::temp_dir().join(format!("krsi-misspelt-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let found = |files: &[&str]| {
            files.iter().for_each(|file| std::fs::write(folder.join(file), "").unwrap());
            let found = PluginSpec::beside(folder.join("suid_watch.wasm")).misspelt();
            files.iter().for_each(|file| std::fs::remove_file(folder.join(file)).unwrap());
            found.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(found(&["suid-watch.toml"]).as_deref(), Some("suid-watch.toml"));
        assert_eq!(found(&["Suid Watch.TOML"]).as_deref(), Some("Suid Watch.TOML"));
        assert_eq!(found(&["suid-watch.toml", "suid_watch.toml"]), None);
        assert_eq!(found(&["suid-watcher.toml", "suid-watch.yaml"]), None);
        assert_eq!(found(&[]), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn ring_sizes_are_bounded_powers_of_two() {
        let config = |ring_bytes| Config {
            plugins: vec![PluginSpec::beside("a.wasm".into())],
            plugin_dirs: Vec::new(),
            shadows: Vec::new(),
            format: Format::Json,
            ring_bytes,
            backend: None,
            mode: ModeArg::Enforce,
            watches: Vec::new(),
            without: Vec::new(),
            witness: false,
            base: Settings::default(),
            file: None,
            compile: CompileLimits::default(),
            cache: None,
            require_signed: None,
            control: None,
            allow_writable: false,
            ready_file: None,
            flight: None,
            record: None,
        };
        assert!(
            [RING_BYTES_MIN, 1 << 22, 1 << 30].iter().all(|good| config(*good).check().is_ok())
        );
        for bad in [0, 1, 4096, RING_BYTES_MIN / 2, RING_BYTES_MIN + 1, 1 << 31] {
            assert!(config(bad).check().is_err(), "{bad}");
        }
    }
}
