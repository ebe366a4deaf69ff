//! Names of the labels in use, for whoever reads records: changed by the ledger, read without its lock.

use std::array;
use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use krsi_host_abi::deny::LABELS;
use krsi_plugin_schema::latest::EventLabels;

use super::label_book::LabelView;

/// The names of labels, by their numbers.
#[derive(Clone, Debug)]
pub(crate) struct LabelNames([String; LABELS]);

impl Default for LabelNames {
    fn default() -> Self {
        Self(array::from_fn(|_| String::new()))
    }
}

impl LabelNames {
    /// The labels that an event tells of, given as bits. One that nobody has any more has no name.
    pub(crate) fn of(&self, had: u64, gave: u64) -> EventLabels<'_> {
        EventLabels { had: self.named(had), gave: self.named(gave) }
    }

    fn named(&self, bits: u64) -> Vec<Cow<'_, str>> {
        let is_told = |at: usize, name: &str| bits >> at & 1 != 0 && !name.is_empty();
        let names = self.0.iter().enumerate().filter(|(at, name)| is_told(*at, name));
        names.map(|(_, name)| Cow::Borrowed(name.as_str())).collect()
    }
}

/// The names as they are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct PublishedNames(Arc<RwLock<Arc<LabelNames>>>);

impl PublishedNames {
    /// Returns the names as they are now.
    pub(crate) fn now(&self) -> Arc<LabelNames> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes the labels in use.
    pub(super) fn publish(&self, views: &[LabelView]) {
        let mut names = LabelNames::default();
        for view in views {
            let place = names.0.get_mut(view.bit.trailing_zeros() as usize);
            place.into_iter().for_each(|place| place.clone_from(&view.name));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_by_the_names_that_are_published() {
        let published = PublishedNames::default();
        assert_eq!(published.now().of(u64::MAX, u64::MAX), EventLabels::default());
        let view =
            |name: &str, at: u32| LabelView { name: name.into(), bit: 1 << at, processes: 0 };
        published.publish(&[view("a.one", 0), view("host.last", 63)]);
        let names = published.now();
        let labels = names.of(1 << 63 | 1 << 7, 1);
        assert_eq!((labels.had, labels.gave), (vec!["host.last".into()], vec!["a.one".into()]));
        published.publish(&[]);
        assert_eq!(published.now().of(1, 1), EventLabels::default());
    }
}
