//! Where plugins' threads find the recorder, if there is one now.

use std::sync::{Arc, Mutex, PoisonError};

use super::recorder::Recorder;

/// A place for one recorder, shared by all who are recorded.
#[derive(Clone, Default)]
pub struct RecorderSlot(Arc<Mutex<Option<Recorder>>>);

impl RecorderSlot {
    /// The recorder, as long as it takes anything.
    #[must_use]
    pub(crate) fn get(&self) -> Option<Recorder> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone().filter(|recorder| !recorder.is_over())
    }

    /// Puts a recorder in, or takes it out; the one before.
    #[must_use]
    pub fn set(&self, recorder: Option<Recorder>) -> Option<Recorder> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), recorder)
    }
}
