//! The exposition: a recorder of a node's own, whose figures are rendered as Prometheus text.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::telemetry::Metrics;
use crate::telemetry::names::{self, Shape};

/// Upper ends of the buckets of times, in seconds: from a cached write to a stalled disk.
const SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Upper ends of the buckets of sizes: a group of one is the most telling one.
const COUNTS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0];

/// Renders the figures of one node; clones render the same ones.
///
/// The recorder belongs to it alone, so that several nodes of a process do not share their figures.
#[derive(Clone)]
pub struct Exposition {
    handle: PrometheusHandle,
}

impl Exposition {
    /// Makes a recorder, and what counts into it.
    #[must_use]
    pub fn new() -> (Self, Metrics) {
        let recorder = builder().build_recorder();
        let metrics = metrics::with_local_recorder(&recorder, Metrics::new);
        (Self { handle: recorder.handle() }, metrics)
    }

    /// Renders the figures in the Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds observations into their buckets. Called every few seconds it keeps memory bounded while nobody scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn builder() -> PrometheusBuilder {
    let histograms = names::METRICS.iter().filter(|metric| metric.shape == Shape::Histogram);
    histograms.fold(PrometheusBuilder::new(), |builder, metric| {
        let buckets: &[f64] =
            if metric.unit == metrics::Unit::Seconds { &SECONDS } else { &COUNTS };
        let matcher = Matcher::Full(metric.name.to_owned());
        let Ok(builder) = builder.set_buckets_for_metric(matcher, buckets) else {
            unreachable!("the exporter refuses only buckets of which there are none")
        };
        builder
    })
}
