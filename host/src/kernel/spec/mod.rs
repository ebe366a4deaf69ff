//! What programs of hooks without one of their own are frozen with: captures, predicates and verdicts, resolved on this kernel.

pub mod curated;
pub mod executed;
pub mod field_path;
pub mod predicate;
pub mod watch;
