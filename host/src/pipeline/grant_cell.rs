//! The operator's word on a plugin, which all its versions share, and what the plugin is to be told beside
//! answers to its calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use krsi_plugin_schema::latest::{Outcome, RecordRef, Refusal};
use parking_lot::{Mutex as Turn, MutexGuard as TurnGuard};

use crate::policy::GrantSpec;

/// Bytes of answers that wait for a plugin; further ones are left out, as it does not read them.
const TOLD_MAX: usize = 1 << 18;

/// Shared by the steward, who changes it, and the plugin's thread.
#[derive(Debug)]
pub(super) struct GrantCell {
    spec: Mutex<GrantSpec>,
    /// Held for as long as the word may not change.
    turn: Turn<()>,
    told: Mutex<Vec<u8>>,
    /// Whether anything waits to be told: asked before each batch.
    waits: AtomicBool,
}

impl GrantCell {
    pub(super) fn new(spec: GrantSpec) -> Self {
        let (turn, told, waits) = (Turn::default(), Mutex::default(), AtomicBool::new(false));
        Self { spec: Mutex::new(spec), turn, told, waits }
    }

    /// Keeps the word from changing while this is held: a plugin's thread holds it for a list of actions,
    /// and the steward while it has rules in force checked again. Whoever only reads the word waits for nobody.
    pub(super) fn hold(&self) -> TurnGuard<'_, ()> {
        self.turn.lock()
    }

    /// A copy of the word.
    pub(super) fn spec(&self) -> GrantSpec {
        self.spec.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says something else, while it is held.
    pub(super) fn say(&self, spec: GrantSpec, _held: &TurnGuard<'_, ()>) {
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = spec;
    }

    /// Tells the plugin, with the token of what it is about, what was not asked for by a call of it.
    pub(super) fn queue_outcome(&self, token: u32, refusal: Refusal, detail: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX {
            let refusal = Some(refusal);
            let outcome = Outcome { token, rule_id: None, refusal, detail: detail.into() };
            // An outcome is far shorter than a frame can be.
            let _fits = RecordRef::Outcome(&outcome).push(&mut told);
            self.waits.store(true, Ordering::Release);
        }
    }

    /// Takes the framed outcomes that the plugin was not told of yet.
    pub(super) fn take(&self) -> Vec<u8> {
        if !self.waits.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
