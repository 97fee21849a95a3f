//! Walks the log: every link verified, every event decoded, and going on after whatever is damaged.
//!
//! Beyond a broken link the walk goes on from the chain digest that is stored, so that one damaged event is one
//! finding; where only that stored digest is damaged, the event after it still follows from the computed one.

use std::collections::VecDeque;

use crate::audit::finding::{Finding, Findings, What};
use crate::audit::index::Indexed;
use crate::diff::Backlog;
use crate::event::{EventBody, Kind, Order, Patch};
use crate::exec::{READ_BYTES, TxWindow, tx_input};
use crate::machine::TxInput;
use crate::mempool::Mempool;
use crate::store::{LogHead, Store, StoreError, StoredEvent};
use crate::types::{Digest, Height, Seq, TxId};

/// A block as the log orders it.
pub(super) struct LoggedBlock {
    /// Position of its order.
    pub(super) seq: Seq,
    /// The stored chain digest of its order; `None` where the event is lost.
    pub(super) chain: Option<Digest>,
    /// The order, where it can be read.
    pub(super) order: Option<Order>,
    /// Whether the event follows from the one before it.
    pub(super) linked: bool,
    /// Patches since the order before.
    pub(super) patches: Vec<Patch>,
}

/// Where a walk starts.
pub(super) struct WalkStart {
    /// The event before the first; empty for the whole log. Its chain digest is believed.
    pub(super) after: LogHead,
    /// The last confirmed block before, where there is one.
    pub(super) height: Option<Height>,
}

/// A walk through the log.
pub(super) struct LogWalk<'a> {
    store: &'a Store,
    first: Seq,
    next: Seq,
    end: u64,
    events: VecDeque<StoredEvent>,
    /// The last of a stretch of events that are lost, while the walk passes over it.
    lost_to: Option<u64>,
    /// Stretches of events that are lost, ascending.
    lost: Vec<(Seq, Seq)>,
    anchors: Vec<Digest>,
    window: TxWindow,
    patches: Vec<Patch>,
    backlog: Backlog,
    indexed: Indexed,
    /// Events that were read and whose links were verified.
    pub(super) verified: u64,
}

enum Seen {
    Event(StoredEvent, bool),
    Lost(Seq),
}

impl<'a> LogWalk<'a> {
    pub(super) fn new(store: &'a Store, start: &WalkStart) -> Self {
        let next = start.after.next();
        let end = store.log().head().seq;
        let indexed = Indexed::new(store);
        Self {
            store,
            first: next,
            next,
            end,
            events: VecDeque::new(),
            lost_to: None,
            lost: Vec::new(),
            anchors: vec![start.after.chain],
            window: TxWindow::new(next),
            patches: Vec::new(),
            backlog: Backlog::at(start.height, Mempool::default()),
            indexed,
            verified: 0,
        }
    }

    /// Returns the position of the first event of the walk.
    pub(super) const fn first(&self) -> Seq {
        self.first
    }

    /// Returns the position after the last event that was passed.
    pub(super) const fn next(&self) -> Seq {
        self.next
    }

    /// Returns what the events so far say.
    pub(super) const fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Compares the transaction index with the events that were passed, which must be all of them.
    pub(super) fn compare_index(&self, findings: &mut Findings) {
        self.indexed.compare(self.store, self.first, findings);
    }

    /// Goes on to the next order. Where the event at `expected` is none that can be read, a block without one comes.
    pub(super) fn next_block(
        &mut self,
        expected: Option<Seq>,
        findings: &mut Findings,
    ) -> Option<LoggedBlock> {
        loop {
            let (event, linked) = match self.next_seen(expected, findings)? {
                Seen::Event(event, linked) => (event, linked),
                Seen::Lost(seq) => return Some(self.block(seq, None, None, false)),
            };
            let (seq, chain) = (event.seq, event.chain);
            match self.take_up(&event, linked, findings) {
                // An order that does not belong to the chain is believed only where a block row names it.
                Some(order) if linked || expected == Some(seq) => {
                    return Some(self.block(seq, Some(chain), Some(order), linked));
                }
                None if expected == Some(seq) => {
                    return Some(self.block(seq, Some(chain), None, linked));
                }
                _ => {}
            }
        }
    }

    /// Returns a transaction at or before the last event that was passed.
    pub(super) fn tx(&self, seq: Seq) -> Option<TxInput> {
        self.window.find(seq).or_else(|| {
            let event = self.store.log().event(seq).ok()?;
            matches!(event.decode(), Ok(EventBody::Tx(_))).then(|| tx_input(&event))
        })
    }

    /// Takes a block as ordered, whatever its order says or whether it can be read.
    pub(super) fn believe(&mut self, height: Height, txs: &[Seq]) {
        for tx in txs {
            self.backlog.mempool.remove(*tx);
        }
        self.backlog.last_ordered = Some(height);
    }

    fn block(
        &mut self,
        seq: Seq,
        chain: Option<Digest>,
        order: Option<Order>,
        linked: bool,
    ) -> LoggedBlock {
        LoggedBlock { seq, chain, order, linked, patches: std::mem::take(&mut self.patches) }
    }

    /// Decodes an event and folds it; gives back an order.
    fn take_up(
        &mut self,
        event: &StoredEvent,
        linked: bool,
        findings: &mut Findings,
    ) -> Option<Order> {
        let seq = event.seq;
        if let (Kind::Tx, Some(id)) = (event.kind, event.body.first_chunk()) {
            self.take_up_tx(&TxId(*id), event, linked);
            return None;
        }
        let decoded = event.decode();
        // Nobody vouches for the identity that a damaged event names.
        if !linked || decoded.is_err() {
            self.indexed.leave_out(seq, seq);
        }
        let body = match decoded {
            Ok(body) => body,
            Err(error) => {
                let finding = Finding::new(What::EventBytes, "canonical bytes", error.to_string());
                findings.add(finding.at_event(seq));
                self.window.push(None);
                self.lost.push((seq, seq));
                return None;
            }
        };
        self.window.push(None);
        if let EventBody::Order(order) = &body {
            if linked {
                self.fold_order(seq, order, findings);
            }
        } else {
            // Only an order can be refused.
            let _refused = self.backlog.fold(seq, &body);
        }
        match body {
            EventBody::Patch(patch) => self.patches.push(patch),
            EventBody::Order(order) => return Some(order),
            EventBody::Tx(_) | EventBody::Verdict(_) => {}
        }
        None
    }

    /// Takes up a transaction, whatever its payload is.
    fn take_up_tx(&mut self, id: &TxId, event: &StoredEvent, linked: bool) {
        if linked {
            self.indexed.add(id, event.seq);
        } else {
            self.indexed.leave_out(event.seq, event.seq);
        }
        self.window.push(Some(tx_input(event)));
        self.backlog.receive(event.seq);
    }

    fn fold_order(&mut self, seq: Seq, order: &Order, findings: &mut Findings) {
        // What waited before the first event of the walk, or is lost, is believed.
        for tx in &order.txs {
            if *tx < self.first || self.is_lost(*tx) {
                self.backlog.mempool.insert(*tx);
            }
        }
        if let Err(error) = self.backlog.check(order.height, &order.txs) {
            let finding =
                Finding::new(What::OrderRule, "an order of what waits", error.to_string());
            findings.add(finding.at_block(order.height).at_event(seq));
        }
        self.believe(order.height, &order.txs);
    }

    fn is_lost(&self, seq: Seq) -> bool {
        let before = self.lost.partition_point(|(first, _)| *first <= seq);
        let stretch = before.checked_sub(1).and_then(|index| self.lost.get(index));
        stretch.is_some_and(|(_, last)| seq <= *last)
    }

    fn next_seen(&mut self, expected: Option<Seq>, findings: &mut Findings) -> Option<Seen> {
        while self.next.get() <= self.end {
            if let Some(last) = self.lost_to {
                let within = |seq: &Seq| *seq >= self.next && seq.get() <= last;
                if let Some(seq) = expected.filter(within) {
                    self.skip_to(seq.next());
                    return Some(Seen::Lost(seq));
                }
                self.skip_to(Seq::new(last)?.next());
                self.lost_to = None;
                continue;
            }
            if self.events.is_empty()
                && let Some(error) = self.fill()
            {
                self.lose(&error.to_string(), findings);
                continue;
            }
            match self.events.pop_front() {
                Some(event) if event.seq == self.next => {
                    let linked = self.link(&event, findings);
                    return Some(Seen::Event(event, linked));
                }
                Some(event) => {
                    self.events.push_front(event);
                    self.lose("missing", findings);
                }
                None => self.lose("missing", findings),
            }
        }
        None
    }

    /// Reads on; where rows cannot be read it tries ever farther, and returns the first error.
    fn fill(&mut self) -> Option<StoreError> {
        let mut failure = None;
        let (mut from, mut step) = (self.next, 1u64);
        loop {
            let (events, error) = self.store.log().salvage(from, READ_BYTES);
            let done = !events.is_empty() || error.is_none();
            self.events = events.into();
            failure = failure.or(error.filter(|_| self.events.is_empty()));
            from = Seq::new(from.get().saturating_add(step))?;
            step = step.saturating_mul(2);
            if done || from.get() > self.end {
                return failure;
            }
        }
    }

    /// Takes note of a stretch of events that are lost, up to the next one that was read.
    fn lose(&mut self, why: &str, findings: &mut Findings) {
        let next_read = self.events.front().map(|event| event.seq.get().saturating_sub(1));
        let last = next_read.unwrap_or(self.end).min(self.end);
        let (first, end) = (self.next, last);
        let finding =
            Finding::new(What::EventLost, format!("events {} to {end}", first.get()), why);
        findings.add(finding.at_event(first));
        self.lost_to = Some(last);
        if let Some(last) = Seq::new(last) {
            self.lost.push((first, last));
            self.indexed.leave_out(first, last);
        }
        self.anchors.clear();
    }

    fn skip_to(&mut self, next: Seq) {
        self.next = next;
        self.window = TxWindow::new(next);
    }

    fn link(&mut self, event: &StoredEvent, findings: &mut Findings) -> bool {
        self.verified = self.verified.saturating_add(1);
        self.next = event.seq.next();
        if let [anchor] = self.anchors.as_mut_slice()
            && event.chain_after(*anchor) == event.chain
        {
            *anchor = event.chain;
            return true;
        }
        let computed: Vec<_> =
            self.anchors.iter().map(|anchor| event.chain_after(*anchor)).collect();
        let linked = computed.is_empty() || computed.contains(&event.chain);
        self.anchors = vec![event.chain];
        if let Some(computed) = computed.first().filter(|_| !linked) {
            let finding = Finding::digests(What::ChainLink, *computed, event.chain);
            findings.add(finding.at_event(event.seq));
            self.anchors.push(*computed);
        }
        linked
    }
}
