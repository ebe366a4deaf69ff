//! Labels of processes: what holds of them, who has them, and the program that changes them for the host.
//!
//! The host never writes an element that programs write: the kernel would put another one in its place, and what
//! a program gave meanwhile would be lost.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use aya::maps::{Array, HashMap, MapData};
use krsi_host_abi::deny::{LABELS, LabelRules, Labels, ProcessKey};
use zerocopy::FromBytes;

use super::store::StoreError;
use super::store_error::{failed, removed, stored};
use super::{MapError, ObjectMaps, bytes, open};

/// The section of what holds of labels.
const RULES: &str = ".data.labels";
/// The map of labels by process.
const OF: &str = "LABELS";
const PROCESS_KEY: usize = size_of::<ProcessKey>();
/// What the program answers when the map has no room.
const FULL: u32 = 1;

/// Runs the program that changes labels with its arguments; what it answers.
type Run = dyn Fn(&[u64]) -> io::Result<u32> + Send + Sync;

/// The program that changes labels, once it is loaded.
#[derive(Clone, Default)]
pub(crate) struct LabelProgram(Arc<OnceLock<Box<Run>>>);

impl LabelProgram {
    /// Has a program change labels from now on.
    pub(crate) fn loaded(&self, run: impl Fn(&[u64]) -> io::Result<u32> + Send + Sync + 'static) {
        // There is one, loaded once.
        let _first = self.0.set(Box::new(run));
    }
}

impl fmt::Debug for LabelProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LabelProgram").field("is_loaded", &self.0.get().is_some()).finish()
    }
}

/// The maps of labels.
pub(super) struct LabelMaps {
    rules: Array<MapData, [u8; size_of::<LabelRules>()]>,
    of: HashMap<MapData, [u8; PROCESS_KEY], [u8; LABELS]>,
    program: LabelProgram,
}

impl LabelMaps {
    pub(super) fn take(object: &mut ObjectMaps) -> Result<Self, MapError> {
        let program = LabelProgram::default();
        Ok(Self { rules: open(object, RULES)?, of: open(object, OF)?, program })
    }

    /// The program that changes labels.
    pub(super) fn program(&self) -> LabelProgram {
        self.program.clone()
    }

    /// Says what holds of labels.
    pub(super) fn set_rules(&mut self, rules: LabelRules) -> Result<(), StoreError> {
        stored(OF, self.rules.set(0, bytes(&rules), 0))
    }

    /// Takes labels from a process, then gives it some; bits of both.
    pub(super) fn set(
        &self,
        process: ProcessKey,
        gives: u64,
        takes: u64,
    ) -> Result<(), StoreError> {
        let run = self.program.0.get().ok_or(StoreError::Missing { map: OF })?;
        let arguments = [process.start_boot_ns, u64::from(process.tgid), gives, takes];
        match run(&arguments) {
            Ok(FULL) => Err(StoreError::Full { map: OF }),
            Ok(_) => Ok(()),
            Err(source) => Err(StoreError::Kernel { map: OF, source }),
        }
    }

    /// Forgets the labels of a process that ended: no program writes them any more.
    pub(super) fn forget(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        removed(OF, self.of.remove(&bytes(&process)))
    }

    /// Every process that has labels, and which, as bits.
    pub(super) fn all(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        let entry = |(key, labels): ([u8; PROCESS_KEY], [u8; LABELS])| {
            let key = ProcessKey::read_from_bytes(&key).ok()?;
            Some((key, Labels::read_from_bytes(&labels).ok()?.bits()))
        };
        let entries = self.of.iter().filter_map(|each| each.map(entry).transpose());
        entries.collect::<Result<_, _>>().map_err(|error| failed(OF, error))
    }
}
