//! Tests against what their fields are: kinds, ranges of numbers, lengths of strings.
//!
//! What comes out has only tests that the kernel side knows, so lowering cannot meet a wrong kind.

use krsi_host_abi::spec::{Atom, Compare, STRING_LEN, content_state, part};

use super::super::field_path::{Field, FieldKind};
use super::syntax::{Comparison, Constant, Node, Subject, Test, TestedPart};
use super::{Lookup, PredicateError, label};

/// A run of numbers that long is one range: two tests.
const RUN: usize = 3;
/// The lower half of a value.
const LOW: u64 = 0xffff_ffff;

/// A predicate of tests that the kernel side knows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CheckedPredicate {
    Constant(bool),
    Not(Box<CheckedPredicate>),
    And(Vec<CheckedPredicate>),
    Or(Vec<CheckedPredicate>),
    Part(Part),
}

/// A test, with the string that it compares with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) atom: Atom,
    pub(super) text: Option<Vec<u8>>,
}

impl Part {
    pub(super) fn number(compare: Compare, capture: u8, mask: u64, number: u64) -> Self {
        let compare = compare as u8;
        Self { atom: Atom { compare, capture, mask, number, ..Atom::default() }, text: None }
    }

    /// Whether a capture could be read.
    fn present(capture: u8) -> Self {
        Self::number(Compare::Present, capture, 0, 0)
    }

    /// Whether there is what this one tests.
    pub(super) fn presence(&self) -> Self {
        let present = Self::present(self.atom.capture);
        if self.atom.part != part::BYTE {
            return present;
        }
        let Atom { part, len, .. } = self.atom;
        Self { atom: Atom { part, len, ..present.atom }, text: None }
    }
}

/// Checks a predicate.
pub(super) fn check(node: &Node, lookup: Lookup<'_>) -> Result<CheckedPredicate, PredicateError> {
    let mut both = |left: &Node, right: &Node| {
        Ok::<_, PredicateError>(vec![check(left, lookup)?, check(right, lookup)?])
    };
    match node {
        Node::Constant(value) => Ok(CheckedPredicate::Constant(*value)),
        Node::Not(inner) => Ok(CheckedPredicate::Not(Box::new(check(inner, lookup)?))),
        Node::And(left, right) => Ok(CheckedPredicate::And(both(left, right)?)),
        Node::Or(left, right) => Ok(CheckedPredicate::Or(both(left, right)?)),
        Node::Label { name, number } => label::check(name, *number, lookup),
        Node::Test(subject, test, part) => {
            let field = lookup(&subject.path)?;
            Tested { field: &field, subject, part }.test(test)
        }
    }
}

/// A field with the part of the text that tests it.
struct Tested<'a> {
    field: &'a Field,
    subject: &'a Subject,
    part: &'a str,
}

impl Tested<'_> {
    fn test(&self, test: &Test) -> Result<CheckedPredicate, PredicateError> {
        match test {
            Test::Present if self.subject.view == TestedPart::Whole => {
                Ok(CheckedPredicate::Part(Part::present(self.row())))
            }
            Test::Present => Err(self.refused("names the field itself, not a part of it")),
            Test::Truth => self.truth(true),
            Test::Compare(Comparison::Equal, Constant::Truth(value)) => self.truth(*value),
            Test::Compare(Comparison::Unequal, Constant::Truth(value)) => self.truth(!value),
            Test::Compare(_, Constant::Truth(_)) => Err(self.refused("orders a truth value")),
            Test::Compare(order, Constant::Number(number)) => {
                self.range()?.compare(*order, *number)
            }
            Test::Compare(Comparison::Equal, Constant::Text(text)) => {
                self.text(Compare::TextEqual, text)
            }
            Test::Compare(Comparison::Unequal, Constant::Text(text)) => {
                Ok(not(self.text(Compare::TextEqual, text)?))
            }
            Test::Compare(_, Constant::Text(_)) => Err(self.refused(
                "orders strings; the kernel side has ==, !=, in, startsWith and endsWith",
            )),
            Test::Among(list) => self.among(list),
            Test::Any(mask) => {
                let range = self.range()?;
                let mask = range.mask & self.mask(*mask, &range)?;
                Ok(range.part(Compare::AnyBit, mask, 0))
            }
            Test::Prefix(text) => self.text(Compare::TextPrefix, text),
            Test::Suffix(text) => self.text(Compare::TextSuffix, text),
        }
    }

    fn row(&self) -> u8 {
        u8::try_from(self.field.row).unwrap_or(u8::MAX)
    }

    fn truth(&self, wanted: bool) -> Result<CheckedPredicate, PredicateError> {
        let one_bit = matches!(self.field.kind, FieldKind::Unsigned(1) | FieldKind::Signed(1));
        if !one_bit || self.subject.view != TestedPart::Whole {
            return Err(self.kind("it is no truth value; compare it, as in x != 0"));
        }
        let zero = CheckedPredicate::Part(Part::number(Compare::Equal, self.row(), u64::MAX, 0));
        Ok(if wanted { not(zero) } else { zero })
    }

    fn among(&self, list: &[Constant]) -> Result<CheckedPredicate, PredicateError> {
        let numbers: Option<Vec<i128>> = list.iter().map(number).collect();
        let texts: Option<Vec<&str>> = list.iter().map(text).collect();
        match (numbers, texts) {
            (Some(numbers), _) if !numbers.is_empty() => self.range()?.among(numbers),
            (_, Some(texts)) if !texts.is_empty() => {
                let texts = texts.into_iter().map(|text| self.text(Compare::TextEqual, text));
                Ok(CheckedPredicate::Or(texts.collect::<Result<_, _>>()?))
            }
            _ => Err(self.refused("wants a list of numbers, or one of strings, that is not empty")),
        }
    }

    fn text(&self, compare: Compare, text: &str) -> Result<CheckedPredicate, PredicateError> {
        if self.subject.view == TestedPart::State {
            return self.state(compare, text);
        }
        let most = match self.field.kind {
            FieldKind::Digest(most) if compare == Compare::TextEqual => {
                return self.digest(usize::from(most), text);
            }
            FieldKind::Text(bound) => usize::from(bound).saturating_sub(1),
            FieldKind::Path => STRING_LEN,
            FieldKind::Content(bound) => usize::from(bound),
            _ => return Err(self.kind(self.advice())),
        };
        if self.subject.view != TestedPart::Whole {
            return Err(self.refused("compares a number with a string"));
        }
        let part = self.part.to_owned();
        let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
        if text.contains('\0') && !matches!(self.field.kind, FieldKind::Content(_)) {
            return Err(self.refused("has a NUL in its string, which ends every text"));
        }
        if text.len() > STRING_LEN {
            return Err(PredicateError::String { part, len: text.len() });
        }
        if text.len() > most {
            let field = self.field.name.clone();
            return Err(PredicateError::Longer { part, field, most, len: text.len() });
        }
        let atom = Atom { compare: compare as u8, capture: self.row(), len, ..Atom::default() };
        Ok(CheckedPredicate::Part(Part { atom, text: Some(text.as_bytes().to_vec()) }))
    }

    /// A test of the state of a message's first bytes, which is named by its word.
    fn state(&self, compare: Compare, word: &str) -> Result<CheckedPredicate, PredicateError> {
        if !matches!(self.field.kind, FieldKind::Content(_)) {
            return Err(self.kind(self.advice()));
        }
        let number = content_state::WORDS.iter().zip(0..).find(|(known, _)| **known == word);
        let (Some((_, number)), Compare::TextEqual) = (number, compare) else {
            return Err(self.refused(
                "is no state; it is \"whole\", \"cut\", \"unread\", \"segments\", \"kernel\" or \"empty\"",
            ));
        };
        let mut part = Part::number(Compare::Equal, self.row() + 1, u64::MAX, number);
        part.atom.part = part::LATE;
        Ok(CheckedPredicate::Part(part))
    }

    /// The bytes of a digest are compared.
    fn digest(&self, most: usize, text: &str) -> Result<CheckedPredicate, PredicateError> {
        let digits: Option<Vec<u8>> = text.chars().map(nibble).collect();
        let pairs = digits.iter().flat_map(|digits| digits.chunks(2));
        let bytes: Vec<u8> =
            pairs.map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        // Half a byte more makes no digest of another length.
        if !matches!(text.len(), 64 | 128) || bytes.len() * 2 != text.len() || bytes.len() > most {
            return Err(self.refused("is no digest: SHA-256 has 64 hex digits, SHA-512 has 128"));
        }
        let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        let compare = Compare::TextEqual as u8;
        let atom = Atom { compare, capture: self.row(), len, ..Atom::default() };
        Ok(CheckedPredicate::Part(Part { atom, text: Some(bytes) }))
    }

    /// What of the field is a number, and which ones it can be.
    fn range(&self) -> Result<Range<'_>, PredicateError> {
        let (row, all) = (self.row(), u64::MAX);
        let range = |row, mask, shift, low, high, signed| {
            Ok(Range { tested: self, row, byte: None, mask, shift, low, high, signed })
        };
        match (self.subject.view, self.field.kind) {
            (TestedPart::Whole, FieldKind::Unsigned(bits)) => {
                range(row, all, 0, 0, (1 << bits.min(64)) - 1, false)
            }
            (TestedPart::Whole, FieldKind::Signed(bits)) => {
                let half = 1i128 << bits.clamp(1, 64).saturating_sub(1);
                range(row, all, 0, -half, half - 1, true)
            }
            (TestedPart::Bits(mask), FieldKind::Unsigned(bits) | FieldKind::Signed(bits)) => {
                let whole = range(row, all, 0, 0, (1 << bits.min(64)) - 1, false)?;
                let mask = self.mask(mask, &whole)?;
                range(row, mask, 0, 0, i128::from(mask), false)
            }
            (TestedPart::Family, FieldKind::Address) => range(row + 1, 0xffff, 0, 0, 0xffff, false),
            (TestedPart::Port, FieldKind::Address) => {
                range(row + 1, 0xffff_0000, 16, 0, 0xffff, false)
            }
            (TestedPart::Ino, FieldKind::Inode) => range(row, all, 0, 0, u64::MAX.into(), false),
            (TestedPart::Dev, FieldKind::Inode) => {
                range(row + 1, LOW, 0, 0, u32::MAX.into(), false)
            }
            (TestedPart::Generation, FieldKind::Inode) => {
                range(row + 1, !LOW, 32, 0, u32::MAX.into(), false)
            }
            (TestedPart::Whole, FieldKind::ContentByte(at)) => {
                let whole = range(row, all, 0, 0, 0xff, false)?;
                Ok(Range { byte: Some(at), ..whole })
            }
            (TestedPart::Bits(mask), FieldKind::ContentByte(at)) => {
                let whole = range(row, all, 0, 0, 0xff, false)?;
                let mask = self.mask(mask, &whole)?;
                Ok(Range { byte: Some(at), mask, high: i128::from(mask), ..whole })
            }
            _ => Err(self.kind(self.advice())),
        }
    }

    fn mask(&self, mask: i128, of: &Range<'_>) -> Result<u64, PredicateError> {
        // The bits of a signed field are those of its width.
        let high = if of.signed { of.high * 2 + 1 } else { of.high };
        match u64::try_from(mask) {
            Ok(mask) if mask > 0 && i128::from(mask) <= high => Ok(mask),
            _ => Err(self.outside(mask, 1, high)),
        }
    }

    fn advice(&self) -> &'static str {
        match self.field.kind {
            FieldKind::Unsigned(_) | FieldKind::Signed(_) | FieldKind::ContentByte(_) => {
                "compare it with a number"
            }
            FieldKind::Content(_) => {
                "compare it with a string, one byte with a number, or state(content) with a word"
            }
            FieldKind::Text(_) | FieldKind::Path => {
                "compare it with a string: ==, !=, in, startsWith, endsWith"
            }
            FieldKind::Bytes(_) => "test one byte, as in x[0] == 0x7f",
            FieldKind::Names => "it is put together after the test; test its .d_name.name",
            FieldKind::Address => "test family(x) or port(x)",
            FieldKind::Inode => "test ino(x), dev(x) or generation(x), or a member of it",
            FieldKind::Digest(_) => "compare it with hex digits: == \"9f86…\", or in a list",
        }
    }

    fn kind(&self, why: &'static str) -> PredicateError {
        let kind = match self.field.kind {
            FieldKind::Unsigned(1) | FieldKind::Signed(1) => "a truth value",
            FieldKind::Unsigned(_) | FieldKind::Signed(_) | FieldKind::ContentByte(_) => "a number",
            FieldKind::Content(_) => "what is sent",
            FieldKind::Text(_) => "a text",
            FieldKind::Bytes(_) => "a range of bytes",
            FieldKind::Path => "a path",
            FieldKind::Names => "a name in a mount",
            FieldKind::Address => "an address",
            FieldKind::Inode => "an inode",
            FieldKind::Digest(_) => "a digest",
        };
        let (part, field) = (self.part.to_owned(), self.field.name.clone());
        PredicateError::Kind { part, field, kind, why }
    }

    fn refused(&self, why: &'static str) -> PredicateError {
        PredicateError::Refused { part: self.part.to_owned(), why }
    }

    fn outside(&self, number: i128, low: i128, high: i128) -> PredicateError {
        let (part, field) = (self.part.to_owned(), self.field.name.clone());
        PredicateError::Range { part, field, number, low, high }
    }
}

/// A number that a field holds, or a part of one.
struct Range<'a> {
    tested: &'a Tested<'a>,
    row: u8,
    /// Which byte of the capture it is, if it is one.
    byte: Option<u8>,
    mask: u64,
    shift: u32,
    low: i128,
    high: i128,
    signed: bool,
}

impl Range<'_> {
    fn part(&self, compare: Compare, mask: u64, number: u64) -> CheckedPredicate {
        let mut part = Part::number(compare, self.row, mask, number);
        if let Some(at) = self.byte {
            (part.atom.part, part.atom.len) = (part::BYTE, at);
        }
        CheckedPredicate::Part(part)
    }

    fn compare(&self, order: Comparison, number: i128) -> Result<CheckedPredicate, PredicateError> {
        self.inside(number)?;
        Ok(match order {
            Comparison::Equal => self.equal(number)?,
            Comparison::Unequal => not(self.equal(number)?),
            Comparison::Less => self.less(number),
            Comparison::LessEqual => self.less_equal(number),
            Comparison::Greater => not(self.less_equal(number)),
            Comparison::GreaterEqual => not(self.less(number)),
        })
    }

    fn among(&self, mut numbers: Vec<i128>) -> Result<CheckedPredicate, PredicateError> {
        numbers.sort_unstable();
        numbers.dedup();
        let mut any = Vec::new();
        for run in numbers.chunk_by(|left, right| left + 1 == *right) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            self.inside(*first)?;
            self.inside(*last)?;
            if run.len() >= RUN && !matches!(self.tested.subject.view, TestedPart::Bits(_)) {
                any.push(CheckedPredicate::And(vec![
                    not(self.less(*first)),
                    self.less_equal(*last),
                ]));
            } else {
                for number in run {
                    any.push(self.equal(*number)?);
                }
            }
        }
        Ok(CheckedPredicate::Or(any))
    }

    fn inside(&self, number: i128) -> Result<(), PredicateError> {
        if (self.low..=self.high).contains(&number) {
            return Ok(());
        }
        Err(self.tested.outside(number, self.low, self.high))
    }

    fn equal(&self, number: i128) -> Result<CheckedPredicate, PredicateError> {
        let number = self.encoded(number);
        if number & !self.mask != 0 {
            return Err(self
                .tested
                .refused("is never true: the number has bits outside of the mask"));
        }
        Ok(self.part(Compare::Equal, self.mask, number))
    }

    fn less(&self, number: i128) -> CheckedPredicate {
        let compare = if self.signed { Compare::BelowSigned } else { Compare::Below };
        self.part(compare, self.mask, self.encoded(number))
    }

    /// Below the next number; of the largest one there is no next, but every number is at most it.
    fn less_equal(&self, number: i128) -> CheckedPredicate {
        if number == self.high {
            return not(self.part(Compare::AnyBit, 0, 0));
        }
        self.less(number + 1)
    }

    /// The number as the capture holds it, in two's complement.
    fn encoded(&self, number: i128) -> u64 {
        let low = number.rem_euclid(1 << 64);
        u64::try_from(low).unwrap_or_default() << self.shift
    }
}

fn nibble(digit: char) -> Option<u8> {
    digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn not(checked: CheckedPredicate) -> CheckedPredicate {
    CheckedPredicate::Not(Box::new(checked))
}

fn number(constant: &Constant) -> Option<i128> {
    match constant {
        Constant::Number(number) => Some(*number),
        _ => None,
    }
}

fn text(constant: &Constant) -> Option<&str> {
    match constant {
        Constant::Text(text) => Some(text),
        _ => None,
    }
}
