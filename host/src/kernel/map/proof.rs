//! Evidence that programs are called, and that the kernel hashes files.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Array, MapData};
use krsi_host_abi::proof::Proof;
use zerocopy::FromBytes;

use super::{MapError, ObjectMaps, bytes, open};

const PROOF: usize = size_of::<Proof>();

/// What the kernel told of the last file that it was to hash for the proof of life.
#[derive(Clone)]
pub struct Hashed {
    map: Arc<Mutex<Array<MapData, i64>>>,
}

impl Hashed {
    /// Takes the map over from the object.
    pub(super) fn take(object: &mut ObjectMaps) -> Result<Self, MapError> {
        Ok(Self { map: Arc::new(Mutex::new(open(object, "HASHED")?)) })
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&self) -> Result<(), MapError> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.set(0, 0, 0).map_err(|source| MapError::Access { name: "HASHED", source })
    }

    /// `HASH_ALGO_*` of `include/uapi/linux/hash_info.h`, a negative errno, or 0 when none was hashed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn algorithm(&self) -> Result<i64, MapError> {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(&0, 0).map_err(|source| MapError::Access { name: "HASHED", source })
    }
}

/// What the program that proves a backend tells.
pub struct Proofs {
    map: Mutex<Array<MapData, [u8; PROOF]>>,
}

impl Proofs {
    /// Takes the map over from the object.
    pub(super) fn take(object: &mut ObjectMaps) -> Result<Self, MapError> {
        Ok(Self { map: Mutex::new(open(object, "PROOF")?) })
    }

    /// Has the calling thread's calls counted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn begin(&self) -> Result<(), MapError> {
        let (tgid, tid) = (rustix::process::getpid(), rustix::thread::gettid());
        let number =
            |pid: rustix::process::Pid| u64::from(pid.as_raw_nonzero().get().unsigned_abs());
        let proof = Proof { thread: number(tgid) << 32 | number(tid), ..Proof::default() };
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.set(0, bytes(&proof), 0).map_err(|source| MapError::Access { name: "PROOF", source })
    }

    /// Evidence that programs have written so far.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn seen(&self) -> Result<Proof, MapError> {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let value = map.get(&0, 0).map_err(|source| MapError::Access { name: "PROOF", source })?;
        Ok(Proof::read_from_bytes(&value).unwrap_or_default())
    }
}
