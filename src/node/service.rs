//! The running node: what callers ask of it, and how it is ended.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot, watch};

use crate::codec::count;
use crate::event::Patch;
use crate::exec::{Logged, NewEvent, NextTxs, PAYLOAD_BYTES_MAX, Settlement};
use crate::machine::{MachineVersion, Registry};
use crate::node::append::{Ordered, Request};
use crate::node::mailbox::NotSent;
use crate::node::start::{self, Started, Starting};
use crate::node::supervise::Supervisor;
use crate::node::{Down, NodeOptions, StartError, SubmitError, Subscription, Vitals};
use crate::store::{DataDir, Store};
use crate::telemetry::Submission;
use crate::types::{Bytes, Height, Seq, TxId};

/// Bytes of memory that a waiting transaction takes beside its payload, about.
const TX_BYTES: usize = 256;

/// A running node; clones are the same node. When the last one is dropped, the node ends by itself.
#[derive(Clone)]
pub struct Node(pub(super) Arc<Inner>);

/// What the clones of a node share.
pub(super) struct Inner {
    pub(super) vitals: Vitals,
    pub(super) options: NodeOptions,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) head: watch::Receiver<Option<Height>>,
    /// Told that the mempool has shrunk.
    pub(super) shrunk: Arc<Notify>,
    pub(super) machine: MachineVersion,
}

/// A transaction that is submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTx {
    /// Its identity.
    pub id: TxId,
    /// Its bytes, in the machine's own format.
    pub payload: Bytes,
}

/// What to do where there is no room for a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Wait until there is.
    Wait,
    /// Answer [`SubmitError::Full`].
    Refuse,
}

impl Node {
    /// Begins to open and recover a node, on a thread of its own.
    #[must_use]
    pub fn start(dir: DataDir, registry: Registry, options: NodeOptions) -> Starting {
        start::start(move || dir.open(), registry, options)
    }

    /// As [`Node::start`], of a store that is open already: for one who has looked into it before.
    #[must_use]
    pub fn start_opened(store: Store, registry: Registry, options: NodeOptions) -> Starting {
        start::start(move || Ok(store), registry, options)
    }

    /// Opens and recovers a node; returns it with the report of its recovery and the transactions that wait.
    ///
    /// # Errors
    /// [`StartError`] where it does not come up.
    pub async fn open(
        dir: DataDir,
        registry: Registry,
        options: NodeOptions,
    ) -> Result<Started, StartError> {
        Self::start(dir, registry, options).ready().await
    }

    /// Logs a transaction, and answers when that is durable; one that was logged before gets the same answer again.
    ///
    /// Waits while there is no room. A caller that gives up does not know whether it was logged, and may ask again.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(&self, tx: NewTx) -> Result<Logged, SubmitError> {
        self.first_of(&self.submit_all(vec![tx], OnFull::Wait).await?)
    }

    /// Logs transactions, all or none, in one durable transaction.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit_all(
        &self,
        txs: Vec<NewTx>,
        on_full: OnFull,
    ) -> Result<Vec<Logged>, SubmitError> {
        let length = count(txs.len());
        let answer = self.log_txs(txs, on_full).await;
        let metrics = &self.0.vitals.metrics;
        match &answer {
            Ok(logged) => {
                let new = count(logged.iter().filter(|logged| logged.is_new).count());
                metrics.submitted(Submission::New, new);
                metrics.submitted(Submission::Known, length.saturating_sub(new));
            }
            Err(error) => metrics.submitted(outcome(error), length),
        }
        answer
    }

    /// Logs what consensus decided: the next block, of transactions that were submitted before.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn order(&self, header: Bytes, txs: Vec<TxId>) -> Result<Ordered, SubmitError> {
        let bytes = txs.len().saturating_mul(size_of::<TxId>()).saturating_add(header.len());
        let next = NewEvent::Next { header, txs: NextTxs::Named(txs) };
        self.send(bytes, OnFull::Wait, |reply| Request::Order(next, reply)).await
    }

    /// Logs a state change that no transaction causes; it takes effect in the next block.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn patch(&self, patch: Patch) -> Result<Logged, SubmitError> {
        let entry = |(key, value): &(Bytes, Option<Bytes>)| {
            key.len().saturating_add(value.as_ref().map_or(0, |value| value.len()))
        };
        let bytes = patch.entries.iter().map(entry).sum();
        self.log_one(bytes, NewEvent::Patch(patch)).await
    }

    /// Logs an operator's decision about a transaction in quarantine.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn settle(&self, tx: Seq, settlement: Settlement) -> Result<Logged, SubmitError> {
        self.log_one(0, NewEvent::Settle { tx, settlement }).await
    }

    /// Subscribes to confirmed blocks from a height on, and to the phases that the node enters.
    #[must_use]
    pub fn subscribe(&self, from: Height) -> Subscription {
        let Vitals { monitor, gauge, .. } = &self.0.vitals;
        let (head, gauge) = (self.0.head.clone(), Arc::clone(gauge));
        Subscription::new(self.clone(), from, head, monitor.lifecycle(), gauge)
    }

    /// Returns what can be told of the node without asking it.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        self.0.vitals.clone()
    }

    /// Returns the machine that it runs.
    #[must_use]
    pub fn machine(&self) -> &MachineVersion {
        &self.0.machine
    }

    /// Waits until the node goes down, and says why.
    pub async fn down(&self) -> Down {
        let mut down = self.0.supervisor.watch();
        let cause = down.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
        cause.unwrap_or(Down::Stopped)
    }

    /// Ends the node: what was taken is logged and acknowledged, what is ordered is confirmed, and every file is closed.
    /// A step of a machine that never ended keeps its thread, and with it the lock, until the process ends.
    ///
    /// # Errors
    /// [`Down`] where the node went down before, or while it ended, for another cause.
    pub async fn shutdown(self) -> Result<(), Down> {
        let supervisor = Arc::clone(&self.0.supervisor);
        supervisor.take_down(Down::Stopped);
        self.0.vitals.mailboxes.close();
        let joined = Arc::clone(&supervisor);
        let ended = tokio::task::spawn_blocking(move || joined.join()).await;
        match (supervisor.cause(), ended) {
            (Some(Down::Stopped) | None, Ok(())) => Ok(()),
            (Some(Down::Stopped) | None, Err(error)) => {
                Err(Down::Actor { actor: "end", reason: error.to_string() })
            }
            (Some(cause), _) => Err(cause),
        }
    }

    async fn log_txs(&self, txs: Vec<NewTx>, on_full: OnFull) -> Result<Vec<Logged>, SubmitError> {
        self.check(&txs)?;
        self.wait_for_mempool(&txs, on_full).await?;
        let bytes = txs.iter().map(|tx| tx.payload.len().saturating_add(TX_BYTES)).sum();
        let events = txs.into_iter().map(|NewTx { id, payload }| NewEvent::Tx { id, payload });
        let events = events.collect();
        self.send(bytes, on_full, |reply| Request::Log(events, reply)).await
    }

    fn check(&self, txs: &[NewTx]) -> Result<(), SubmitError> {
        let most = self.0.options.batch_txs_max;
        if txs.len() > most {
            let (found, most) = (count(txs.len()), count(most));
            return Err(SubmitError::TooMuch { found, most, unit: "transactions" });
        }
        let largest = txs.iter().map(|tx| tx.payload.len()).max().unwrap_or(0);
        if largest > PAYLOAD_BYTES_MAX {
            let (found, most) = (count(largest), count(PAYLOAD_BYTES_MAX));
            return Err(SubmitError::TooMuch { found, most, unit: "bytes of a transaction" });
        }
        Ok(())
    }

    async fn wait_for_mempool(&self, txs: &[NewTx], on_full: OnFull) -> Result<(), SubmitError> {
        if self.vitals().figures().mempool < self.0.options.mempool_txs_max {
            return Ok(());
        }
        let ids: Vec<_> = txs.iter().map(|tx| tx.id).collect();
        // What the log knows already needs no room, and has its answer.
        if matches!(self.ask(move |reader| reader.knows(&ids)).await, Ok(true)) {
            return Ok(());
        }
        let mut down = self.0.supervisor.watch();
        loop {
            // Asked for before the look at the number, so that no change goes unnoticed.
            let shrunk = self.0.shrunk.notified();
            if self.0.vitals.figures().mempool < self.0.options.mempool_txs_max {
                return Ok(());
            }
            if on_full == OnFull::Refuse {
                return Err(SubmitError::Full);
            }
            tokio::select! {
                () = shrunk => {}
                _ = down.wait_for(Option::is_some) => return Err(SubmitError::Down(self.cause())),
            }
        }
    }

    async fn log_one(&self, bytes: usize, event: NewEvent) -> Result<Logged, SubmitError> {
        let request = |reply| Request::Log(vec![event], reply);
        self.first_of(&self.send(bytes, OnFull::Wait, request).await?)
    }

    fn first_of(&self, logged: &[Logged]) -> Result<Logged, SubmitError> {
        logged.first().copied().ok_or_else(|| SubmitError::OutcomeUnknown(self.cause()))
    }

    /// Sends a request to the appender and waits for its answer.
    async fn send<T>(
        &self,
        bytes: usize,
        on_full: OnFull,
        request: impl FnOnce(oneshot::Sender<Result<T, SubmitError>>) -> Request,
    ) -> Result<T, SubmitError> {
        let mailbox = &self.0.vitals.mailboxes.append;
        let (reply, answer) = oneshot::channel();
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1);
        let sent = match on_full {
            OnFull::Wait => mailbox.send(request(reply), kib).await,
            OnFull::Refuse => mailbox.try_send(request(reply), kib),
        };
        sent.map_err(|error| match error {
            NotSent::Full => SubmitError::Full,
            NotSent::TooLarge => {
                let most = self.0.options.queue_kib.into();
                SubmitError::TooMuch { found: kib.into(), most, unit: "KiB" }
            }
            NotSent::Closed => SubmitError::Down(self.cause()),
        })?;
        match answer.await {
            Ok(answer) => answer,
            // The appender ended in the middle of it; its cause follows.
            Err(_) => Err(SubmitError::OutcomeUnknown(self.down().await)),
        }
    }

    pub(super) fn cause(&self) -> Down {
        self.0.supervisor.cause().unwrap_or(Down::Stopped)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.supervisor.take_down(Down::Stopped);
        self.vitals.mailboxes.close();
    }
}

const fn outcome(error: &SubmitError) -> Submission {
    match error {
        SubmitError::Full => Submission::Full,
        SubmitError::TooMuch { .. } => Submission::TooMuch,
        SubmitError::Refused(_) => Submission::Refused,
        SubmitError::OutcomeUnknown(_) => Submission::Unknown,
        SubmitError::Down(_) => Submission::Down,
    }
}
