//! The algebra of a predicate: alternatives of tests that must be true or false, kept small.
//!
//! Tests are bits of a word. What a test implies about its capture being there is used to drop what
//! is redundant: a test that holds was read.

use krsi_host_abi::spec::{Atom, Compare, Term, part};

use super::PredicateError;

/// Tests before what is redundant is dropped.
pub(super) const WORK_ATOMS: usize = 32;
/// Alternatives before what is redundant is dropped.
const WORK_TERMS: usize = 96;

/// Alternatives: none is never true, one without tests is always true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alternatives(pub(super) Vec<Term>);

impl Alternatives {
    pub(super) fn constant(value: bool) -> Self {
        Self(if value { vec![Term::default()] } else { Vec::new() })
    }

    /// Test `at` must be `value`.
    pub(super) fn one(at: usize, value: bool) -> Self {
        let bit = 1u32.checked_shl(u32::try_from(at).unwrap_or(u32::MAX)).unwrap_or_default();
        Self(vec![Term { care: bit, value: if value { bit } else { 0 } }])
    }

    pub(super) fn or(mut self, other: Self, atoms: &[Atom]) -> Result<Self, PredicateError> {
        self.0.extend(other.0);
        self.tidied(atoms)
    }

    pub(super) fn and(self, other: &Self, atoms: &[Atom]) -> Result<Self, PredicateError> {
        let mut both = Vec::with_capacity(self.0.len() * other.0.len());
        for left in &self.0 {
            for right in &other.0 {
                let shared = left.care & right.care;
                if (left.value ^ right.value) & shared == 0 {
                    both.push(Term {
                        care: left.care | right.care,
                        value: left.value | right.value,
                    });
                }
            }
        }
        Self(both).tidied(atoms)
    }

    /// Drops what is redundant or impossible.
    fn tidied(self, atoms: &[Atom]) -> Result<Self, PredicateError> {
        let mut kept: Vec<Term> = Vec::new();
        for term in self.0 {
            if let Some(term) = readable(term, atoms) {
                keep(&mut kept, term);
            }
        }
        while let Some((first, second, merged)) = mergeable(&kept) {
            kept.swap_remove(second);
            kept.swap_remove(first);
            keep(&mut kept, merged);
        }
        if kept.len() > WORK_TERMS { Err(PredicateError::Terms) } else { Ok(Self(kept)) }
    }
}

/// Adds an alternative unless a wider one is there, and drops the narrower ones.
fn keep(kept: &mut Vec<Term>, term: Term) {
    if kept.iter().any(|wide| covers(*wide, term)) {
        return;
    }
    kept.retain(|narrow| !covers(term, *narrow));
    kept.push(term);
}

/// Whether everything that `narrow` lets through passes `wide` too.
fn covers(wide: Term, narrow: Term) -> bool {
    wide.care & narrow.care == wide.care && (wide.value ^ narrow.value) & wide.care == 0
}

/// Two alternatives that differ in one test only, the first index below the second.
fn mergeable(kept: &[Term]) -> Option<(usize, usize, Term)> {
    for (at, left) in kept.iter().enumerate() {
        for (other, right) in kept.iter().enumerate().skip(at + 1) {
            let differ = left.value ^ right.value;
            if left.care == right.care && differ.count_ones() == 1 {
                let merged = Term { care: left.care & !differ, value: left.value & !differ };
                return Some((at, other, merged));
            }
        }
    }
    None
}

/// Whether what one test is about is there once the other holds: a byte is only by one at its place or behind.
fn tells(holds: &Atom, present: &Atom) -> bool {
    let is_byte = |atom: &Atom| atom.part == part::BYTE;
    holds.capture == present.capture
        && (!is_byte(present) || is_byte(holds) && holds.len >= present.len)
}

/// The alternative without `Present` tests that another test of it implies; `None` when it wants a
/// capture both absent and tested.
fn readable(mut term: Term, atoms: &[Atom]) -> Option<Term> {
    let bits = || atoms.iter().zip((0..u32::BITS).map(|at| 1u32 << at));
    for (present, bit) in bits() {
        if present.compare != Compare::Present as u8 || term.care & bit == 0 {
            continue;
        }
        let tested = bits().any(|(atom, other)| {
            other != bit && tells(atom, present) && term.care & term.value & other != 0
        });
        if tested && term.value & bit == 0 {
            return None;
        }
        if tested {
            term.care &= !bit;
            term.value &= !bit;
        }
    }
    Some(term)
}
