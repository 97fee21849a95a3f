//! The questions to a running node: asked of the reader, and of the appender what only it knows.

use tokio::sync::oneshot;

use crate::block::Status;
use crate::node::append::Request;
use crate::node::mailbox::NotSent;
use crate::node::reader::{Question, Reader};
use crate::node::{BlockView, MempoolPage, Node, OnFull, Place, QueryError, TxView};
use crate::store::StoreError;
use crate::types::{Bytes, Height, Seq, TxId};

/// Transactions of a page of the mempool.
const PAGE_TXS_MAX: usize = 10_000;

impl Node {
    /// Finds a transaction and says how far it is; `None` where the log does not know it.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn transaction(&self, id: TxId) -> Result<Option<TxView>, QueryError> {
        let Some((mut view, mut search)) = self.ask(move |reader| reader.transaction(&id)).await?
        else {
            return Ok(None);
        };
        loop {
            let (found, next) = self.ask(move |reader| reader.confirmed(search)).await?;
            if let Some(place) = found {
                let is_kept_out = matches!(&place, Place::Confirmed { receipt, .. }
                    if matches!(receipt.status, Status::Quarantined(_)));
                view.place = place;
                if !is_kept_out {
                    return Ok(Some(view));
                }
            }
            // One that was released waits again, or is in a later block.
            if self.waits(view.seq).await? {
                view.place = Place::Waiting;
                return Ok(Some(view));
            }
            let Some(next) = next else { return Ok(Some(view)) };
            search = next;
        }
    }

    async fn waits(&self, seq: Seq) -> Result<bool, QueryError> {
        let (reply, answer) = oneshot::channel();
        self.inquire(Request::Waits(seq, reply), answer).await
    }

    /// Returns a confirmed block, or the last one; `None` where there is none.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn block(&self, height: Option<Height>) -> Result<Option<BlockView>, QueryError> {
        self.ask(move |reader| reader.block(height)).await
    }

    /// Returns the first confirmed block at or above a height; `None` where there is none.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn block_from(&self, height: Height) -> Result<Option<BlockView>, QueryError> {
        self.ask(move |reader| reader.block_from(height)).await
    }

    /// As [`Node::block_from`], and waits where too many questions wait already.
    pub(super) async fn next_block(&self, height: Height) -> Result<Option<BlockView>, QueryError> {
        self.ask_when(OnFull::Wait, move |reader| reader.block_from(height)).await
    }

    /// Returns the value of a key of the state after the last confirmed block.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn state(&self, key: Bytes) -> Result<Option<Bytes>, QueryError> {
        self.ask(move |reader| reader.state(&key)).await
    }

    /// Returns the transactions that wait for a block, after a position, at most `limit` of them and at most 10,000.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn mempool(
        &self,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<MempoolPage, QueryError> {
        let (reply, answer) = oneshot::channel();
        let limit = limit.min(PAGE_TXS_MAX);
        let more = limit.saturating_add(1);
        let request = Request::Mempool(after.map_or(0, Seq::get), more, reply);
        let (len, mut seqs) = self.inquire(request, answer).await?;
        let has_more = seqs.len() > limit;
        seqs.truncate(limit);
        let txs = self.ask(move |reader| reader.ids(&seqs)).await?;
        Ok(MempoolPage { len, txs, has_more })
    }

    /// Asks the appender what only it knows.
    async fn inquire<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, QueryError> {
        let sent = self.0.vitals.mailboxes.append.send_urgent(request);
        sent.map_err(|error| self.unasked(error))?;
        answer.await.map_err(|_| QueryError::Down(self.cause()))
    }

    /// Asks the reader, if there is room for the question.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, QueryError> {
        self.ask_when(OnFull::Refuse, question).await
    }

    async fn ask_when<T: Send + 'static>(
        &self,
        on_full: OnFull,
        question: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let (reply, answer) = oneshot::channel();
        // Nobody may be waiting any more.
        let question: Question =
            Box::new(move |reader: &Reader| drop(reply.send(question(reader))));
        let mailbox = &self.0.vitals.mailboxes.read;
        let sent = match on_full {
            OnFull::Wait => mailbox.send(question, 1).await,
            OnFull::Refuse => mailbox.try_send(question, 1),
        };
        sent.map_err(|error| self.unasked(error))?;
        let answer = answer.await.map_err(|_| QueryError::Down(self.cause()))?;
        answer.map_err(QueryError::Store)
    }

    fn unasked(&self, error: NotSent) -> QueryError {
        match error {
            NotSent::Full | NotSent::TooLarge => QueryError::Full,
            NotSent::Closed => QueryError::Down(self.cause()),
        }
    }
}
