//! Bodies: a request's, which notes that all of it came, and an answer's, which notes that all of it was taken.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::http::budget::OverBudget;
use crate::http::track::{Stage, Track};
use crate::http::{Problem, ProblemKind};

/// The body of a request that notes its end.
pub(super) struct Received<B> {
    body: B,
    has_ended: Arc<AtomicBool>,
}

impl<B: HttpBody> Received<B> {
    /// Returns the body, and what says whether all of it came.
    pub(super) fn new(body: B) -> (Self, Arc<AtomicBool>) {
        let has_ended = Arc::new(AtomicBool::new(body.is_end_stream()));
        (Self { body, has_ended: Arc::clone(&has_ended) }, has_ended)
    }
}

impl<B: HttpBody + Unpin> HttpBody for Received<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.has_ended.store(true, Ordering::Release);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer; hyper drops it when it has taken all of it.
pub(super) struct Answered {
    body: Body,
    track: Arc<Track>,
}

impl Answered {
    pub(super) fn new(body: Body, track: Arc<Track>) -> Self {
        Self { body, track }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.track.enter(Stage::Answer);
    }
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns a body that fails beyond a number of bytes.
pub(super) fn limited<B>(body: B, bytes_max: usize) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    Body::new(Limited::new(body, bytes_max))
}

/// Reads the whole JSON body of a request.
pub(super) async fn read_json(request: Request) -> Result<Bytes, Problem> {
    if !is_json(&request) {
        let detail = "send the header `content-type: application/json`";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    let collected = request.into_body().collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| unread(&error))
}

fn is_json(request: &Request) -> bool {
    let stated = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = stated.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Says why a body was not read to its end.
fn unread(error: &axum::Error) -> Problem {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(each) = cause {
        if each.is::<LengthLimitError>() {
            let detail = "the body is larger than the limit; submit fewer transactions at once";
            return Problem::new(ProblemKind::PayloadTooLarge, detail);
        }
        if let Some(over) = each.downcast_ref::<OverBudget>() {
            return Problem::new(ProblemKind::QueueFull, over.to_string());
        }
        cause = each.source();
    }
    Problem::new(ProblemKind::Malformed, format!("the body cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a body within ten bytes.
    fn read(content_type: Option<&str>, body: impl Into<Body>) -> Result<Bytes, Problem> {
        let mut request = Request::new(limited(body.into(), 10));
        if let Some(value) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, value.parse().expect("a value"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(read_json(request))
    }

    #[test]
    fn a_body_is_read_where_it_is_json_within_the_limit() {
        for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(read(Some(content_type), "0123456789"), Ok("0123456789".into()));
        }
        let kind = |content_type, body: Body| read(content_type, body).map_err(|p| p.kind());
        for content_type in [None, Some(""), Some("text/plain"), Some("application/jsonl")] {
            let found = kind(content_type, Body::from("{}"));
            assert_eq!(found, Err(ProblemKind::UnsupportedMediaType), "{content_type:?}");
        }
        let json = Some("application/json");
        let found = kind(json, Body::from("0123456789x"));
        assert_eq!(found, Err(ProblemKind::PayloadTooLarge));
        let broken = Body::new(Broken);
        assert_eq!(kind(json, broken), Err(ProblemKind::Malformed));
    }

    struct Broken;

    impl HttpBody for Broken {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(Some(Err(std::io::Error::other("unplugged"))))
        }
    }
}
