//! Reads the log as blocks: each order with its patches, transactions and verdicts, one at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::block::OrderRef;
use crate::diff::Verdicts;
use crate::event::{EventBody, Kind, Order, Patch, Ruling};
use crate::exec::Rulings;
use crate::machine::{BlockInput, TxInput};
use crate::store::{QuarantineWrite, Store, StoreError, StoredEvent};
use crate::types::{Digest, Seq, Slice, TxId};

/// Bytes of event bodies that are read at once: with more, whoever waits for the first block waits for many.
pub(crate) const READ_BYTES: usize = 512 << 10;
/// Bytes of recent transactions that are kept for the order that will name them.
const WINDOW_BYTES: usize = 16 << 20;

/// An ordered block as it is to be executed.
#[derive(Clone, Debug)]
pub struct PendingBlock {
    /// Where its order stands.
    pub order: OrderRef,
    /// What the machine is handed.
    pub input: BlockInput,
    /// Transactions that verdicts keep out of it.
    pub rulings: Rulings,
    /// Those verdicts.
    pub quarantined: Vec<QuarantineWrite>,
    /// Transactions that joined the mempool since the order before.
    pub received: Vec<Seq>,
    /// Quarantined transactions that were released or discarded since the order before, with the verdict.
    pub settled: Vec<(Seq, Seq)>,
}

/// Reads blocks from a position of the log up to its end at the time of making.
pub struct BlockReader {
    store: Arc<Store>,
    verdicts: Arc<Verdicts>,
    next: Seq,
    end: u64,
    read_bytes: usize,
    /// The chain digest that the next event must follow, where the links are verified.
    follows: Option<Digest>,
    events: VecDeque<StoredEvent>,
    window: TxWindow,
    since: Since,
}

/// What was read since the last order.
#[derive(Default)]
struct Since {
    patches: Vec<Patch>,
    received: Vec<Seq>,
    settled: Vec<(Seq, Seq)>,
}

impl BlockReader {
    /// Starts at the event after a checkpoint's order, or at the first event.
    #[must_use]
    pub fn new(store: Arc<Store>, after: Option<Seq>, verdicts: Arc<Verdicts>) -> Self {
        let end = store.log().head().seq;
        let next = after.map_or(Seq::FIRST, Seq::next);
        let window = TxWindow::new(next);
        let (events, since) = (VecDeque::new(), Since::default());
        let (read_bytes, follows) = (READ_BYTES, None);
        Self { store, verdicts, next, end, read_bytes, follows, events, window, since }
    }

    /// Stops at a position, whatever is logged after it.
    #[must_use]
    pub fn until(mut self, end: u64) -> Self {
        self.end = self.end.min(end);
        self
    }

    /// Reads about so many bytes of events at once, for one who wants few blocks and holds up whoever appends meanwhile.
    #[must_use]
    pub fn in_reads_of(mut self, bytes: usize) -> Self {
        self.read_bytes = bytes;
        self
    }

    /// Verifies that each event follows from the one before it, and the first from this digest: for events that
    /// start-up did not look at.
    #[must_use]
    pub(crate) const fn following(mut self, chain: Digest) -> Self {
        self.follows = Some(chain);
        self
    }

    /// Returns the next ordered block; `None` at the end of the log.
    ///
    /// # Errors
    /// [`StoreError`] where an event cannot be read.
    pub fn next_block(&mut self) -> Result<Option<PendingBlock>, StoreError> {
        while let Some(event) = self.next_event()? {
            if event.kind == Kind::Tx && event.body.len() >= 32 {
                self.since.received.push(event.seq);
                self.window.push(Some(tx_input(&event)));
                continue;
            }
            self.window.push(None);
            let body = event.decode().map_err(|error| self.store.log().codec(event.seq, error))?;
            match body {
                EventBody::Tx(_) => {}
                EventBody::Patch(patch) => self.since.patches.push(patch),
                EventBody::Verdict(verdict) => {
                    if verdict.ruling == Ruling::Release {
                        self.since.received.push(verdict.tx);
                    }
                    if !matches!(verdict.ruling, Ruling::Quarantine { .. }) {
                        self.since.settled.push((verdict.tx, event.seq));
                    }
                }
                EventBody::Order(order) => return self.assemble(&event, order).map(Some),
            }
        }
        Ok(None)
    }

    fn next_event(&mut self) -> Result<Option<StoredEvent>, StoreError> {
        if self.events.is_empty() && self.next.get() <= self.end {
            self.events = self.store.log().read(self.next, self.read_bytes)?.into();
        }
        let event = self.events.pop_front().filter(|event| event.seq.get() <= self.end);
        if let Some(event) = &event {
            self.next = event.seq.next();
            if let Some(before) = &mut self.follows {
                if event.chain_after(*before) != event.chain
                    && !planted!("links_of_answers_not_verified")
                {
                    return Err(self.store.log().unlinked(event.seq));
                }
                *before = event.chain;
            }
        }
        Ok(event)
    }

    fn assemble(&mut self, event: &StoredEvent, order: Order) -> Result<PendingBlock, StoreError> {
        let height = order.height;
        let mut txs = Vec::with_capacity(order.txs.len());
        let (mut rulings, mut quarantined) = (Rulings::new(), Vec::new());
        for seq in order.txs {
            let tx = match self.window.find(seq) {
                Some(tx) => tx,
                // Received before the checkpoint: start-up has not verified it.
                None => tx_input(&self.store.log().linked(seq)?),
            };
            txs.push(tx);
            let ruled = self.verdicts.quarantine(event.seq, seq);
            if let Some((verdict, reason)) = ruled.filter(|_| !planted!("verdicts_not_applied")) {
                rulings.insert(seq, reason.to_owned());
                quarantined.push(QuarantineWrite { tx: seq, height, verdict });
            }
        }
        if planted!("wall_clock_orders") {
            txs.sort_by_key(|tx| std::cmp::Reverse((tx.created, tx.seq)));
        }
        let Since { patches, received, settled } = std::mem::take(&mut self.since);
        let order_ref = OrderRef { height, seq: event.seq, chain: event.chain };
        let input = BlockInput { height, header: order.header, patches, txs };
        Ok(PendingBlock { order: order_ref, input, rulings, quarantined, received, settled })
    }
}

/// Reads one transaction; an event too short for an identity gives the zero identity, which no log's chain lets pass.
pub(crate) fn tx_input(event: &StoredEvent) -> TxInput {
    let (id, payload) = match event.body.first_chunk() {
        Some(id) => (*id, event.body.slice(id.len()..)),
        None => ([0; 32], Slice::new()),
    };
    TxInput { seq: event.seq, id: TxId(id), payload, created: event.created }
}

/// The transactions of the last stretch of events, found by position.
pub(crate) struct TxWindow {
    first: u64,
    entries: VecDeque<Option<TxInput>>,
    bytes: usize,
}

impl TxWindow {
    /// Makes an empty window whose first event is at `next`.
    pub(crate) const fn new(next: Seq) -> Self {
        Self { first: next.get(), entries: VecDeque::new(), bytes: 0 }
    }

    /// Takes up the next event: a transaction, or `None` for anything else.
    pub(crate) fn push(&mut self, tx: Option<TxInput>) {
        self.bytes = self.bytes.saturating_add(size(tx.as_ref()));
        self.entries.push_back(tx);
        while self.bytes > WINDOW_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(size(oldest.as_ref()));
            self.first = self.first.saturating_add(1);
        }
    }

    /// Returns a transaction that is still in the window.
    pub(crate) fn find(&self, seq: Seq) -> Option<TxInput> {
        let at = usize::try_from(seq.get().checked_sub(self.first)?).ok()?;
        self.entries.get(at)?.clone()
    }
}

fn size(tx: Option<&TxInput>) -> usize {
    std::mem::size_of::<TxInput>().saturating_add(tx.map_or(0, |tx| tx.payload.len()))
}
