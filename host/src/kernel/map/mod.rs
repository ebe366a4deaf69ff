//! Typed handles on the object's maps, a file for each kind: flags, counters, filters, rules, leases by key, labels.
//!
//! Maps are opened as byte arrays, which is all that aya needs to compare sizes, and converted by
//! the layout traits of the byte contract.

mod counters;
pub(crate) mod exempt;
pub(crate) mod file;
mod filters;
mod flags;
pub(crate) mod label;
pub(crate) mod lease;
pub(crate) mod namespace;
pub(crate) mod prefix;
mod proof;
mod rules;
pub(crate) mod store;
mod store_error;

use std::sync::Arc;

use aya::maps;
use aya::maps::{Map, MapData, RingBuf};
use krsi_host_abi::record::RING_MIN;
use zerocopy::IntoBytes;

pub use self::counters::Counters;
pub use self::filters::Filters;
pub use self::flags::Flags;
pub(crate) use self::proof::{Hashed, Proofs};
pub use self::rules::{RuleMaps, RulesObeyed};

use self::exempt::ExemptMaps;
use self::label::{LabelMaps, LabelProgram};

/// Least bytes of the telemetry ring: a smaller one loses every record of the longest kind.
pub(crate) const RING_BYTES_MIN: u32 = RING_MIN as u32;

/// Why a map is unusable.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The object lacks it: object and host do not belong together.
    #[error("the object has no map {name}")]
    Missing {
        /// Name of the map.
        name: &'static str,
    },
    /// A slot that no hook has.
    #[error("there is no hook slot {slot}")]
    Slot {
        /// Number of the slot that was asked for.
        slot: u16,
    },
    /// Wrong kind or size, or a failed system call.
    #[error("map {name}")]
    Access {
        /// Name of the map.
        name: &'static str,
        /// Error that aya gave.
        #[source]
        source: maps::MapError,
    },
}

/// The object's maps by name.
pub(crate) type ObjectMaps = std::collections::HashMap<String, Map>;

/// Everything the host does with maps, taken out of the object once.
pub struct KernelMaps {
    /// Flags words.
    pub flags: Flags,
    pub counters: Arc<Counters>,
    /// Deny maps.
    pub rules: RuleMaps,
    /// Program that changes the labels of processes, run by the host.
    pub(crate) labels: LabelProgram,
    /// Filters of telemetry.
    pub filters: Filters,
    /// The kernel's answer about the last file that was to be hashed.
    pub hashed: Hashed,
    /// Executables and processes that no rule refuses.
    pub exempt: ExemptMaps,
    /// Evidence that a backend's programs are called.
    pub proofs: Arc<Proofs>,
    /// Ring of denials.
    pub verdicts: RingBuf<MapData>,
    /// Ring of telemetry.
    pub telemetry: RingBuf<MapData>,
}

impl KernelMaps {
    /// Takes over the maps of the object. Its programs hash paths from `path_secret` on.
    ///
    /// # Errors
    /// When a map is missing or of another shape.
    pub fn take(
        object: &mut ObjectMaps,
        path_secret: u64,
        obeyed: RulesObeyed,
    ) -> Result<Self, MapError> {
        let (flags, labels) = (Flags::take(object)?, LabelMaps::take(object)?);
        Ok(Self {
            labels: labels.program(),
            counters: Arc::new(Counters::take(object)?),
            rules: RuleMaps::take(object, path_secret, obeyed, flags.clone(), labels)?,
            filters: Filters::take(object)?,
            hashed: Hashed::take(object)?,
            exempt: ExemptMaps::take(object)?,
            proofs: Arc::new(Proofs::take(object)?),
            flags,
            verdicts: open(object, "VERDICTS")?,
            telemetry: open(object, "TELEMETRY")?,
        })
    }
}

pub(super) fn open<T: TryFrom<Map, Error = maps::MapError>>(
    object: &mut ObjectMaps,
    name: &'static str,
) -> Result<T, MapError> {
    let map = object.remove(name).ok_or(MapError::Missing { name })?;
    T::try_from(map).map_err(|source| MapError::Access { name, source })
}

/// The bytes of a value. A key or value that is not as long as its map has them does not compile.
pub(super) fn bytes<const N: usize, T: IntoBytes + zerocopy::Immutable>(value: &T) -> [u8; N] {
    const { assert!(size_of::<T>() == N, "a map's key or value is as long as its type") };
    let mut out = [0; N];
    out.copy_from_slice(value.as_bytes());
    out
}
