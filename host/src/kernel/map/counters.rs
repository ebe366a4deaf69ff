//! Counters of calls, by hook slot and CPU.

use aya::maps::{MapData, PerCpuArray};
use krsi_host_abi::counter::{COUNTERS, Counter};
use zerocopy::FromBytes;

use super::{MapError, ObjectMaps, open};

const COUNTS: &str = "COUNTS";
const ROW: usize = COUNTERS * 8;

/// Counts of calls that programs keep, a row for each hook slot on each CPU.
pub struct Counters {
    map: PerCpuArray<MapData, [u8; ROW]>,
}

impl Counters {
    /// Takes the map over from the object.
    pub(super) fn take(object: &mut ObjectMaps) -> Result<Self, MapError> {
        Ok(Self { map: open(object, COUNTS)? })
    }

    /// A counter's sum over all CPUs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn total(&self, slot: u16, counter: Counter) -> Result<u64, MapError> {
        Ok(self.each(slot, [counter])?.iter().flatten().sum())
    }

    /// Some counters of each CPU, all read at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn each<const N: usize>(
        &self,
        slot: u16,
        counters: [Counter; N],
    ) -> Result<Vec<[u64; N]>, MapError> {
        let rows = self
            .map
            .get(&u32::from(slot), 0)
            .map_err(|source| MapError::Access { name: COUNTS, source })?;
        let words = |row: &[u8; ROW]| {
            let row = <[u64; COUNTERS]>::read_from_bytes(row).unwrap_or([0; COUNTERS]);
            counters.map(|counter| row.get(counter as usize).copied().unwrap_or(0))
        };
        Ok(rows.iter().map(words).collect())
    }
}
