//! Numbers that plugins tell: bounded names, and what their values add up to.

use std::collections::{BTreeMap, HashSet};

use krsi_plugin_schema::latest::{Metric, MetricKind};

/// Metrics of one plugin.
const METRICS_MAX: usize = 64;
/// Names whose totals are kept: those of the first four versions, if they share none.
const TOTALS_MAX: usize = 4 * METRICS_MAX;

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricValue {
    /// Name of the metric.
    pub name: String,
    /// Whether it is added to what was, or takes its place.
    pub kind: MetricKind,
    /// Value of the metric, a finite number.
    pub value: f64,
}

/// A plugin has as many metrics as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a plugin has at most {METRICS_MAX} metrics")]
pub(super) struct TooManyMetrics;

/// Names of a plugin's metrics.
#[derive(Debug, Default)]
pub(super) struct MetricNames(HashSet<String>);

impl MetricNames {
    /// A value of a metric that the plugin has or may have.
    pub(super) fn take(&mut self, metric: &Metric<'_>) -> Result<MetricValue, TooManyMetrics> {
        let name = metric.name.as_ref();
        if !self.0.contains(name) {
            if self.0.len() >= METRICS_MAX {
                return Err(TooManyMetrics);
            }
            self.0.insert(name.to_owned());
        }
        Ok(MetricValue { name: name.to_owned(), kind: metric.kind, value: metric.value })
    }
}

/// What values come to, by name: counters added up, of gauges the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MetricTotals(BTreeMap<String, f64>);

impl MetricTotals {
    /// Takes in further values. A version of a plugin may have names that the one before had not.
    pub(crate) fn add(&mut self, values: &[MetricValue]) {
        for MetricValue { name, kind, value } in values {
            if !self.0.contains_key(name) && self.0.len() >= TOTALS_MAX {
                continue;
            }
            let kept = self.0.entry(name.clone()).or_default();
            let next = match kind {
                MetricKind::Counter => *kept + value,
                MetricKind::Gauge => *value,
            };
            // A sum stays a number.
            *kept = next.clamp(f64::MIN, f64::MAX);
        }
    }

    /// The values, by name.
    #[must_use]
    pub(crate) const fn by_name(&self) -> &BTreeMap<String, f64> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_and_gauges_are_replaced() {
        let mut totals = MetricTotals::default();
        let value = |name: &str, kind, value| MetricValue { name: name.into(), kind, value };
        totals.add(&[
            value("seen", MetricKind::Counter, 2.0),
            value("depth", MetricKind::Gauge, 7.0),
            value("seen", MetricKind::Counter, 3.0),
            value("depth", MetricKind::Gauge, -1.5),
            value("most", MetricKind::Counter, f64::MAX),
            value("most", MetricKind::Counter, f64::MAX),
        ]);
        let expected = [("depth", -1.5), ("most", f64::MAX), ("seen", 5.0)];
        assert_eq!(
            *totals.by_name(),
            expected.map(|(name, value)| (name.to_owned(), value)).into()
        );
    }

    #[test]
    fn names_are_bounded_and_those_that_are_there_stay() {
        let mut names = MetricNames::default();
        let mut take = |number: usize| {
            let name = format!("m{number}").into();
            names
                .take(&Metric { name, kind: MetricKind::Counter, value: 1.0 })
                .map(|value| value.value)
        };
        for number in 0..METRICS_MAX {
            assert_eq!(take(number), Ok(1.0));
        }
        assert_eq!(take(METRICS_MAX), Err(TooManyMetrics));
        assert_eq!(take(0), Ok(1.0));
    }
}
