//! Why a hook or a watch that somebody asks for has no program.

use std::sync::Arc;

use super::watches::HOOK_PROGRAMS;
use crate::decode::LayoutError;
use crate::error_chain::{chain, is_not_permitted};
use crate::kernel::btf::PrototypeError;
use crate::kernel::program::load::HookError;
use crate::kernel::spec::watch::{ReachError, WatchError};
use crate::policy::LabelError;

/// Why a hook or a watch has no program.
#[derive(Debug, thiserror::Error)]
pub enum LeftOut {
    /// The kernel has no place for it.
    #[error("this kernel has no such LSM hook for BPF")]
    Lacking,
    /// The operator wants none.
    #[error("it is left out by --without")]
    Without,
    /// No table lists the hook's fields.
    #[error("it has no fields")]
    NoFields,
    /// No plugin could be told of it.
    #[error("no contract names it")]
    NoContract,
    /// It stands in for another, and the calls of the two are not to be told apart.
    #[error("this kernel's {at} does not tell which calls are its own")]
    NotOwn {
        /// The hook that stands in.
        at: &'static str,
    },
    /// The arguments of the hook are not known.
    #[error(transparent)]
    Prototype(#[from] PrototypeError),
    /// The records of the hook could not be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The kernel refused its program.
    #[error(transparent)]
    Program(#[from] HookError),
    /// The text is no watch, or none that this kernel can have.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// It names a label that there is not, or not for it.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// It gives a label at the end of an exec, and nothing tells when one begins.
    #[error("it gives a label at exec, which needs {hook}, and that is left out by --without")]
    NoBeginning {
        /// The hook that is called when an exec begins.
        hook: &'static str,
    },
    /// The watch reads a field that is not granted to its plugin.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// Every slot has one.
    #[error("there are too many watches")]
    TooManyWatches,
    /// The plugin has all watches that it may have.
    #[error("the plugin has {most} watches already, which is its share of the slots")]
    WatchShare {
        /// Watches that a plugin may have.
        most: usize,
    },
    /// The plugins have all programs at a hook that they may have.
    #[error(
        "{hook} has {most} programs already: the kernel allows {HOOK_PROGRAMS}, and the rest are reserved for the administrator"
    )]
    HookShare {
        /// The hook that is full.
        hook: String,
        /// Programs at the hook that plugins may have.
        most: usize,
    },
}

impl LeftOut {
    /// The reason with what caused it, and where more is told.
    #[must_use]
    pub fn words(&self) -> String {
        let more = if is_not_permitted(self) {
            "; `krsi-host doctor` says what is missing here"
        } else {
            ""
        };
        format!("{}{more}", chain(self))
    }
}

/// A hook or a watch that was asked for and has no program.
#[derive(Clone, Debug)]
pub(crate) struct NotAttached {
    /// The hook's name, or the watch as it was written.
    pub(crate) what: String,
    /// Slot of the plugin whose watch it is.
    pub(crate) owner: Option<u8>,
    /// Why the hook or the watch has no program.
    pub(crate) why: Arc<LeftOut>,
}

/// A slot that had a program at some time, for the summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsedSlot {
    /// Number of the slot in flags and counters.
    pub(crate) slot: u16,
    /// Name of the hook that uses it.
    pub(crate) hook: String,
}
