//! The service of a connection: one request within its limits, answered whatever becomes of its handler.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::service::Service as HyperService;
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, timeout};

use crate::http::body::{Answered, Received, limited};
use crate::http::budget::Budget;
use crate::http::panic_guard::caught;
use crate::http::routes::route_of;
use crate::http::track::{Stage, Track};
use crate::http::{Problem, ProblemKind, ServerLimits};
use crate::telemetry::{HttpRefusal, Metrics};

/// Answers the requests of one connection.
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) limits: ServerLimits,
    pub(super) budget: Budget,
    pub(super) metrics: Metrics,
    pub(super) track: Arc<Track>,
}

impl HyperService<Request<Incoming>> for Service {
    type Response = Response<Answered>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.track.enter(Stage::Request);
        let (router, limits, track) = (self.router.clone(), self.limits, Arc::clone(&self.track));
        let (metrics, budget) = (self.metrics.clone(), self.budget.clone());
        Box::pin(async move {
            let began = Instant::now();
            let route = route_of(request.uri().path());
            let response = answer(router, request, limits, &budget, &metrics).await;
            metrics.http_request(route, response.status().as_u16(), began.elapsed());
            Ok(response.map(|body| Answered::new(body, track)))
        })
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    limits: ServerLimits,
    budget: &Budget,
    metrics: &Metrics,
) -> Response {
    // What the client states is refused before a byte of it is read; what it does not state ends at the limit.
    let stated = request.body().size_hint().lower();
    if stated > crate::codec::count(limits.body_bytes_max) {
        let detail = format!("the body has {stated} bytes, more than {}", limits.body_bytes_max);
        return closing(Problem::new(ProblemKind::PayloadTooLarge, detail));
    }
    let (head, body) = request.into_parts();
    let (body, has_ended) = Received::new(body);
    // What the handler makes of the body is as large as the body, and is held for as long.
    let (body, _share) = budget.watch(body);
    let request = Request::from_parts(head, limited(body, limits.body_bytes_max));
    let handled = caught(TowerToHyperService::new(router).call(request));
    match timeout(limits.request_time_max, handled).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_panicked)) => closing(Problem::new(
            ProblemKind::Internal,
            "a part of the program panicked; the node's files are safe",
        )),
        Err(_elapsed) => {
            metrics.http_refused(HttpRefusal::RequestTime);
            closing(late(has_ended.load(Ordering::Acquire), limits))
        }
    }
}

/// A late request is the client's doing until all of it came, and the node's from then on.
fn late(has_ended: bool, limits: ServerLimits) -> Problem {
    let limit_ms = limits.request_time_max.as_millis();
    if has_ended {
        Problem::new(ProblemKind::NoAnswer, format!("the node took more than {limit_ms} ms"))
    } else {
        Problem::new(ProblemKind::TimedOut, format!("the body took more than {limit_ms} ms"))
    }
}

/// Answers with a problem after which the connection ends.
fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
