//! Typed handles on the object's maps: flags, counters, rings, marks of lineages; leases by key are beside.
//!
//! Maps are opened as byte arrays, which is all that aya needs to compare sizes, and converted by
//! the layout traits of the byte contract.

mod answer;
pub(crate) mod exempt;
pub(crate) mod file;
pub(crate) mod label;
pub(crate) mod lease;
pub(crate) mod namespace;
pub(crate) mod prefix;
pub(crate) mod store;

use aya::maps;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use krsi_host_abi::counter::{COUNTERS, Counter};
use krsi_host_abi::deny::{Bounds, Entry, LabelRules, Membership, OWNERS, ProcessKey, flag};
use krsi_host_abi::filter::Filter;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::proof::Proof;
use krsi_host_abi::record::RING_MIN;
use zerocopy::{FromBytes, IntoBytes};

use self::answer::{failed, removed, stored};
use self::exempt::ExemptMaps;
use self::label::{LabelMaps, LabelProgram};
use self::lease::{EntryKey, LeaseMaps};
use self::store::{RuleStore, StoreError};

/// Least bytes of the telemetry ring: a smaller one loses every record of the longest kind.
pub(crate) const RING_BYTES_MIN: u32 = RING_MIN as u32;

const PROCESS_KEY: usize = size_of::<ProcessKey>();
const MEMBERSHIP: usize = size_of::<Membership>();
const PROOF: usize = size_of::<Proof>();
const ROW: usize = COUNTERS * 8;

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
    pub counters: std::sync::Arc<Counters>,
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
    pub proofs: std::sync::Arc<Proofs>,
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
        let flags = Flags {
            words: std::sync::Arc::new(std::sync::Mutex::new(FlagSection {
                map: open(object, FLAGS)?,
                words: [0; krsi_host_abi::hook::HOOK_SLOTS],
            })),
        };
        let labels = LabelMaps::take(object)?;
        Ok(Self {
            labels: labels.program(),
            counters: std::sync::Arc::new(Counters { map: open(object, "COUNTS")? }),
            rules: RuleMaps {
                flags: flags.clone(),
                bounds: OwnerBounds {
                    map: open(object, BOUNDS)?,
                    all: [Bounds::default(); OWNERS],
                },
                changes: ChangeNumber { map: open(object, CHANGES)?, last: 0 },
                leases: LeaseMaps::take(object, path_secret)?,
                obeyed,
                labels,
                member: open(object, "MEMBER")?,
                hits: open(object, "HITS")?,
            },
            filters: Filters {
                words: std::sync::Arc::new(std::sync::Mutex::new(FilterWords {
                    map: open(object, FILTER)?,
                    bytes: Box::new([0; FILTERS]),
                })),
            },
            hashed: Hashed {
                map: std::sync::Arc::new(std::sync::Mutex::new(open(object, "HASHED")?)),
            },
            exempt: ExemptMaps::take(object)?,
            proofs: std::sync::Arc::new(Proofs {
                map: std::sync::Mutex::new(open(object, "PROOF")?),
            }),
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

/// The section of the flags words.
const FLAGS: &str = ".data.flags";
/// Bytes of all of them.
const WORDS: usize = krsi_host_abi::hook::HOOK_SLOTS * 8;

struct FlagSection {
    map: Array<MapData, [u8; WORDS]>,
    words: [u64; krsi_host_abi::hook::HOOK_SLOTS],
}

/// The flags words. Routing and policy each own some bits, so a handle is shared.
#[derive(Clone)]
pub struct Flags {
    words: std::sync::Arc<std::sync::Mutex<FlagSection>>,
}

impl Flags {
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
        let mut words = self.words.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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

pub struct Counters {
    map: PerCpuArray<MapData, [u8; ROW]>,
}

impl Counters {
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
            .map_err(|source| MapError::Access { name: "COUNTS", source })?;
        let words = |row: &[u8; ROW]| {
            let row = <[u64; COUNTERS]>::read_from_bytes(row).unwrap_or([0; COUNTERS]);
            counters.map(|counter| row.get(counter as usize).copied().unwrap_or(0))
        };
        Ok(rows.iter().map(words).collect())
    }
}

/// The section of the filters.
const FILTER: &str = ".data.filter";
const FILTERS: usize = size_of::<Filter>() * krsi_host_abi::hook::HOOK_SLOTS;

struct FilterWords {
    map: Array<MapData, [u8; FILTERS]>,
    bytes: Box<[u8; FILTERS]>,
}

/// The filters of telemetry, by hook slot.
#[derive(Clone)]
pub struct Filters {
    words: std::sync::Arc<std::sync::Mutex<FilterWords>>,
}

impl Filters {
    /// Sets the filter of a hook.
    ///
    /// # Errors
    /// When there is no such slot, or the kernel refuses.
    pub fn set(&self, slot: u16, filter: &Filter) -> Result<(), MapError> {
        let mut words = self.words.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let FilterWords { map, bytes } = &mut *words;
        let place = bytes.chunks_exact_mut(size_of::<Filter>()).nth(usize::from(slot));
        place.ok_or(MapError::Slot { slot })?.copy_from_slice(filter.as_bytes());
        map.set(0, bytes.as_ref(), 0).map_err(|source| MapError::Access { name: FILTER, source })
    }
}

/// What the kernel told of the last file that it was to hash for the proof of life.
#[derive(Clone)]
pub struct Hashed {
    map: std::sync::Arc<std::sync::Mutex<Array<MapData, i64>>>,
}

impl Hashed {
    /// Forgets it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&self) -> Result<(), MapError> {
        let mut map = self.map.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.set(0, 0, 0).map_err(|source| MapError::Access { name: "HASHED", source })
    }

    /// `HASH_ALGO_*` of `include/uapi/linux/hash_info.h`, a negative errno, or 0 when none was hashed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn algorithm(&self) -> Result<i64, MapError> {
        let map = self.map.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.get(&0, 0).map_err(|source| MapError::Access { name: "HASHED", source })
    }
}

/// What the program that proves a backend tells.
pub struct Proofs {
    map: std::sync::Mutex<Array<MapData, [u8; PROOF]>>,
}

impl Proofs {
    /// Has the calling thread's calls counted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn begin(&self) -> Result<(), MapError> {
        let (tgid, tid) = (rustix::process::getpid(), rustix::thread::gettid());
        let number =
            |pid: rustix::process::Pid| u64::from(pid.as_raw_nonzero().get().unsigned_abs());
        let proof = Proof { thread: number(tgid) << 32 | number(tid), ..Proof::default() };
        let mut map = self.map.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.set(0, bytes(&proof), 0).map_err(|source| MapError::Access { name: "PROOF", source })
    }

    /// Evidence that programs have written so far.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn seen(&self) -> Result<Proof, MapError> {
        let map = self.map.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let value = map.get(&0, 0).map_err(|source| MapError::Access { name: "PROOF", source })?;
        Ok(Proof::read_from_bytes(&value).unwrap_or_default())
    }
}

/// Deny maps, and what programs look at before them: flags, bounds, marks, hits.
pub struct RuleMaps {
    flags: Flags,
    bounds: OwnerBounds,
    changes: ChangeNumber,
    leases: LeaseMaps,
    /// Whether rules are obeyed at all.
    obeyed: RulesObeyed,
    labels: LabelMaps,
    member: HashMap<MapData, [u8; PROCESS_KEY], [u8; MEMBERSHIP]>,
    hits: HashMap<MapData, u64, u64>,
}

/// The section of the number that stands for the leases and marks as they are.
const CHANGES: &str = ".data.changes";

/// Changes of leases and marks. The kernel uses an element that was replaced again for the next key, while
/// programs still read it: they compare the number before and after, and read again when it is another.
struct ChangeNumber {
    map: Array<MapData, u64>,
    last: u64,
}

impl ChangeNumber {
    /// Gives what follows a number of its own. Told before each change: an element that one change lets go
    /// of is used by a later one at the earliest.
    fn next(&mut self) -> Result<(), StoreError> {
        self.last = self.last.wrapping_add(1);
        stored("CHANGES", self.map.set(0, self.last, 0))
    }
}

/// The section of whom each owner's leases concern.
const BOUNDS: &str = ".data.bounds";

struct OwnerBounds {
    map: Array<MapData, [u8; OWNERS * size_of::<Bounds>()]>,
    all: [Bounds; OWNERS],
}

/// Whether rules in the maps are obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulesObeyed {
    /// Calls look rules up.
    Yes,
    /// No call looks them up (`--mode off`).
    No,
}

impl RuleStore for RuleMaps {
    fn put(&mut self, key: EntryKey, entry: &Entry) -> Result<(), StoreError> {
        self.changes.next()?;
        self.leases.put(key, bytes(entry))
    }

    fn remove(&mut self, key: EntryKey) -> Result<(), StoreError> {
        self.changes.next()?;
        self.leases.remove(key)
    }

    fn mark(&mut self, process: ProcessKey, membership: &Membership) -> Result<(), StoreError> {
        self.changes.next()?;
        stored("MEMBER", self.member.insert(bytes(&process), bytes(membership), 0))?;
        // A fork in the kernel may use what was let go of, without a number.
        self.changes.next()
    }

    fn unmark(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.changes.next()?;
        removed("MEMBER", self.member.remove(&bytes(&process)))?;
        self.changes.next()
    }

    fn marks(&self, process: ProcessKey) -> Result<Option<Membership>, StoreError> {
        match self.member.get(&bytes(&process), 0) {
            Ok(value) => Ok(Membership::read_from_bytes(&value).ok()),
            Err(maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(failed("MEMBER", error)),
        }
    }

    fn bound(&mut self, owner: u8, to: Bounds) -> Result<(), StoreError> {
        let OwnerBounds { map, all } = &mut self.bounds;
        let mut next = *all;
        let slot = next.get_mut(usize::from(owner));
        *slot.ok_or(StoreError::Slot { slot: owner.into() })? = to;
        if next != *all {
            // All at once: those that stay are written as they are.
            stored("BOUNDS", map.set(0, bytes(&next), 0))?;
            *all = next;
        }
        Ok(())
    }

    fn set_label_rules(&mut self, rules: LabelRules) -> Result<(), StoreError> {
        self.labels.set_rules(rules)
    }

    fn set_labels(
        &mut self,
        process: ProcessKey,
        gives: u64,
        takes: u64,
    ) -> Result<(), StoreError> {
        self.labels.set(process, gives, takes)
    }

    fn forget_labels(&mut self, process: ProcessKey) -> Result<(), StoreError> {
        self.labels.forget(process)
    }

    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        self.labels.all()
    }

    fn set_rule_flags(&mut self, hook: Hook, bits: u64) -> Result<(), StoreError> {
        let bits = match self.obeyed {
            RulesObeyed::Yes => bits & flag::LEDGER,
            RulesObeyed::No => 0,
        };
        let raised = self.flags.raise(hook.id(), bits);
        Ok(raised.and_then(|()| self.flags.lower(hook.id(), flag::LEDGER & !bits))?)
    }

    fn capacity(&self, key: EntryKey) -> Option<(&'static str, usize)> {
        self.leases.capacity(key)
    }

    fn open_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        stored("HITS", self.hits.insert(rule_id, 0, 0))
    }

    fn hits(&self, rule_id: u64) -> Result<u64, StoreError> {
        match self.hits.get(&rule_id, 0) {
            Ok(hits) => Ok(hits),
            Err(maps::MapError::KeyNotFound) => Ok(0),
            Err(error) => Err(failed("HITS", error)),
        }
    }

    fn close_hits(&mut self, rule_id: u64) -> Result<(), StoreError> {
        removed("HITS", self.hits.remove(&rule_id))
    }
}

/// The bytes of a value. A key or value that is not as long as its map has them does not compile.
pub(super) fn bytes<const N: usize, T: IntoBytes + zerocopy::Immutable>(value: &T) -> [u8; N] {
    const { assert!(size_of::<T>() == N, "a map's key or value is as long as its type") };
    let mut out = [0; N];
    out.copy_from_slice(value.as_bytes());
    out
}
