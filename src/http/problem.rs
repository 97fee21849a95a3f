//! Problems: every answer that is no success, as `application/problem+json` (RFC 9457).
//!
//! ```json
//! {"type":"urn:rewake:problem:queue-full","title":"…","status":503,"detail":"…","retry_after_ms":100}
//! ```
//!
//! `retry_after_ms` comes with each 503, and the header `Retry-After` with it; `readiness` where the node is not
//! ready; `line` and `column` where JSON cannot be read.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::node::{QueryError, Readiness, SubmitError};

/// The type of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request cannot be understood.
    Malformed,
    /// There is nothing under this address.
    NotFound,
    /// The address does not know this method.
    MethodNotAllowed,
    /// The request did not come in time.
    TimedOut,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// More transactions than are taken at once.
    TooMuch,
    /// The body is not JSON by its content type.
    UnsupportedMediaType,
    /// The transaction cannot be logged.
    Refused,
    /// The address is longer than the limit.
    AddressTooLong,
    /// The head is larger than the limit.
    HeadTooLarge,
    /// The program failed.
    Internal,
    /// The node has as much to do as it takes at once.
    QueueFull,
    /// The server has as many connections as it takes at once.
    TooManyConnections,
    /// Whether it was logged is unknown.
    OutcomeUnknown,
    /// No answer came in time.
    NoAnswer,
    /// The node is down.
    Down,
    /// The node is not ready.
    NotReady,
}

impl ProblemKind {
    /// Every type.
    pub const ALL: [Self; 17] = [
        Self::Malformed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TimedOut,
        Self::PayloadTooLarge,
        Self::TooMuch,
        Self::UnsupportedMediaType,
        Self::Refused,
        Self::AddressTooLong,
        Self::HeadTooLarge,
        Self::Internal,
        Self::QueueFull,
        Self::TooManyConnections,
        Self::OutcomeUnknown,
        Self::NoAnswer,
        Self::Down,
        Self::NotReady,
    ];

    /// Returns its status code, the last part of its name, and what it says.
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "the request is malformed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "there is nothing here"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "the method is not allowed here",
            ),
            Self::TimedOut => {
                (StatusCode::REQUEST_TIMEOUT, "timed-out", "the request did not come in time")
            }
            Self::PayloadTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "the body is too large")
            }
            Self::TooMuch => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-much", "more than is taken at once")
            }
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "the body is not application/json",
            ),
            Self::Refused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "refused", "the transaction cannot be logged")
            }
            Self::AddressTooLong => {
                (StatusCode::URI_TOO_LONG, "address-too-long", "the address is too long")
            }
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "the head of the request is too large",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the program failed"),
            Self::QueueFull => {
                (BUSY, "queue-full", "the node has as much to do as it takes at once")
            }
            Self::TooManyConnections => (
                BUSY,
                "too-many-connections",
                "the server has as many connections as it takes at once",
            ),
            Self::OutcomeUnknown => (
                BUSY,
                "outcome-unknown",
                "submit the same transaction again: the answer will be the original one",
            ),
            Self::NoAnswer => (
                BUSY,
                "no-answer",
                "no answer came in time; what was submitted may be submitted again",
            ),
            Self::Down => (BUSY, "down", "the node is down"),
            Self::NotReady => (BUSY, "not-ready", "the node is not ready"),
        }
    }

    /// Returns its status code.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().0.as_u16()
    }

    /// Returns its name, a URN.
    #[must_use]
    pub fn urn(self) -> String {
        format!("urn:rewake:problem:{}", self.row().1)
    }
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    retry_after: Option<Duration>,
    readiness: Option<Box<Readiness>>,
    place: Option<(usize, usize)>,
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    readiness: Option<&'a Readiness>,
}

impl Problem {
    /// Makes a problem; `detail` says what is wrong with this request, for people.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let is_busy = kind.status() == StatusCode::SERVICE_UNAVAILABLE.as_u16();
        let retry_after = is_busy.then_some(Duration::from_secs(1));
        Self { kind, detail: detail.into(), retry_after, readiness: None, place: None }
    }

    /// Makes the problem of a node that is not ready, with all that is known about when it will be.
    #[must_use]
    pub fn not_ready(kind: ProblemKind, readiness: &Readiness) -> Self {
        let detail = match &readiness.detail {
            _ if readiness.phase.is_ready() => "the node lets clients in in a moment".to_owned(),
            Some(detail) => format!("the node is {}: {detail}", readiness.phase.name()),
            None => format!("the node is {}", readiness.phase.name()),
        };
        let wait = Duration::from_millis(readiness.remaining_ms.unwrap_or(1_000).max(1));
        let retry_after = Some(wait.min(Duration::from_mins(1)));
        let readiness = Some(Box::new(readiness.clone()));
        Self { retry_after, readiness, ..Self::new(kind, detail) }
    }

    /// Makes the problem of JSON that cannot be read, with its place.
    #[must_use]
    pub fn of_json(error: &serde_json::Error) -> Self {
        let place = Some((error.line(), error.column()));
        Self { place, ..Self::new(ProblemKind::Malformed, error.to_string()) }
    }

    /// Returns its type.
    #[must_use]
    pub const fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Renders the whole of an HTTP/1.1 answer after which the connection ends.
    pub(super) fn to_wire(&self) -> Vec<u8> {
        let (status, body) = (self.kind.row().0, self.body());
        let (code, reason) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
        let retry = self.retry_after_s().map(|s| format!("retry-after: {s}\r\n"));
        format!(
            "HTTP/1.1 {code} {reason}\r\ncontent-type: application/problem+json\r\n\
             content-length: {}\r\nconnection: close\r\n{}\r\n{body}",
            body.len(),
            retry.unwrap_or_default()
        )
        .into_bytes()
    }

    fn body(&self) -> String {
        let shown = Shown {
            r#type: self.kind.urn(),
            title: self.kind.row().2,
            status: self.kind.status(),
            detail: &self.detail,
            retry_after_ms: self
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            line: self.place.map(|(line, _)| line),
            column: self.place.map(|(_, column)| column),
            readiness: self.readiness.as_deref(),
        };
        // Maps with keys that are no text are what cannot be written, and there is none.
        serde_json::to_string(&shown).unwrap_or_default()
    }

    fn retry_after_s(&self) -> Option<u64> {
        self.retry_after
            .map(|wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (self.kind.row().0, self.body()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if let Some(seconds) = self.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let kind = match &error {
            SubmitError::Full => ProblemKind::QueueFull,
            SubmitError::TooMuch { .. } => ProblemKind::TooMuch,
            SubmitError::Refused(_) => ProblemKind::Refused,
            SubmitError::OutcomeUnknown(_) => ProblemKind::OutcomeUnknown,
            SubmitError::Down(_) => ProblemKind::Down,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Full => ProblemKind::QueueFull,
            QueryError::Down(_) => ProblemKind::Down,
            QueryError::Store(_) => ProblemKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::exec::IntakeError;
    use crate::node::Down;
    use crate::store::{Problem as Fault, StoreError};
    use crate::types::Seq;

    #[test]
    fn every_type_has_a_name_of_its_own() {
        let names: HashSet<_> = ProblemKind::ALL.iter().map(|kind| kind.urn()).collect();
        assert_eq!(names.len(), ProblemKind::ALL.len());
        assert!(ProblemKind::ALL.iter().all(|kind| (400..600).contains(&kind.status())));
    }

    #[test]
    fn what_a_node_answers_has_its_type() {
        let submit = |error: SubmitError| Problem::from(error).kind();
        let query = |error: QueryError| Problem::from(error).kind();
        let fault = StoreError::new("main.db".as_ref(), Fault::DiskFull);
        let refusal = Arc::new(IntakeError::NotHeld { tx: Seq::FIRST });
        let cases = [
            (submit(SubmitError::Full), ProblemKind::QueueFull, 503),
            (
                submit(SubmitError::TooMuch { found: 3, most: 2, unit: "bytes" }),
                ProblemKind::TooMuch,
                413,
            ),
            (submit(SubmitError::Refused(refusal)), ProblemKind::Refused, 422),
            (submit(SubmitError::OutcomeUnknown(Down::Stopped)), ProblemKind::OutcomeUnknown, 503),
            (submit(SubmitError::Down(Down::Stopped)), ProblemKind::Down, 503),
            (query(QueryError::Full), ProblemKind::QueueFull, 503),
            (query(QueryError::Store(fault)), ProblemKind::Internal, 500),
            (query(QueryError::Down(Down::Stopped)), ProblemKind::Down, 503),
        ];
        for (found, expected, status) in cases {
            assert_eq!((found, found.status()), (expected, status));
        }
    }

    #[test]
    fn json_that_cannot_be_read_has_a_place() {
        let error = serde_json::from_str::<u8>("\n x").expect_err("it is none");
        let body: serde_json::Value =
            serde_json::from_str(&Problem::of_json(&error).body()).expect("JSON");
        assert_eq!((&body["line"], &body["column"]), (&2.into(), &2.into()));
        assert_eq!(body["type"], "urn:rewake:problem:malformed");
    }
}
