//! Filters of telemetry, by hook slot.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Array, MapData};
use krsi_host_abi::filter::Filter;
use krsi_host_abi::hook::HOOK_SLOTS;
use zerocopy::IntoBytes;

use super::{MapError, ObjectMaps, open};

/// The section of the filters.
const FILTER: &str = ".data.filter";
const FILTERS: usize = size_of::<Filter>() * HOOK_SLOTS;

struct FilterWords {
    map: Array<MapData, [u8; FILTERS]>,
    bytes: Box<[u8; FILTERS]>,
}

/// The filters of telemetry, by hook slot.
#[derive(Clone)]
pub struct Filters {
    words: Arc<Mutex<FilterWords>>,
}

impl Filters {
    /// Takes the section over from the object.
    pub(super) fn take(object: &mut ObjectMaps) -> Result<Self, MapError> {
        let words = FilterWords { map: open(object, FILTER)?, bytes: Box::new([0; FILTERS]) };
        Ok(Self { words: Arc::new(Mutex::new(words)) })
    }

    /// Sets the filter of a hook.
    ///
    /// # Errors
    /// When there is no such slot, or the kernel refuses.
    pub fn set(&self, slot: u16, filter: &Filter) -> Result<(), MapError> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let FilterWords { map, bytes } = &mut *words;
        let place = bytes.chunks_exact_mut(size_of::<Filter>()).nth(usize::from(slot));
        place.ok_or(MapError::Slot { slot })?.copy_from_slice(filter.as_bytes());
        map.set(0, bytes.as_ref(), 0).map_err(|source| MapError::Access { name: FILTER, source })
    }
}
