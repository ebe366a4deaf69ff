//! Processes with labels, as the administrator sees and clears them.

use std::collections::BTreeMap;

use super::Ledger;
use crate::kernel::map::store::{RuleStore, StoreError};

impl<S: RuleStore> Ledger<S> {
    /// Labels by process id, in order of the ids.
    ///
    /// # Errors
    /// When the kernel refuses to list them.
    pub(crate) fn labelled(&self) -> Result<BTreeMap<u32, Vec<String>>, StoreError> {
        let all = self.store.labels()?.into_iter();
        let mut labelled: BTreeMap<u32, u64> = BTreeMap::new();
        for (process, bits) in all.filter(|(_, bits)| *bits != 0) {
            *labelled.entry(process.tgid).or_default() |= bits;
        }
        Ok(labelled.into_iter().map(|(tgid, bits)| (tgid, self.label_names(bits))).collect())
    }

    /// Takes all labels from the process with an id, and returns the names of those that it had.
    ///
    /// # Errors
    /// When the kernel refuses; then the process may still have them.
    pub(crate) fn clear_labels(&mut self, tgid: u32) -> Result<Vec<String>, StoreError> {
        let all = self.store.labels()?.into_iter();
        let mut cleared = 0;
        for (process, bits) in all.filter(|(process, _)| process.tgid == tgid) {
            self.store.set_labels(process, 0, bits)?;
            cleared |= bits;
        }
        Ok(self.label_names(cleared))
    }

    /// Names of labels by their bits.
    fn label_names(&self, bits: u64) -> Vec<String> {
        let views = self.labels.views().into_iter();
        views.filter(|view| view.bit & bits != 0).map(|view| view.name).collect()
    }
}
