//! The read room: where raw records come from.

pub(crate) mod record;
pub(crate) mod ring;
