//! Tests of labels: `label("plugin.name")`, one bit of the labels that the caller has.

use krsi_host_abi::spec::Compare;

use super::super::field_path::FieldPath;
use super::check::{CheckedPredicate, Part};
use super::syntax::Node;
use super::{Lookup, Predicate, PredicateError};

/// Root of the path that stands for all labels of the caller: no field has such a name.
pub(crate) const LABELS: &str = "label()";
/// Bytes of a label with its owner: two names and a point.
const LABEL_MAX: usize = 64 + 1 + 32;

/// Whether a text can be a label: its own name, or its owner's and its own with a point between them.
#[must_use]
pub(crate) fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(plain);
    text.len() <= LABEL_MAX
        && match text.split_once('.') {
            Some((owner, name)) => is_name(owner) && is_name(name),
            None => is_name(text),
        }
}

/// The test of a label by its number.
pub(super) fn check(
    name: &str,
    number: Option<u8>,
    lookup: Lookup<'_>,
) -> Result<CheckedPredicate, PredicateError> {
    let unknown = || PredicateError::Label { name: name.to_owned() };
    let bit = number.and_then(|number| 1u64.checked_shl(u32::from(number))).ok_or_else(unknown)?;
    let path = FieldPath { root: LABELS.to_owned(), steps: Vec::new(), bound: None };
    let capture = u8::try_from(lookup(&path)?.row).unwrap_or(u8::MAX);
    Ok(CheckedPredicate::Part(Part::number(Compare::AnyBit, capture, bit, 0)))
}

impl Predicate {
    /// Labels that it tests, as they are written; one can be there twice.
    pub(crate) fn labels(&self) -> Vec<&str> {
        let mut labels = Vec::new();
        collect(&self.node, &mut labels);
        labels
    }

    /// Whether it holds for nobody without a label.
    pub(crate) fn needs_label(&self) -> bool {
        needs(&self.node, true)
    }

    /// Gives the labels that it tests their numbers.
    ///
    /// # Errors
    /// The first that there is no number for.
    pub(crate) fn number_labels<E>(
        &mut self,
        number: &mut impl FnMut(&str) -> Result<u8, E>,
    ) -> Result<(), E> {
        set(&mut self.node, number)
    }
}

fn collect<'a>(node: &'a Node, into: &mut Vec<&'a str>) {
    match node {
        Node::Label { name, .. } => into.push(name),
        Node::Not(inner) => collect(inner, into),
        Node::And(left, right) | Node::Or(left, right) => {
            collect(left, into);
            collect(right, into);
        }
        Node::Constant(_) | Node::Test(..) => {}
    }
}

/// Whether a caller without labels cannot make the node `wanted`.
fn needs(node: &Node, wanted: bool) -> bool {
    match node {
        Node::Label { .. } => wanted,
        Node::Constant(value) => *value != wanted,
        Node::Not(inner) => needs(inner, !wanted),
        Node::Test(..) => false,
        Node::And(left, right) if wanted => needs(left, true) || needs(right, true),
        Node::And(left, right) => needs(left, false) && needs(right, false),
        Node::Or(left, right) if wanted => needs(left, true) && needs(right, true),
        Node::Or(left, right) => needs(left, false) || needs(right, false),
    }
}

fn set<E>(node: &mut Node, number: &mut impl FnMut(&str) -> Result<u8, E>) -> Result<(), E> {
    match node {
        Node::Label { name, number: at } => *at = Some(number(name)?),
        Node::Not(inner) => set(inner, number)?,
        Node::And(left, right) | Node::Or(left, right) => {
            set(left, number)?;
            set(right, number)?;
        }
        Node::Constant(_) | Node::Test(..) => {}
    }
    Ok(())
}
