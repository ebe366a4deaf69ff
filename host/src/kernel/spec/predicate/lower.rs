//! Checked tests → atoms, strings and alternatives of a [`Spec`](krsi_host_abi::spec::Spec).

use krsi_host_abi::spec::{ATOMS, Atom, Compare, STRING_LEN, STRINGS, TERMS, Term};

use super::PredicateError;
use super::check::{CheckedPredicate, Part};
use super::terms::{Alternatives, WORK_ATOMS};

/// A predicate as the kernel evaluates it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lowered {
    /// Tests of the predicate.
    pub atoms: Vec<Atom>,
    /// Alternatives; none is never true. One without tests is always true, see [`Self::is_true`].
    pub terms: Vec<Term>,
    /// Strings that tests name.
    pub strings: Vec<[u8; STRING_LEN]>,
}

impl Lowered {
    /// Whether it holds whatever the fields are: there is nothing to evaluate.
    #[must_use]
    pub(crate) fn is_true(&self) -> bool {
        self.terms.iter().any(|term| term.care == 0)
    }
}

/// Lowers a checked predicate.
pub(super) fn lower(checked: &CheckedPredicate) -> Result<Lowered, PredicateError> {
    let mut lowering = Lowering { atoms: Vec::new(), strings: Vec::new() };
    let alternatives = lowering.node(checked, true)?;
    lowering.finish(alternatives)
}

struct Lowering {
    atoms: Vec<Atom>,
    strings: Vec<Vec<u8>>,
}

impl Lowering {
    /// The alternatives in which `checked` is `wanted`.
    fn node(
        &mut self,
        checked: &CheckedPredicate,
        wanted: bool,
    ) -> Result<Alternatives, PredicateError> {
        match checked {
            CheckedPredicate::Constant(value) => Ok(Alternatives::constant(*value == wanted)),
            CheckedPredicate::Not(inner) => self.node(inner, !wanted),
            CheckedPredicate::And(parts) | CheckedPredicate::Or(parts) => {
                let all = matches!(checked, CheckedPredicate::And(_)) == wanted;
                let mut joined = Alternatives::constant(all);
                for part in parts {
                    let part = self.node(part, wanted)?;
                    joined = if all {
                        joined.and(&part, &self.atoms)?
                    } else {
                        joined.or(part, &self.atoms)?
                    };
                }
                Ok(joined)
            }
            CheckedPredicate::Part(part) => self.part(part, wanted),
        }
    }

    /// A test that must be false must be read all the same.
    fn part(&mut self, part: &Part, wanted: bool) -> Result<Alternatives, PredicateError> {
        let at = self.intern(part)?;
        if wanted || part.atom.compare == Compare::Present as u8 {
            return Ok(Alternatives::one(at, wanted));
        }
        let present = self.intern(&part.presence())?;
        Alternatives::one(at, false).and(&Alternatives::one(present, true), &self.atoms)
    }

    fn intern(&mut self, part: &Part) -> Result<usize, PredicateError> {
        let mut atom = part.atom;
        if let Some(text) = &part.text {
            let known = self.strings.iter().position(|known| known == text);
            let at = known.unwrap_or(self.strings.len());
            if known.is_none() {
                self.strings.push(text.clone());
            }
            atom.number = at as u64;
        }
        if let Some(at) = self.atoms.iter().position(|known| *known == atom) {
            return Ok(at);
        }
        if self.atoms.len() >= WORK_ATOMS {
            return Err(PredicateError::Atoms { used: self.atoms.len() + 1 });
        }
        self.atoms.push(atom);
        Ok(self.atoms.len() - 1)
    }

    /// Drops tests and strings that no alternative needs any more, and checks the limits.
    fn finish(self, alternatives: Alternatives) -> Result<Lowered, PredicateError> {
        let mut lowered = Lowered::default();
        let needed = alternatives.0.iter().fold(0, |needed, term| needed | term.care);
        let mut strings: Vec<usize> = Vec::new();
        let mut places = Vec::new();
        for (at, atom) in self.atoms.iter().enumerate() {
            if needed & (1u32 << at) == 0 {
                continue;
            }
            let mut atom = *atom;
            if is_text(atom.compare) {
                let old = usize::try_from(atom.number).unwrap_or(usize::MAX);
                let new = strings.iter().position(|known| *known == old);
                atom.number = new.unwrap_or(strings.len()) as u64;
                if new.is_none() {
                    strings.push(old);
                }
            }
            places.push(at);
            lowered.atoms.push(atom);
        }
        for term in &alternatives.0 {
            let moved = |bits: u32| {
                let set = places.iter().enumerate().filter(|(_, old)| bits & (1u32 << **old) != 0);
                set.fold(0, |word, (new, _)| word | 1u32 << new)
            };
            lowered.terms.push(Term { care: moved(term.care), value: moved(term.value) });
        }
        for at in &strings {
            let text = self.strings.get(*at).map(Vec::as_slice).unwrap_or_default();
            let mut room = [0; STRING_LEN];
            for (to, from) in room.iter_mut().zip(text) {
                *to = *from;
            }
            lowered.strings.push(room);
        }
        match &lowered {
            Lowered { atoms, .. } if atoms.len() > ATOMS => {
                Err(PredicateError::Atoms { used: atoms.len() })
            }
            Lowered { terms, .. } if terms.len() > TERMS => Err(PredicateError::Terms),
            Lowered { strings, .. } if strings.len() > STRINGS => {
                Err(PredicateError::Strings { used: strings.len() })
            }
            _ => Ok(lowered),
        }
    }
}

fn is_text(compare: u8) -> bool {
    [Compare::TextEqual, Compare::TextPrefix, Compare::TextSuffix]
        .iter()
        .any(|text| compare == *text as u8)
}
