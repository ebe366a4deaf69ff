//! Why a rule is not in force or still is, and the refusal that its plugin gets.

use std::error::Error;
use std::sync::Arc;

use krsi_host_abi::deny::SLOTS;
use krsi_plugin_schema::latest::{Hook, Refusal};

use super::label_book::LabelError;
use super::lineage::LineageError;
use super::share::OWNER_SLOTS;
use crate::kernel::map::prefix::PrefixError;
use crate::kernel::map::store::StoreError;

/// Why there can be no rules on digests: what attaches the program that has executables hashed says it.
pub(crate) type NoDigests = Arc<dyn Error + Send + Sync>;

/// Why there are no rules on digests before anything is attached.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no program that hashes executables is attached")]
pub(super) struct NoProgram;

/// Why a rule is not in force, or still is.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not a plugin's slot.
    #[error("owner slot {owner} is no plugin's")]
    Owner { owner: u8 },
    /// A hook that does not look up that kind of key.
    #[error("{hook} does not look up keys of that kind", hook = hook.name())]
    Hook {
        /// The hook that the rule names.
        hook: Hook,
    },
    /// Digests, which this kernel does not tell.
    #[error("rules on digests cannot be enforced here: {why}")]
    Digest {
        /// Why there are no rules on digests.
        why: NoDigests,
    },
    /// No path starts so.
    #[error(transparent)]
    Path(#[from] PrefixError),
    /// A rule of a whole hook that names several.
    #[error("a rule of a whole hook names one hook")]
    SeveralHooks,
    #[error("the rule names no hook")]
    NoHook,
    /// A hook that is not attached.
    #[error("{hook} is not attached on this kernel", hook = hook.name())]
    Unattached {
        /// The hook that the rule names.
        hook: Hook,
    },
    /// A prefix that is longer than the address.
    #[error("a prefix of {prefix} bits is longer than the address")]
    Prefix { prefix: u8 },
    /// A protocol that no socket has by which a rule could know it.
    #[error("{protocol} is no protocol: 1 to 255 are (IPPROTO_*)")]
    Protocol { protocol: u16 },
    /// No process with this id runs.
    #[error("process {tgid} is not running")]
    UnknownProcess { tgid: u32 },
    /// The plugin has no rule with this token.
    #[error("no rule has token {token}")]
    UnknownRule { token: u32 },
    /// The plugin has as many rules as it may.
    #[error("{max} rules are in force already")]
    TooManyRules {
        /// Rules it may have.
        max: usize,
    },
    /// The key carries as many rules as it can.
    #[error("{place} carries {SLOTS} rules already")]
    KeyFull {
        /// The key, in words; it can be a destination within the rule's.
        place: String,
    },
    /// The plugin has all slots of a key that one plugin may take.
    #[error(
        "{place} carries {OWNER_SLOTS} rules of this plugin and the operator already: others need the rest of {SLOTS}"
    )]
    SlotShare {
        /// The key, in words; it can be one within the rule's.
        place: String,
    },
    /// The plugin has all keys of a map that one plugin may take.
    #[error("{share} keys of the {map} map are this plugin's already: others need the rest")]
    MapShare {
        /// Name of the map.
        map: &'static str,
        /// Keys that it may have.
        share: usize,
    },
    /// A label that the plugin does not have.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A hook at which no label is given.
    #[error("{hook} gives no labels: a rule on bprm_check_security gives an exec's", hook = hook.name())]
    LabelHook {
        /// Hook that the rule names.
        hook: Hook,
    },
    /// A key that gives no label.
    #[error("rules on digests give no labels: rules on files and paths do")]
    LabelDigest,
    /// The lineage could not be had.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// A deny map refused the update.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LedgerError {
    /// The refusal that the plugin gets.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Owner { .. }
            | Self::Hook { .. }
            | Self::NoHook
            | Self::SeveralHooks
            | Self::Path(_)
            | Self::Label(
                LabelError::Undeclared { .. }
                | LabelError::Absent { .. }
                | LabelError::Foreign { .. }
                | LabelError::NoTable { .. }
                | LabelError::Host,
            )
            | Self::LabelHook { .. }
            | Self::Prefix { .. }
            | Self::Protocol { .. } => Refusal::Invalid,
            Self::Unattached { .. } | Self::Digest { .. } | Self::LabelDigest => {
                Refusal::Unsupported
            }
            Self::UnknownProcess { .. } | Self::Lineage(LineageError::Unknown { .. }) => {
                Refusal::UnknownProcess
            }
            Self::UnknownRule { .. } => Refusal::UnknownRule,
            Self::TooManyRules { .. }
            | Self::MapShare { .. }
            | Self::Label(LabelError::NoneFree) => Refusal::TooManyRules,
            Self::KeyFull { .. }
            | Self::SlotShare { .. }
            | Self::Lineage(LineageError::Full { .. } | LineageError::Share { .. }) => {
                Refusal::KeyFull
            }
            Self::Store(error) | Self::Lineage(LineageError::Store(error)) => match error {
                StoreError::Full { .. } => Refusal::MapFull,
                StoreError::Missing { .. }
                | StoreError::Slot { .. }
                | StoreError::Kernel { .. } => Refusal::Kernel,
            },
        }
    }
}
