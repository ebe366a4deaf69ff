//! The predicate of a watch: CEL over captured fields → tests that the kernel evaluates.
//!
//! A test of a field that is not there is false, negated or not; only `present(x)` can ask. One of a field
//! that cannot be read is unknown. What
//! the kernel side cannot do is refused here, never left to user space.

mod check;
mod error;
mod label;
mod lower;
mod syntax;
mod terms;
mod token;

use super::field_path::{Field, FieldError, FieldPath};
pub(crate) use error::PredicateError;
pub(crate) use label::{LABELS, is_label};
pub(crate) use lower::Lowered;
pub(crate) use token::{numbers, outside_strings};

/// The field of a path; it is captured when it was not.
pub(crate) type Lookup<'a> = &'a mut dyn FnMut(&FieldPath) -> Result<Field, FieldError>;

/// A predicate whose fields are not known yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Predicate {
    node: syntax::Node,
}

impl Predicate {
    /// Parses the text of a predicate that stands behind `before` in its watch.
    ///
    /// # Errors
    /// When it is no CEL, or CEL that no kernel test stands for; columns count from the start of the watch.
    pub(crate) fn parse(before: &str, text: &str) -> Result<Self, PredicateError> {
        Ok(Self { node: syntax::parse(before, text)? })
    }

    /// Whether it is true whatever the call, as far as constants in it tell.
    pub(crate) fn is_true(&self) -> bool {
        constant(&self.node) == Some(true)
    }

    /// Checks it against its fields and lowers it.
    ///
    /// # Errors
    /// When a field is not there, a test does not apply to it, or there are too many tests.
    pub(crate) fn lower(&self, lookup: Lookup<'_>) -> Result<Lowered, PredicateError> {
        lower::lower(&check::check(&self.node, lookup)?)
    }
}

/// The value of a predicate that depends on no field.
fn constant(node: &syntax::Node) -> Option<bool> {
    use syntax::Node;
    match node {
        Node::Constant(value) => Some(*value),
        Node::Not(one) => constant(one).map(|value| !value),
        Node::And(one, other) => match (constant(one), constant(other)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Node::Or(one, other) => match (constant(one), constant(other)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Node::Test(..) | Node::Label { .. } => None,
    }
}

#[cfg(test)]
mod tests;
