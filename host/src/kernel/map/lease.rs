//! The leases by key: one row for each kind of key says its map and how it is found there.

use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, IterableMap, LpmTrie, Map, MapData, MapError as AyaError};
use krsi_host_abi::deny::{Digest, Entry, FileKey, NetworkKey, ProcessKey};
use krsi_host_abi::hook::Hook;
use krsi_host_abi::path::PathKey;

use super::prefix::PathPrefix;
use super::store::StoreError;
use super::store_error::{removed, stored};
use super::{MapError, ObjectMaps, bytes, open};

const PROCESS_KEY: usize = size_of::<ProcessKey>();
const FILE_KEY: usize = size_of::<FileKey>();
const PATH_KEY: usize = size_of::<PathKey>();
/// Trie data after the prefix length.
const NETWORK_DATA: usize = size_of::<NetworkKey>() - 4;
/// Bytes of all leases of a key.
type Leases = [u8; size_of::<Entry>()];

/// A map of leases.
trait LeaseMap<K> {
    /// Puts the leases of a key in force.
    fn put(&mut self, key: K, leases: Leases) -> Result<(), AyaError>;
    /// Ends the leases of a key.
    fn end(&mut self, key: K) -> Result<(), AyaError>;
    /// The map itself, if its keys share its room.
    fn shared(&self) -> Option<&MapData>;
}

impl<K: Pod> LeaseMap<K> for HashMap<MapData, K, Leases> {
    fn put(&mut self, key: K, leases: Leases) -> Result<(), AyaError> {
        self.insert(key, leases, 0)
    }

    fn end(&mut self, key: K) -> Result<(), AyaError> {
        self.remove(&key)
    }

    fn shared(&self) -> Option<&MapData> {
        Some(self.map())
    }
}

impl LeaseMap<NetworkKey> for LpmTrie<MapData, [u8; NETWORK_DATA], Leases> {
    fn put(&mut self, key: NetworkKey, leases: Leases) -> Result<(), AyaError> {
        self.insert(&trie(key), leases, 0)
    }

    fn end(&mut self, key: NetworkKey) -> Result<(), AyaError> {
        self.remove(&trie(key))
    }

    fn shared(&self) -> Option<&MapData> {
        Some(self.map())
    }
}

/// A map that has room for the leases of every hook.
struct PerHook(HashMap<MapData, u32, Leases>);

impl TryFrom<Map> for PerHook {
    type Error = AyaError;

    fn try_from(map: Map) -> Result<Self, AyaError> {
        HashMap::try_from(map).map(Self)
    }
}

impl LeaseMap<Hook> for PerHook {
    fn put(&mut self, key: Hook, leases: Leases) -> Result<(), AyaError> {
        self.0.insert(u32::from(key.id()), leases, 0)
    }

    fn end(&mut self, key: Hook) -> Result<(), AyaError> {
        self.0.remove(&u32::from(key.id()))
    }

    fn shared(&self) -> Option<&MapData> {
        None
    }
}

macro_rules! lease_maps {
    ($secret:ident: $($field:ident $name:literal: $map:ty {
        $($(#[$doc:meta])* $kind:ident($key:ident: $type:ty) = $at:expr;)+
    })*) => {
        /// A key of one of the maps of leases.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(clippy::large_enum_variant, reason = "keys are few and copied; a path is kept in place")]
        pub enum EntryKey { $($($(#[$doc])* $kind($type),)+)* }

        /// The maps of leases.
        pub(super) struct LeaseMaps {
            /// Secret with which hashes of paths start.
            path_secret: u64,
            $($field: $map,)*
        }

        impl LeaseMaps {
            /// Takes the maps over.
            pub(super) fn take(maps: &mut ObjectMaps, path_secret: u64) -> Result<Self, MapError> {
                Ok(Self { path_secret, $($field: open(maps, $name)?,)* })
            }

            /// Puts the leases of a key in force, replacing those before.
            pub(super) fn put(&mut self, key: EntryKey, leases: Leases) -> Result<(), StoreError> {
                let $secret = self.path_secret;
                match key {
                    $($(EntryKey::$kind($key) => stored($name, self.$field.put($at, leases)),)+)*
                }
            }

            /// Ends the leases of a key.
            pub(super) fn remove(&mut self, key: EntryKey) -> Result<(), StoreError> {
                let $secret = self.path_secret;
                match key {
                    $($(EntryKey::$kind($key) => removed($name, self.$field.end($at)),)+)*
                }
            }

            /// Name of a key's map, and how many keys share its room; `None` for a map that has a place
            /// for every key, and for one that the kernel does not tell of.
            pub(super) fn capacity(&self, key: EntryKey) -> Option<(&'static str, usize)> {
                match key {
                    $($(EntryKey::$kind(_) => {
                        let info = self.$field.shared()?.info().ok()?;
                        Some(($name, info.max_entries() as usize))
                    })+)*
                }
            }
        }
    };
}

lease_maps! { secret:
    process "PROCESS": HashMap<MapData, [u8; PROCESS_KEY], Leases> {
        /// The caller, as one process.
        Process(key: ProcessKey) = bytes(&key);
    }
    lineage "LINEAGE": HashMap<MapData, u64, Leases> {
        /// A lineage, by the id its members are marked with.
        Lineage(id: u64) = id;
    }
    file "FILE": HashMap<MapData, [u8; FILE_KEY], Leases> {
        File(key: FileKey) = bytes(&key);
    }
    network "NETWORK": LpmTrie<MapData, [u8; NETWORK_DATA], Leases> {
        /// The destination of a connection or a message.
        Network(key: NetworkKey) = key;
    }
    cgroup "CGROUP": HashMap<MapData, u64, Leases> {
        /// A cgroup, by its id.
        Cgroup(id: u64) = id;
    }
    path "PATH": HashMap<MapData, [u8; PATH_KEY], Leases> {
        Path(prefix: PathPrefix) = bytes(&prefix.key(secret));
        /// Paths of a hook that could not be resolved.
        Unresolved(hook: Hook) = bytes(&PathKey::unresolved(u32::from(hook.id())));
    }
    digest "DIGEST": HashMap<MapData, Digest, Leases> {
        /// Executables by their SHA-256.
        Digest(key: Digest) = key;
    }
    on_error "ON_ERROR": PerHook {
        /// Files and destinations of a hook that could not be read.
        Unread(hook: Hook) = hook;
    }
    hook "HOOK": PerHook {
        /// A whole hook.
        Hook(hook: Hook) = hook;
    }
}

fn trie(key: NetworkKey) -> Key<[u8; NETWORK_DATA]> {
    let [_, _, _, _, data @ ..]: [u8; size_of::<NetworkKey>()] = bytes(&key);
    Key::new(key.prefix_bits, data)
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn a_network_key_is_its_prefix_and_the_rest() {
        let key = NetworkKey { prefix_bits: 40, ..NetworkKey::default() };
        let key = NetworkKey { address: [7; 16], ..key };
        let trie = trie(key);
        assert_eq!(trie.prefix_len(), 40);
        assert_eq!(trie.data()[..], key.as_bytes()[4..]);
    }
}
