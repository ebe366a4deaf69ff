//! Where the kernel's types are by name: one pass over them, of which a hash and an id stay for each.

use btf_rs::{Btf, Type};

use super::raw::{self, kind};

/// Ids of types by a hash of their name.
#[derive(Debug)]
pub(super) struct TypeNames {
    /// Hash in the upper half and id in the lower one, in order.
    ids: Vec<u64>,
}

impl TypeNames {
    /// Those of the types that are looked for by name.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let is_asked_for = |kind| {
            matches!(kind, kind::FUNC | kind::STRUCT | kind::UNION | kind::ENUM | kind::TYPEDEF)
        };
        let types = (1_u64..).zip(raw::types(bytes)).filter(|(_, found)| is_asked_for(found.kind));
        let named = types.filter_map(|(id, found)| {
            let name = found.name();
            (!name.is_empty()).then(|| hash(name) | id)
        });
        let mut ids: Vec<u64> = named.collect();
        ids.sort_unstable();
        Self { ids }
    }

    /// Ids of the types of a name, in order.
    pub(super) fn ids<'a>(
        &'a self,
        btf: &'a Btf,
        wanted: &'a str,
    ) -> impl Iterator<Item = u32> + 'a {
        let hash = hash(wanted.as_bytes());
        let first = self.ids.partition_point(|one| *one < hash);
        let same = self.ids.iter().skip(first).take_while(move |one| **one >> 32 == hash >> 32);
        // Two names may have one hash.
        same.map(|one| *one as u32).filter(move |id| {
            let found = btf.resolve_type_by_id(*id).ok();
            found.and_then(|found| name(btf, &found)).is_some_and(|name| name == wanted)
        })
    }
}

fn name(btf: &Btf, found: &Type) -> Option<String> {
    btf.resolve_name(found.as_btf_type()?).ok()
}

/// FNV-1a, its halves put together, as the upper half of a word.
fn hash(name: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let whole = name.iter().fold(0xcbf2_9ce4_8422_2325, step);
    (whole ^ whole >> 32) << 32
}
