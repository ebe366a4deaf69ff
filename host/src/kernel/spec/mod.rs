//! What programs of hooks without one of their own are frozen with: captures, predicates and verdicts, resolved on this kernel.

pub(crate) mod curated;
pub(crate) mod executed;
pub(crate) mod field_path;
pub(crate) mod predicate;
pub(crate) mod watch;
