//! Large answers: written out beside the threads that carry messages, within what all of them may take together.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::http::budget::Budget;
use crate::http::{Problem, ProblemKind};
use crate::node::BlockView;

/// What an entry of a patch or a transaction takes beside its bytes, as values and as text, in bytes.
const ITEM_BYTES: usize = 512;
/// What a byte of a block takes: itself, two digits, and two digits in the text.
const PER_BYTE: usize = 5;

/// Returns about how many bytes a block takes while it is answered.
pub(super) fn block_bytes(view: &BlockView) -> usize {
    let entries = view.patches.iter().flat_map(|patch| &patch.entries);
    let entries = entries.map(|(key, value)| {
        key.len().saturating_add(value.as_ref().map_or(0, |value| value.len()))
    });
    let txs = view.txs.iter().map(|tx| tx.payload.len().saturating_add(tx.receipt.output.len()));
    entries.chain(txs).fold(0, |sum: usize, bytes| {
        sum.saturating_add(bytes.saturating_mul(PER_BYTE)).saturating_add(ITEM_BYTES)
    })
}

/// Answers with a view as JSON, for which there must be room until the last byte of it has left.
///
/// # Errors
/// A problem of type `queue-full` where large answers take as much as they may.
pub(super) async fn answer<T: Serialize>(
    budget: &Budget,
    bytes: usize,
    view: impl FnOnce() -> T + Send + 'static,
) -> Result<Response, Problem> {
    let room = budget.room(bytes).map_err(|_| {
        let detail = "as many large answers are being read as are given at once; ask again later";
        Problem::new(ProblemKind::QueueFull, detail)
    })?;
    // A client that left does not end this, so the room is given back only when it is done.
    let writing = tokio::task::spawn_blocking(move || {
        serde_json::to_vec(&view()).map(|text| Bytes::from_owner(Held { text, _room: room }))
    });
    let failed = |error: &dyn std::fmt::Display| {
        Problem::new(ProblemKind::Internal, format!("the answer cannot be written: {error}"))
    };
    let text = writing.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let mut response = Body::from(text).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// A text with the room that it takes.
struct Held {
    text: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::ServerLimits;

    #[test]
    fn large_answers_are_refused_until_one_of_them_has_left() {
        let limits = ServerLimits { answers_bytes_max: 100 << 10, ..ServerLimits::default() };
        let budget = Budget::of_answers(&limits);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ask = |bytes| runtime.block_on(answer(&budget, bytes, || "text"));
        let first = ask(60 << 10).expect("there is room");
        let refused = ask(60 << 10).expect_err("there is none");
        assert_eq!((refused.kind(), refused.kind().status()), (ProblemKind::QueueFull, 503));
        ask(1 << 10).expect("a small one needs none");
        // Whoever took the text out of the body still holds the room, as the connection does while it writes.
        let text = runtime.block_on(first.into_body().collect()).expect("a text").to_bytes();
        assert_eq!(text, "\"text\"");
        ask(60 << 10).expect_err("the text has not left");
        drop(text);
        let whole = ask(usize::MAX).expect("one that is larger than everything is given alone");
        ask(60 << 10).expect_err("it takes everything");
        drop(whole);
        ask(60 << 10).expect("it was given back");
    }
}
