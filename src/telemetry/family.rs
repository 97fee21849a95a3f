//! Families: the handles of one metric, one for each value of its label.

use metrics::{Counter, Gauge, counter, gauge};

use crate::telemetry::names::Label;

/// The handles of a metric with one label, in the order of the label's values.
pub(super) struct Family<H> {
    handles: Vec<(&'static str, H)>,
}

impl Family<Counter> {
    /// Makes the counters in the recorder in scope.
    pub(super) fn counters(metric: &'static str, label: Label) -> Self {
        Self::make(label, |name, value| counter!(metric, name => value))
    }

    /// Adds to the counter of a value, or to that of the last value, `other`, where there is none.
    pub(super) fn add(&self, value: &str, count: u64) {
        if let Some(counter) = self.find(value) {
            counter.increment(count);
        }
    }
}

impl Family<Gauge> {
    /// Makes the gauges in the recorder in scope.
    pub(super) fn gauges(metric: &'static str, label: Label) -> Self {
        Self::make(label, |name, value| gauge!(metric, name => value))
    }

    /// Sets the gauge of a value, or that of the last value, `other`, where there is none.
    pub(super) fn set(&self, value: &str, level: f64) {
        if let Some(gauge) = self.find(value) {
            gauge.set(level);
        }
    }
}

impl<H> Family<H> {
    /// Makes one handle for each value of the label.
    pub(super) fn make(
        (name, values): Label,
        handle: impl Fn(&'static str, &'static str) -> H,
    ) -> Self {
        let handles = values.iter().map(|value| (*value, handle(name, value)));
        Self { handles: handles.collect() }
    }

    /// Finds the handle of a value. There are few, so that looking at each is faster than a map.
    pub(super) fn find(&self, value: &str) -> Option<&H> {
        let found = self.handles.iter().find(|(known, _)| *known == value);
        let other = || self.handles.last().filter(|(known, _)| *known == "other");
        found.or_else(other).map(|(_, handle)| handle)
    }
}
