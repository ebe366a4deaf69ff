//! Why programs could not be attached.

use std::sync::Arc;

use super::left_out::LeftOut;
use crate::error_chain::chain;
use crate::kernel::btf::BtfError;
use crate::kernel::map::MapError;
use crate::kernel::program::object::ObjectError;
use crate::kernel::program::proof::CanaryError;

/// Why hooks are not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel's types cannot be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The object cannot be used.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A hook that cannot be left alone.
    #[error("--without {hook}: there is no such hook, or krsi-host follows processes by it")]
    Without {
        /// Hook name as given on the command line.
        hook: String,
    },
    /// No hook that a plugin wants can be attached.
    #[error("no hook could be attached; {hook}: {}", chain(why.as_ref()))]
    NoHook {
        /// The first of them.
        hook: String,
        /// Why that hook was left out.
        why: Arc<LeftOut>,
    },
    /// Attached hooks do not fire.
    #[error("the BPF LSM is not active")]
    Canary(#[from] CanaryError),
    /// A map is unusable.
    #[error(transparent)]
    Map(#[from] MapError),
}
