//! The maps of whom no rule refuses. The kernel follows forks, execs and exits in them by itself.

use aya::maps::{HashMap, MapData};
use krsi_host_abi::deny::{FileKey, ProcessKey};
use zerocopy::FromBytes;

use super::store::StoreError;
use super::store_error::{failed, removed, stored};
use super::{MapError, ObjectMaps, bytes, open};

const PROCESS_KEY: usize = size_of::<ProcessKey>();
const FILE_KEY: usize = size_of::<FileKey>();

pub struct ExemptMaps {
    processes: HashMap<MapData, [u8; PROCESS_KEY], u64>,
    files: HashMap<MapData, [u8; FILE_KEY], u64>,
    uids: HashMap<MapData, u32, u32>,
    cgroups: HashMap<MapData, u64, u64>,
}

impl ExemptMaps {
    pub(super) fn take(object: &mut ObjectMaps) -> Result<Self, MapError> {
        Ok(Self {
            processes: open(object, "EXEMPT")?,
            files: open(object, "EXEMPT_FILE")?,
            uids: open(object, "EXEMPT_UID")?,
            cgroups: open(object, "EXEMPT_CGROUP")?,
        })
    }

    /// Exempts a process that runs, for reasons that are bits of `krsi_host_abi::deny::exempt`.
    ///
    /// # Errors
    /// When the map is full or the kernel refuses.
    pub fn exempt(&mut self, process: ProcessKey, why: u64) -> Result<(), StoreError> {
        stored("EXEMPT", self.processes.insert(bytes(&process.in_ticks()), why, 0))
    }

    /// Every process that is exempt, its start in ticks, and why.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn processes(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        let entry = |(key, why): ([u8; PROCESS_KEY], u64)| {
            Some((ProcessKey::read_from_bytes(&key).ok()?, why))
        };
        let entries = self.processes.iter().filter_map(|each| each.map(entry).transpose());
        entries.collect::<Result<_, _>>().map_err(|error| failed("EXEMPT", error))
    }

    /// Lets rules refuse a process again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unexempt(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        removed("EXEMPT", self.processes.remove(&bytes(&process.in_ticks())))
    }

    /// Exempts who executes a file from now on, for those reasons.
    ///
    /// # Errors
    /// When the map is full or the kernel refuses.
    pub fn exempt_file(&mut self, file: FileKey, why: u64) -> Result<(), StoreError> {
        stored("EXEMPT_FILE", self.files.insert(bytes(&file), why, 0))
    }

    /// Lets an executable make nobody exempt any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unexempt_file(&mut self, file: FileKey) -> Result<(), StoreError> {
        removed("EXEMPT_FILE", self.files.remove(&bytes(&file)))
    }

    /// Lets executables count for a real user.
    ///
    /// # Errors
    /// When the map is full or the kernel refuses.
    pub fn count_uid(&mut self, uid: u32) -> Result<(), StoreError> {
        stored("EXEMPT_UID", self.uids.insert(uid, 1, 0))
    }

    /// Lets executables count in a cgroup.
    ///
    /// # Errors
    /// When the map is full or the kernel refuses.
    pub fn count_cgroup(&mut self, id: u64) -> Result<(), StoreError> {
        stored("EXEMPT_CGROUP", self.cgroups.insert(id, 1, 0))
    }
}
