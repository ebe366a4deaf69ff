//! Losses: where records were lost, how many, and of what.

use serde::{Deserialize, Serialize};

use super::hook::Hook;
use crate::frame::{Frame, FrameError};
use crate::v0_1;

/// Where records were lost. The first four are those of schema 0.1; later versions append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LostWhere {
    /// The kernel's ring of telemetry was full.
    Ring,
    /// A record could not be decoded or was too long for a frame.
    Decode,
    /// This plugin's queue was full.
    Queue,
    /// This plugin failed in a batch.
    Plugin,
    /// The kernel's ring of denials and audits was full; the verdicts themselves stood.
    Verdicts,
    /// The kernel did not run the program, as it ran on that CPU already (`recursion_misses`): there
    /// was neither a record nor a verdict.
    Recursion,
}

/// What was lost.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum LostOf {
    /// Records of any hook that the plugin sees.
    #[default]
    Any,
    /// Records of the hook with this id; [`LostOf::hook`] names it.
    Hook(u16),
    /// Records of this plugin's own watch, by its place in the manifest's list.
    Watch(u16),
}

impl LostOf {
    /// The hook, if there is one that this version knows.
    #[must_use]
    pub const fn hook(self) -> Option<Hook> {
        match self {
            LostOf::Hook(id) => Hook::from_id(id),
            LostOf::Any | LostOf::Watch(_) => None,
        }
    }
}

/// Records that never reached the plugin. Losses of a hook are counted for the whole system, whatever
/// the plugin's scope and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Where.
    pub place: LostWhere,
    /// How many since the last report of the same place and hook.
    pub records: u64,
    /// Of what.
    pub of: LostOf,
}

impl Lost {
    /// Decodes one frame, of this schema or of 0.1, which does not say of what.
    ///
    /// # Errors
    /// When the body is neither.
    pub(super) fn decode(frame: &Frame<'_>) -> Result<Self, FrameError> {
        frame.decode().or_else(|_| {
            let (place, records) = frame.decode()?;
            Ok(Lost { place, records, of: LostOf::Any })
        })
    }

    /// The same in the words of schema 0.1, which knows no calls that the kernel left out.
    #[must_use]
    pub const fn older(self) -> Option<v0_1::Lost> {
        let place = match self.place {
            LostWhere::Ring | LostWhere::Verdicts => v0_1::LostWhere::Ring,
            LostWhere::Decode => v0_1::LostWhere::Decode,
            LostWhere::Queue => v0_1::LostWhere::Queue,
            LostWhere::Plugin => v0_1::LostWhere::Plugin,
            LostWhere::Recursion => return None,
        };
        Some(v0_1::Lost { place, records: self.records })
    }
}
