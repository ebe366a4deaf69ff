//! Why a value could not be captured, and the counter of each reason.

use krsi_host_abi::counter::Counter;

/// Why a capture was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// A pointer was NULL.
    Null,
    /// This kernel lacks a field.
    Field,
    /// The kernel could not read it.
    Read,
}

impl Skip {
    /// The counter of this reason.
    #[inline(always)]
    pub fn counter(self) -> Counter {
        match self {
            Skip::Null => Counter::SkippedNull,
            Skip::Field => Counter::SkippedField,
            Skip::Read => Counter::SkippedRead,
        }
    }
}
