//! Probes: whether the node lives, whether it is ready, and its figures; answered whatever the node does.
//!
//! | address | answer |
//! | --- | --- |
//! | `GET /livez` | 200 `{"phase":"…"}` while the program works, also during recovery; 503 once it failed |
//! | `GET /readyz` | 200 `{"readiness":{…}}` while transactions are taken; else 503 with the same member |
//! | `GET /metrics` | the figures as Prometheus text |

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::http::{Door, Problem, ProblemKind};
use crate::node::{Phase, Readiness, Vitals};
use crate::telemetry::Exposition;

/// What is known of a node without asking it.
#[derive(Clone)]
pub struct Probe {
    readiness: watch::Receiver<Readiness>,
    measure: Arc<dyn Fn() + Send + Sync>,
    is_open: Arc<dyn Fn() -> bool + Send + Sync>,
    exposition: Exposition,
}

impl Probe {
    /// Makes a probe; `measure` brings the gauges of the metrics up to now, `is_open` says whether clients are let in,
    /// and neither may wait.
    pub fn new(
        readiness: watch::Receiver<Readiness>,
        measure: impl Fn() + Send + Sync + 'static,
        is_open: impl Fn() -> bool + Send + Sync + 'static,
        exposition: Exposition,
    ) -> Self {
        Self { readiness, measure: Arc::new(measure), is_open: Arc::new(is_open), exposition }
    }

    /// Makes the probe of a node, also of one that is not up yet.
    #[must_use]
    pub fn of(vitals: Vitals, door: Door, exposition: Exposition) -> Self {
        let readiness = vitals.watch();
        Self::new(readiness, move || vitals.measure(), move || door.is_open(), exposition)
    }

    /// Returns what the node is doing.
    pub(super) fn readiness(&self) -> Readiness {
        self.readiness.borrow().clone()
    }
}

/// Returns the routes of the probes.
pub(super) fn routes(probe: Probe) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probe)
}

async fn live(State(probe): State<Probe>) -> Result<Json<Value>, Problem> {
    let readiness = probe.readiness();
    match readiness.phase {
        Phase::Failed => Err(Problem::not_ready(ProblemKind::Down, &readiness)),
        phase => Ok(Json(json!({ "phase": phase }))),
    }
}

async fn ready(State(probe): State<Probe>) -> Result<Json<Value>, Problem> {
    let readiness = probe.readiness();
    // A node is ready some moments before its clients are let in.
    if readiness.phase.is_ready() && (probe.is_open)() {
        Ok(Json(json!({ "readiness": readiness })))
    } else {
        Err(Problem::not_ready(ProblemKind::NotReady, &readiness))
    }
}

async fn metrics(State(probe): State<Probe>) -> impl IntoResponse {
    (probe.measure)();
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], probe.exposition.render())
}
