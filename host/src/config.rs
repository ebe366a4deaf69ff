//! What the operator chose, validated: from the command line into [`Config`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest configuration file of a plugin.
pub const PLUGIN_CONFIG_MAX: u64 = 1 << 20;
/// Most plugins of one host: owner slots fit a 64-bit mask, the last is the administrator's.
pub const PLUGINS_MAX: usize = 63;

/// One plugin to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSpec {
    /// Its Wasm file.
    pub file: PathBuf,
    /// Its configuration, if it has one.
    pub config: Option<PathBuf>,
}

/// How reports are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned lines for people, with colours or without.
    Terminal(crate::output::Colour),
    /// One JSON object a line.
    Json,
}

/// Whether plugins may kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillGrant {
    /// A plugin that asks for it may.
    Granted,
    /// None may.
    Withheld,
}

/// Everything a run needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Plugins, in order of their slots.
    pub plugins: Vec<PluginSpec>,
    /// How reports are written.
    pub format: Format,
    /// Bytes of the telemetry ring.
    pub ring_bytes: u32,
    /// Records that wait for a plugin before it loses some.
    pub queue_records: usize,
    /// Linear memory of a plugin, bytes.
    pub memory_bytes: usize,
    /// Time of one call into a plugin.
    pub call_deadline: Duration,
    /// Whether plugins may kill.
    pub kill: KillGrant,
    /// Created once hooks are proven live and rules of `init` are in force.
    pub ready_file: Option<PathBuf>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// More plugins than owner slots.
    #[error("{count} plugins, at most {PLUGINS_MAX} run at a time")]
    TooManyPlugins {
        /// How many were given.
        count: usize,
    },
    /// A ring size that the kernel would refuse.
    #[error("a ring of {bytes} bytes is not a power of two from 4096 to 1 GiB")]
    RingBytes {
        /// What was given.
        bytes: u32,
    },
    /// A configuration file that cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A configuration file beyond [`PLUGIN_CONFIG_MAX`].
    #[error("{}: {bytes} bytes, at most {PLUGIN_CONFIG_MAX} are read", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

impl Config {
    /// Checks what the command line parser cannot.
    ///
    /// # Errors
    /// Names the value and its bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.plugins.len() > PLUGINS_MAX {
            return Err(ConfigError::TooManyPlugins { count: self.plugins.len() });
        }
        let bytes = self.ring_bytes;
        if !bytes.is_power_of_two() || !(4096..=1 << 30).contains(&bytes) {
            return Err(ConfigError::RingBytes { bytes });
        }
        Ok(())
    }
}

impl PluginSpec {
    /// A plugin with the configuration that lies beside it as `NAME.toml`, if there is one.
    #[must_use]
    pub fn beside(file: PathBuf) -> Self {
        let config = file.with_extension("toml");
        Self { config: config.is_file().then_some(config), file }
    }

    /// The bytes of the configuration, empty without one.
    ///
    /// # Errors
    /// When the file cannot be read or is too long.
    pub fn read_config(&self) -> Result<Vec<u8>, ConfigError> {
        self.config.as_deref().map_or_else(|| Ok(Vec::new()), read_bounded)
    }
}

fn read_bounded(file: &Path) -> Result<Vec<u8>, ConfigError> {
    let read = |source| ConfigError::Read { file: file.into(), source };
    let bytes = fs::metadata(file).map_err(read)?.len();
    if bytes > PLUGIN_CONFIG_MAX {
        return Err(ConfigError::TooLong { file: file.into(), bytes });
    }
    fs::read(file).map_err(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes_are_bounded_powers_of_two() {
        let config = |ring_bytes| Config {
            plugins: Vec::new(),
            format: Format::Json,
            ring_bytes,
            queue_records: 1,
            memory_bytes: 1,
            call_deadline: Duration::from_secs(1),
            kill: KillGrant::Withheld,
            ready_file: None,
        };
        assert!(config(1 << 22).check().is_ok());
        for bad in [0, 1, 2048, 4097, 1 << 31] {
            assert!(config(bad).check().is_err(), "{bad}");
        }
    }
}
