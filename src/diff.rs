//! The diff: what the log holds beyond the checkpoint, and whether the two tables meet.
//!
//! Pure. Events are folded in their order; nothing but counts, the mempool and the verdicts is kept, so that a long
//! backlog needs no more memory than a short one.

use std::collections::BTreeMap;

use crate::event::{EventBody, Order, Ruling};
use crate::mempool::Mempool;
use crate::types::{Height, Seq};

/// What the log holds after the checkpoint's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Blocks that are ordered and not confirmed.
    pub blocks: u64,
    /// Transactions in them.
    pub txs: u64,
    /// The first of those blocks.
    pub first: Option<Height>,
    /// The last block that was ever ordered, confirmed or not.
    pub last_ordered: Option<Height>,
    /// Patches that wait for the next order.
    pub patches: u64,
    /// Transactions that were received and are in no block.
    pub mempool: Mempool,
    /// Verdicts on transactions.
    pub verdicts: Verdicts,
}

/// An order that contradicts the log before it. No program writes one: the log was tampered with or is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Its height is not above the last one.
    #[error("order of block {} follows block {}", found.get(), last.get())]
    HeightNotAscending {
        /// Its height.
        found: Height,
        /// The height before.
        last: Height,
    },
    /// Its height is beyond [`Height::MAX`].
    #[error("order of block {} is above {}, the greatest height", found.get(), Height::MAX.get())]
    HeightTooGreat {
        /// Its height.
        found: Height,
    },
    /// A transaction is not waiting: never received, or ordered already.
    #[error("order of block {} names the transaction at {}, which is not waiting", height.get(), tx.get())]
    TxNotWaiting {
        /// Its height.
        height: Height,
        /// Position of the transaction.
        tx: Seq,
    },
}

impl Backlog {
    /// Starts at a checkpoint: the last confirmed height and the mempool as of its order.
    #[must_use]
    pub fn at(last: Option<Height>, mempool: Mempool) -> Self {
        Self { last_ordered: last, mempool, ..Self::default() }
    }

    /// Takes up the next event.
    ///
    /// # Errors
    /// [`OrderError`] where an order contradicts what came before it.
    pub fn fold(&mut self, seq: Seq, event: &EventBody) -> Result<(), OrderError> {
        match event {
            EventBody::Patch(_) => self.patches = self.patches.saturating_add(1),
            EventBody::Tx(_) => self.receive(seq),
            EventBody::Order(order) => self.order(order)?,
            EventBody::Verdict(verdict) => {
                if verdict.ruling == Ruling::Release {
                    self.mempool.insert(verdict.tx);
                }
                self.verdicts.add(seq, verdict.tx, verdict.ruling.clone());
            }
        }
        Ok(())
    }

    /// Takes up a received transaction whose bytes need not be looked at.
    pub fn receive(&mut self, seq: Seq) {
        self.mempool.insert(seq);
    }

    /// Takes the last folded event back out of the mempool and the verdicts; [`Backlog::restore`] does the rest.
    pub(crate) fn unfold(&mut self, seq: Seq, event: &EventBody) {
        match event {
            EventBody::Patch(_) => {}
            EventBody::Tx(_) => drop(self.mempool.remove(seq)),
            EventBody::Order(order) => {
                for tx in &order.txs {
                    self.mempool.insert(*tx);
                }
            }
            EventBody::Verdict(verdict) => {
                if verdict.ruling == Ruling::Release {
                    self.mempool.remove(verdict.tx);
                }
                self.verdicts.remove_last(verdict.tx);
            }
        }
    }

    /// Returns everything but the mempool and the verdicts.
    pub(crate) fn marks(&self) -> Self {
        Self { mempool: Mempool::default(), verdicts: Verdicts::default(), ..*self }
    }

    /// Goes back to marks that were taken before.
    pub(crate) fn restore(&mut self, marks: &Self) {
        let (mempool, verdicts) =
            (std::mem::take(&mut self.mempool), std::mem::take(&mut self.verdicts));
        *self = Self { mempool, verdicts, ..*marks };
    }

    fn order(&mut self, order: &Order) -> Result<(), OrderError> {
        self.check(order.height, &order.txs)?;
        for tx in &order.txs {
            self.mempool.remove(*tx);
        }
        self.blocks = self.blocks.saturating_add(1);
        self.txs = self.txs.saturating_add(crate::codec::count(order.txs.len()));
        self.patches = 0;
        self.first = self.first.or(Some(order.height));
        self.last_ordered = Some(order.height);
        Ok(())
    }

    /// Says whether a block may be ordered next.
    ///
    /// # Errors
    /// [`OrderError`] where its height is not above the last one or too great, or a transaction is not waiting.
    pub fn check(&self, height: Height, txs: &[Seq]) -> Result<(), OrderError> {
        if height > Height::MAX {
            return Err(OrderError::HeightTooGreat { found: height });
        }
        if let Some(last) = self.last_ordered.filter(|last| height <= *last) {
            return Err(OrderError::HeightNotAscending { found: height, last });
        }
        let mut sorted = txs.to_vec();
        sorted.sort_unstable();
        let twice = sorted.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some(*a),
            _ => None,
        });
        let stranger = || txs.iter().find(|tx| !self.mempool.contains(**tx)).copied();
        match twice.or_else(stranger) {
            Some(tx) => Err(OrderError::TxNotWaiting { height, tx }),
            None => Ok(()),
        }
    }
}

/// The verdicts of a stretch of the log, by transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    by_tx: BTreeMap<Seq, Vec<(Seq, Ruling)>>,
}

impl Verdicts {
    /// Adds a verdict; verdicts are added in the order of their positions.
    pub fn add(&mut self, seq: Seq, tx: Seq, ruling: Ruling) {
        self.by_tx.entry(tx).or_default().push((seq, ruling));
    }

    /// Returns the verdict that keeps a transaction out of the block whose order stands at `order`, with its reason.
    ///
    /// It is the first verdict on the transaction after that order: what follows a release belongs to a later order.
    #[must_use]
    pub fn quarantine(&self, order: Seq, tx: Seq) -> Option<(Seq, &str)> {
        let after = self.by_tx.get(&tx)?.iter().find(|(seq, _)| *seq > order)?;
        match after {
            (seq, Ruling::Quarantine { reason, .. }) => Some((*seq, reason)),
            _ => None,
        }
    }

    /// Returns the verdict that released or discarded a transaction after the verdict that had kept it out.
    #[must_use]
    pub fn settled(&self, tx: Seq, quarantine: Seq) -> Option<Seq> {
        let mut after = self.by_tx.get(&tx)?.iter().filter(|(seq, _)| *seq > quarantine);
        let settles = |ruling: &Ruling| !matches!(ruling, Ruling::Quarantine { .. });
        after.find(|(_, ruling)| settles(ruling)).map(|(seq, _)| *seq)
    }

    /// Returns every verdict that keeps a transaction out: the transaction and the verdict.
    pub fn quarantines(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.by_tx.iter().flat_map(|(tx, verdicts)| {
            let kept_out =
                verdicts.iter().filter(|(_, ruling)| matches!(ruling, Ruling::Quarantine { .. }));
            kept_out.map(|(seq, _)| (*tx, *seq))
        })
    }

    fn remove_last(&mut self, tx: Seq) {
        if let Some(verdicts) = self.by_tx.get_mut(&tx) {
            verdicts.pop();
        }
    }

    /// Returns the last verdict on a transaction.
    #[must_use]
    pub fn last_on(&self, tx: Seq) -> Option<&Ruling> {
        self.by_tx.get(&tx)?.last().map(|(_, ruling)| ruling)
    }

    /// Returns the last verdict on each transaction.
    pub fn last(&self) -> impl Iterator<Item = (Seq, Seq, &Ruling)> {
        self.by_tx
            .iter()
            .filter_map(|(tx, verdicts)| verdicts.last().map(|(seq, ruling)| (*tx, *seq, ruling)))
    }
}

/// Finds the first of `count` blocks at which two histories part; `agrees` is asked O(log count) times.
///
/// Chain digests cover everything before them, so agreement at one block means agreement at all before it.
///
/// # Errors
/// Those of `agrees`.
pub fn first_difference<E>(
    count: u64,
    mut agrees: impl FnMut(u64) -> Result<bool, E>,
) -> Result<Option<u64>, E> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if agrees(middle)? {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    Ok((low < count).then_some(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Patch, Tx, Verdict};
    use crate::types::{Bytes, TxId};

    fn seq(number: u64) -> Seq {
        Seq::new(number).expect("not zero")
    }

    fn tx() -> EventBody {
        EventBody::Tx(Tx { id: TxId([1; 32]), payload: Bytes::default() })
    }

    fn order(height: u64, txs: &[u64]) -> EventBody {
        let txs = txs.iter().copied().map(seq).collect();
        EventBody::Order(Order { height: Height(height), header: Bytes::default(), txs })
    }

    fn verdict(tx: u64, ruling: Ruling) -> EventBody {
        EventBody::Verdict(Verdict { tx: seq(tx), ruling })
    }

    fn quarantine(reason: &str) -> Ruling {
        Ruling::Quarantine { reason: reason.to_owned(), attempts: 1 }
    }

    /// A log of each kind of event: the position of each is its place.
    fn events() -> Vec<EventBody> {
        vec![
            EventBody::Patch(Patch::default()),
            tx(),
            tx(),
            order(4, &[3, 2]),
            EventBody::Patch(Patch::default()),
            tx(),
            order(9, &[6]),
            verdict(6, quarantine("panicked")),
            verdict(6, Ruling::Release),
            tx(),
            EventBody::Patch(Patch::default()),
        ]
    }

    fn folded(events: &[EventBody]) -> Backlog {
        let mut backlog = Backlog::at(Some(Height(2)), Mempool::default());
        for (number, event) in (1..).zip(events) {
            backlog.fold(seq(number), event).expect("no contradiction");
        }
        backlog
    }

    #[test]
    fn a_backlog_begins_with_what_the_checkpoint_left() {
        let mut mempool = Mempool::default();
        mempool.insert(seq(1));
        let backlog = Backlog::at(Some(Height(2)), mempool.clone());
        assert_eq!((backlog.last_ordered, backlog.first), (Some(Height(2)), None));
        assert_eq!((&backlog.mempool, backlog.blocks), (&mempool, 0));
        let again = backlog.check(Height(2), &[]);
        assert!(matches!(again, Err(OrderError::HeightNotAscending { .. })), "{again:?}");
        assert_eq!(backlog.check(Height(3), &[seq(1)]), Ok(()));
    }

    #[test]
    fn what_waits_is_counted() {
        let backlog = folded(&events());
        assert_eq!((backlog.blocks, backlog.txs, backlog.patches), (2, 3, 1));
        assert_eq!(backlog.first, Some(Height(4)));
        assert_eq!(backlog.last_ordered, Some(Height(9)));
        assert!(backlog.mempool.iter().eq([6, 10].map(seq)), "{:?}", backlog.mempool);
        assert_eq!(backlog.verdicts.last_on(seq(6)), Some(&Ruling::Release));
    }

    #[test]
    fn an_event_that_is_taken_back_leaves_no_trace() {
        let events = events();
        for length in 1..=events.len() {
            let before = folded(&events[..length - 1]);
            let mut backlog = before.clone();
            let marks = backlog.marks();
            let (at, event) = (seq(length as u64), &events[length - 1]);
            backlog.fold(at, event).expect("no contradiction");
            assert_ne!(backlog, before, "event {length}");
            backlog.unfold(at, event);
            backlog.restore(&marks);
            // A transaction whose verdicts are all taken back may keep an empty list of them.
            backlog.verdicts.by_tx.retain(|_, verdicts| !verdicts.is_empty());
            assert_eq!(backlog, before, "event {length}");
        }
    }

    #[test]
    fn an_order_that_contradicts_the_log_is_refused_and_changes_nothing() {
        let backlog = folded(&events());
        let not_waiting =
            |height, tx| OrderError::TxNotWaiting { height: Height(height), tx: seq(tx) };
        let ascending =
            |found| OrderError::HeightNotAscending { found: Height(found), last: Height(9) };
        let beyond = Height::MAX.get() + 1;
        let cases = [
            (order(9, &[]), ascending(9)),
            (order(8, &[]), ascending(8)),
            (order(beyond, &[]), OrderError::HeightTooGreat { found: Height(beyond) }),
            (order(10, &[2]), not_waiting(10, 2)),
            (order(10, &[10, 10]), not_waiting(10, 10)),
            (order(10, &[6, 99, 98]), not_waiting(10, 99)),
        ];
        for (event, expected) in cases {
            let mut after = backlog.clone();
            assert_eq!(after.fold(seq(12), &event), Err(expected));
            assert_eq!(after, backlog);
        }
        for sound in [order(Height::MAX.get(), &[]), order(10, &[10, 6])] {
            assert_eq!(backlog.clone().fold(seq(12), &sound), Ok(()));
        }
    }

    #[test]
    fn the_first_verdict_after_an_order_counts_for_it() {
        let mut verdicts = Verdicts::default();
        verdicts.add(seq(10), seq(1), quarantine("first"));
        verdicts.add(seq(12), seq(1), Ruling::Release);
        verdicts.add(seq(14), seq(1), quarantine("second"));
        verdicts.add(seq(15), seq(2), Ruling::Discard);
        let kept_out = |order, tx| verdicts.quarantine(seq(order), seq(tx));
        assert_eq!(kept_out(9, 1), Some((seq(10), "first")));
        assert_eq!(kept_out(10, 1), None, "a release follows this order");
        assert_eq!(kept_out(13, 1), Some((seq(14), "second")));
        assert_eq!([kept_out(14, 1), kept_out(1, 2), kept_out(1, 3)], [None; 3]);
        let settled = |tx, verdict| verdicts.settled(seq(tx), seq(verdict));
        assert_eq!([settled(1, 10), settled(1, 12), settled(1, 14)], [Some(seq(12)), None, None]);
        assert_eq!([settled(2, 1), settled(3, 1)], [Some(seq(15)), None]);
        let all: Vec<_> = verdicts.quarantines().collect();
        assert_eq!(all, [(seq(1), seq(10)), (seq(1), seq(14))]);
        let last: Vec<_> = verdicts.last().map(|(tx, at, _)| (tx, at)).collect();
        assert_eq!(last, [(seq(1), seq(14)), (seq(2), seq(15))]);
        assert_eq!(verdicts.last_on(seq(2)), Some(&Ruling::Discard));
        assert_eq!(verdicts.last_on(seq(3)), None);
    }

    #[test]
    fn the_first_difference_is_found_with_few_questions() {
        for count in 0..40u64 {
            for parting in 0..=count {
                let mut asked = 0;
                let found = first_difference(count, |at| {
                    asked += 1;
                    assert!(at < count, "{at} is beyond the {count} blocks");
                    Ok::<_, ()>(at < parting)
                });
                assert_eq!(found, Ok((parting < count).then_some(parting)), "{count}");
                assert!(asked <= count.checked_ilog2().map_or(0, |log| log + 1), "{asked}");
            }
        }
        assert_eq!(first_difference(9, |_| Err("unreadable")), Err("unreadable"));
    }
}
