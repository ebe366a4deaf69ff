//! The object's function types for kernels that know no global function with pointers.
//!
//! Before 5.13 the verifier takes numbers alone as arguments of a global function (`btf_prepare_func_args`). A
//! function of numbers may then still be verified once; the others are made static: verified at each call.

use crate::kernel::btf::raw::{self, RawType, TYPE_BYTES, kind, word};

/// Bytes of a parameter: its name and its type.
const PARAMETER_BYTES: usize = 8;

/// The same types with functions that take a pointer made static; nothing when a type refers to none.
pub(super) fn numbers_alone(types: &[u8]) -> Option<Vec<u8>> {
    let all: Vec<RawType<'_>> = raw::types(types).collect();
    let mut made = types.to_vec();
    for function in all.iter().filter(|one| one.kind == kind::FUNC) {
        let prototype = get(&all, function.of)?;
        let first = prototype.at + TYPE_BYTES;
        let parameters =
            (0..prototype.count).map(|at| word(types, first + at * PARAMETER_BYTES + 4));
        if parameters.collect::<Option<Vec<_>>>()?.into_iter().any(|of| is_pointer(&all, of)) {
            // The linkage is the low half of the word; 0 is `BTF_FUNC_STATIC`.
            made.get_mut(function.at + 4..function.at + 6)?.fill(0);
        }
    }
    Some(made)
}

fn get<'a>(all: &[RawType<'a>], id: u32) -> Option<RawType<'a>> {
    all.get((id as usize).checked_sub(1)?).copied()
}

/// Whether a type is a pointer, by whatever name. One that cannot be told counts as one.
fn is_pointer(all: &[RawType<'_>], mut id: u32) -> bool {
    // A chain is no longer than there are types.
    for _ in 0..all.len() {
        match get(all, id) {
            Some(RawType {
                kind: kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT,
                of,
                ..
            }) => {
                id = of;
            }
            Some(RawType { kind: kind::INT | kind::ENUM, .. }) => return false,
            _ => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An int, a pointer to it, a const pointer, functions of (int), (int, pointer), (const pointer), and of nothing.
    fn sample() -> Vec<u8> {
        let int = [0, kind::INT << 24, 4, 32].to_vec();
        let pointer = [0, 2 << 24, 1].to_vec();
        let constant = [0, kind::CONST << 24, 2].to_vec();
        let prototype = |parameters: &[u32]| {
            let head = [0, kind::FUNC_PROTO << 24 | parameters.len() as u32, 1];
            head.into_iter().chain(parameters.iter().flat_map(|of| [0, *of])).collect::<Vec<u32>>()
        };
        let function = |of: u32| [0, kind::FUNC << 24 | 1, of].to_vec();
        let types = [
            int,
            pointer,
            constant,
            prototype(&[1]),
            prototype(&[1, 2]),
            prototype(&[3]),
            prototype(&[]),
            function(4),
            function(5),
            function(6),
            function(7),
        ]
        .concat();
        let length = types.len() as u32 * 4;
        let head = [0x0001_eb9f, 24, 0, length, length, 0];
        head.into_iter().chain(types).flat_map(u32::to_ne_bytes).collect()
    }

    fn linkages(types: &[u8]) -> Vec<usize> {
        let functions = raw::types(types).filter(|one| one.kind == kind::FUNC);
        functions.map(|one| one.count).collect()
    }

    #[test]
    fn functions_of_numbers_alone_stay_global() {
        let types = sample();
        assert_eq!(linkages(&types), [1, 1, 1, 1]);
        assert_eq!(linkages(&numbers_alone(&types).unwrap()), [1, 0, 0, 1]);
    }

    #[test]
    fn what_is_cut_or_refers_to_nothing_harms_nobody() {
        let types = sample();
        for end in 0..types.len() {
            let _anything = numbers_alone(&types[..end]);
        }
        for at in (0..types.len()).step_by(4) {
            let mut bent = types.clone();
            bent[at..at + 4].fill(0xff);
            let _anything = numbers_alone(&bent);
        }
    }
}
