//! The budget: how many bytes the large bodies of all connections take together.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::ServerLimits;

/// Bytes of each body that are outside the budget, so that large bodies do not keep small ones out.
const FREE_BYTES: usize = 16 << 10;

/// A body that goes beyond what all large bodies may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many large bodies are being received as are taken at once; send it later, or in parts")]
pub(super) struct OverBudget;

/// What the large bodies of a server may take, those of requests or those of answers; clones are the same one.
#[derive(Clone)]
pub(super) struct Budget {
    kib: Arc<Semaphore>,
    body_bytes_max: usize,
}

/// What a request has taken of the budget, which is given back when this is dropped with its body.
pub(super) type Share = Arc<OnceLock<OwnedSemaphorePermit>>;

/// The body of a request that takes its share when it turns out to be large.
pub(super) struct Budgeted<B> {
    body: B,
    budget: Budget,
    received_bytes: usize,
    share: Share,
}

impl Budget {
    /// Makes the budget of a server; the largest body always fits in.
    pub(super) fn new(limits: &ServerLimits) -> Self {
        let bytes = limits.bodies_bytes_max.max(limits.body_bytes_max);
        let kib = bytes.div_ceil(1 << 10).min(Semaphore::MAX_PERMITS);
        Self { kib: Arc::new(Semaphore::new(kib)), body_bytes_max: limits.body_bytes_max }
    }

    /// Makes the budget of a server's answers; one answer always fits in.
    pub(super) fn of_answers(limits: &ServerLimits) -> Self {
        let kib = limits.answers_bytes_max.div_ceil(1 << 10).clamp(1, Semaphore::MAX_PERMITS);
        Self { kib: Arc::new(Semaphore::new(kib)), body_bytes_max: kib.saturating_mul(1 << 10) }
    }

    /// Takes room for an answer of so many bytes, or all there is for a larger one; none for a small one.
    pub(super) fn room(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, OverBudget> {
        if bytes <= FREE_BYTES {
            return Ok(None);
        }
        let kib = bytes.min(self.body_bytes_max).div_ceil(1 << 10);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        Arc::clone(&self.kib).try_acquire_many_owned(kib).map(Some).map_err(|_| OverBudget)
    }

    /// Puts a body under the budget; returns its share as well, which is to outlive what is made of the body.
    pub(super) fn watch<B: HttpBody>(&self, body: B) -> (Budgeted<B>, Share) {
        let share = Share::default();
        let budgeted =
            Budgeted { body, budget: self.clone(), received_bytes: 0, share: Arc::clone(&share) };
        (budgeted, share)
    }

    /// Takes as much as a body may still come to: a share that grew later might not be had then.
    fn take(&self, share: &Share, stated: Option<u64>) -> Result<(), OverBudget> {
        let bytes = stated.and_then(|stated| usize::try_from(stated).ok());
        let bytes = bytes.unwrap_or(usize::MAX).min(self.body_bytes_max);
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.kib).try_acquire_many_owned(kib).map_err(|_| OverBudget)?;
        // It was looked whether there is one already.
        let _ = share.set(permit);
        Ok(())
    }
}

impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin> HttpBody for Budgeted<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let left = self.body.size_hint().upper();
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(data)) = frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
            self.received_bytes = self.received_bytes.saturating_add(data.map_or(0, Bytes::len));
            if self.received_bytes > FREE_BYTES && self.share.get().is_none() {
                self.budget.take(&self.share, left)?;
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    const LARGEST: usize = 64 << 10;

    /// Reads a body of so many bytes; returns what it keeps of the budget.
    fn read(budget: &Budget, length: usize) -> Result<Share, BoxError> {
        let (body, share) = budget.watch(Full::new(Bytes::from(vec![b'x'; length])));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(body.collect()).map(|_| share)
    }

    #[test]
    fn large_bodies_share_a_budget_and_small_ones_need_none() {
        let limits = ServerLimits {
            body_bytes_max: LARGEST,
            bodies_bytes_max: 2 * LARGEST,
            ..ServerLimits::default()
        };
        let budget = Budget::new(&limits);
        let held = [read(&budget, LARGEST), read(&budget, LARGEST)];
        assert!(held.iter().all(|share| share.as_ref().is_ok_and(|it| it.get().is_some())));
        let over = read(&budget, FREE_BYTES + 1).expect_err("nothing is left");
        assert_eq!(over.downcast_ref(), Some(&OverBudget));
        assert!(read(&budget, FREE_BYTES).expect("a small one").get().is_none());
        drop(held);
        read(&budget, LARGEST).expect("it was given back");
    }

    #[test]
    fn the_largest_body_fits_in_a_budget_that_is_smaller() {
        let limits = ServerLimits {
            body_bytes_max: LARGEST,
            bodies_bytes_max: 0,
            ..ServerLimits::default()
        };
        let budget = Budget::new(&limits);
        let share = read(&budget, LARGEST).expect("it fits");
        read(&budget, LARGEST).expect_err("one at a time");
        drop(share);
        read(&budget, LARGEST).expect("it was given back");
    }
}
