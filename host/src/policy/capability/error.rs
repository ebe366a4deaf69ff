//! Why an action is refused before anything is touched.

use krsi_host_abi::deny::MAX_ERRNO;
use krsi_plugin_schema::latest::{Hook, KeyKind, Refusal};

use super::super::broad::Breadth;
use super::grant::PATH_MAX;
use crate::errno::errno_name;
use crate::kernel::map::namespace::CgroupError;

/// Why an action is refused before anything is touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// A kind of key that the plugin's manifest does not ask for.
    #[error("the plugin's manifest does not ask for rules on {key} keys")]
    UnaskedKey {
        /// Kind of the key.
        key: KeyKind,
    },
    /// A hook that the plugin's manifest does not ask for.
    #[error(
        "the plugin's manifest does not ask to refuse calls of {hook}: its author adds `deny_hook`",
        hook = hook.name()
    )]
    UnaskedHook {
        /// The hook whose calls the rule would decide.
        hook: Hook,
    },
    /// A label that the plugin's manifest does not declare.
    #[error("the plugin's manifest declares no label {label:?}: its author adds `label`")]
    UnaskedLabel { label: String },
    /// A label that was not granted.
    #[error("the label {label:?} is not granted: `--accept` takes what a new version declares")]
    Label { label: String },
    /// Killing that the plugin's manifest does not ask for.
    #[error("the plugin's manifest does not ask to kill")]
    UnaskedKill,
    /// Samples that the plugin's manifest does not ask for.
    #[error("the plugin's manifest does not ask for samples: its author adds `samples`")]
    UnaskedSamples,
    #[error("samples of processes are not granted")]
    Samples,
    /// A kind of key that was not granted.
    #[error("rules on {key} keys are not granted")]
    Key {
        /// Kind of the key.
        key: KeyKind,
    },
    /// A hook that was not granted.
    #[error("rules on {hook} are not granted", hook = hook.name())]
    Hook {
        /// The hook whose calls the rule would decide.
        hook: Hook,
    },
    #[error("the rule names no hook")]
    NoHook,
    /// Bits that are no hook.
    #[error("the rule names hooks that the contract does not have: {bits:#x}")]
    UnknownHook { bits: u128 },
    /// An errno that is none.
    #[error("errno {errno} is not from 1 to {MAX_ERRNO}")]
    Errno { errno: u16 },
    /// An errno outside what was granted.
    #[error("{} is not granted", errno_name(*errno))]
    ErrnoGrant { errno: u16 },
    /// A life that is too long.
    #[error("a life of {ttl_ms} ms is not granted, at most {max_ms} ms are")]
    Ttl { ttl_ms: u64, max_ms: u64 },
    /// A denial that never ends.
    #[error("a denial without end is not granted, at most {max_ms} ms are")]
    Permanent { max_ms: u64 },
    /// Too much at once.
    #[error("{breadth}, and broad denials are not granted: `broad = true` grants them")]
    Broad { breadth: Breadth },
    /// Cgroups tell nobody apart.
    #[error("rules on cgroup keys are not available: {why}")]
    Cgroups {
        /// Why cgroups tell nobody apart.
        why: CgroupError,
    },
    /// A file that is not told from later ones.
    #[error(
        "the file system of {}:{} does not tell its files from later ones with their numbers: a rule by path or digest can be made",
        dev >> 20,
        dev & 0xf_ffff
    )]
    Generation {
        /// The device, as the kernel encodes it.
        dev: u32,
    },
    /// A path that no path can start with.
    #[error("the path is not 1 to {PATH_MAX} bytes from a slash on")]
    Path,
    #[error("kill is not granted")]
    Kill,
    /// Not an ATT&CK technique.
    #[error("the technique does not look like T1496 or T1055.001")]
    Technique,
    /// Not a metric's name.
    #[error("the metric's name is not 1 to 64 of a-z, 0-9 and _")]
    MetricName,
    /// A metric's value that is no finite number.
    #[error("the metric's value is not a finite number")]
    MetricValue,
}

impl CapabilityError {
    /// The refusal that the plugin gets.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::UnaskedKey { .. }
            | Self::UnaskedHook { .. }
            | Self::UnaskedKill
            | Self::UnaskedSamples
            | Self::Samples
            | Self::UnaskedLabel { .. }
            | Self::Label { .. }
            | Self::Key { .. }
            | Self::Hook { .. }
            | Self::ErrnoGrant { .. }
            | Self::Ttl { .. }
            | Self::Permanent { .. }
            | Self::Broad { .. }
            | Self::Kill => Refusal::NotGranted,
            Self::Cgroups { .. } | Self::Generation { .. } => Refusal::Unsupported,
            Self::NoHook
            | Self::UnknownHook { .. }
            | Self::Errno { .. }
            | Self::Path
            | Self::Technique
            | Self::MetricName
            | Self::MetricValue => Refusal::Invalid,
        }
    }
}
