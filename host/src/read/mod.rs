//! The read room: where raw records come from.

pub mod record;
pub mod ring;
