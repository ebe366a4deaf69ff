//! The flags words: what a hook's programs must do at all, and may leave out.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Array, MapData};
use krsi_host_abi::hook::HOOK_SLOTS;

use super::{MapError, ObjectMaps, bytes, open};

/// The section of the flags words.
const FLAGS: &str = ".data.flags";
/// Bytes of all of them.
const WORDS: usize = HOOK_SLOTS * 8;

struct FlagSection {
    map: Array<MapData, [u8; WORDS]>,
    words: [u64; HOOK_SLOTS],
}

/// The flags words. Routing and policy each own some bits, so a handle is shared.
#[derive(Clone)]
pub struct Flags {
    words: Arc<Mutex<FlagSection>>,
}

impl Flags {
    /// Takes the section over from the object.
    pub(super) fn take(object: &mut ObjectMaps) -> Result<Self, MapError> {
        let section = FlagSection { map: open(object, FLAGS)?, words: [0; HOOK_SLOTS] };
        Ok(Self { words: Arc::new(Mutex::new(section)) })
    }

    /// Sets bits of a hook's word.
    ///
    /// # Errors
    /// When there is no such slot, or the kernel refuses.
    pub fn raise(&self, slot: u16, bits: u64) -> Result<(), MapError> {
        self.change(slot, |word| word | bits)
    }

    /// Clears bits of a hook's word.
    ///
    /// # Errors
    /// When there is no such slot, or the kernel refuses.
    pub fn lower(&self, slot: u16, bits: u64) -> Result<(), MapError> {
        self.change(slot, |word| word & !bits)
    }

    fn change(&self, slot: u16, change: impl Fn(u64) -> u64) -> Result<(), MapError> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let FlagSection { map, words } = &mut *words;
        let word = words.get_mut(usize::from(slot)).ok_or(MapError::Slot { slot })?;
        let next = change(*word);
        if next != *word {
            let before = std::mem::replace(word, next);
            // All words at once: those that stay are written as they are, and so never in doubt.
            if let Err(source) = map.set(0, bytes(words), 0) {
                if let Some(word) = words.get_mut(usize::from(slot)) {
                    *word = before;
                }
                return Err(MapError::Access { name: FLAGS, source });
            }
        }
        Ok(())
    }
}
