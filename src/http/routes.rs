//! Routes: all of a node's, and the name under which a path is counted.

use axum::Router;
use axum::http::{Method, Uri};

use crate::http::{Door, Probe, Problem, ProblemKind, ServerLimits, api, probes};

/// Returns every route of a node: probes, figures and what its clients ask.
pub fn routes(probe: Probe, door: Door, limits: &ServerLimits) -> Router {
    let api = api::routes(probe.clone(), door, limits);
    with_fallbacks(probes::routes(probe).merge(api))
}

/// Returns the routes of the probes and the figures alone, for an address of their own.
pub fn probe_routes(probe: Probe) -> Router {
    with_fallbacks(probes::routes(probe))
}

/// Adds what answers a path that is not there, and a method that a path does not know.
fn with_fallbacks(router: Router) -> Router {
    let missing =
        async |uri: Uri| Problem::new(ProblemKind::NotFound, format!("there is no {}", uri.path()));
    let unknown = async |method: Method, uri: Uri| {
        let detail = format!("{} does not know {method}", uri.path());
        Problem::new(ProblemKind::MethodNotAllowed, detail)
    };
    router.fallback(missing).method_not_allowed_fallback(unknown)
}

/// Returns the name under which requests for a path are counted; few names, whatever clients ask for.
pub(super) fn route_of(path: &str) -> &'static str {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("livez"), None, ..) => "/livez",
        (Some("readyz"), None, ..) => "/readyz",
        (Some("metrics"), None, ..) => "/metrics",
        (Some("v1"), Some("transactions"), None, _) => "/v1/transactions",
        (Some("v1"), Some("transactions"), Some(_), None) => "/v1/transactions/{id}",
        (Some("v1"), Some("accounts"), Some(_), None) => "/v1/accounts/{account}",
        (Some("v1"), Some("state"), Some(_), None) => "/v1/state/{key}",
        (Some("v1"), Some("blocks"), Some(_), None) => "/v1/blocks/{height}",
        (Some("v1"), Some("mempool"), None, _) => "/v1/mempool",
        (Some("v1"), Some("status"), None, _) => "/v1/status",
        _ => "other",
    }
}
