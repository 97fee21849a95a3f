//! Telemetry: what a node counts and measures, behind the `metrics` facade.
//!
//! [`Metrics`] is what the program counts with. Whoever has a recorder of his own gets the figures there;
//! [`Exposition`] is a recorder in the box, which renders them as Prometheus text.

mod exposition;
mod family;
mod metrics;
pub mod names;

pub use exposition::Exposition;
pub use metrics::{Gauges, HttpRefusal, Metrics, Submission};
