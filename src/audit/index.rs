//! Compares the transaction index with the log: an identity that it lacks would be taken for a new one.

use crate::audit::finding::{Finding, Findings, What};
use crate::store::{IndexSum, Store, StoreError};
use crate::types::{Seq, TxId};

/// What the index has to hold, as far as the log was read.
pub(super) struct Indexed {
    /// The position up to which it is to hold every transaction, where that can be read.
    covered: Result<u64, StoreError>,
    expected: IndexSum,
    /// Stretches of events that do not tell what the index has to hold: disjoint, ascending.
    unknown: Vec<(Seq, Seq)>,
}

impl Indexed {
    /// Reads how far the index is to go.
    pub(super) fn new(store: &Store) -> Self {
        let covered = store.log().indexed();
        Self { covered, expected: IndexSum::default(), unknown: Vec::new() }
    }

    /// Takes up a transaction of the log.
    pub(super) fn add(&mut self, id: &TxId, seq: Seq) {
        if self.covers(seq) {
            self.expected.add(id, seq);
        }
    }

    /// Leaves out a stretch of events that are lost or damaged: the rows about them can be neither right nor wrong.
    pub(super) fn leave_out(&mut self, first: Seq, last: Seq) {
        match self.unknown.last_mut() {
            Some((_, end)) if first <= end.next() => *end = last.max(*end),
            _ => self.unknown.push((first, last)),
        }
    }

    /// Compares the rows from a position on, once the log was read from there to its end.
    pub(super) fn compare(&self, store: &Store, from: Seq, findings: &mut Findings) {
        let head = store.log().head().seq;
        let covered = match &self.covered {
            Ok(covered) if *covered > head => {
                let found = format!("an index up to event {covered}");
                let expected = format!("at most event {head}");
                findings.add(Finding::new(What::TxIndex, expected, found));
                return;
            }
            Ok(covered) => *covered,
            Err(error) => return findings.add(unreadable(error)),
        };
        let above = covered.max(from.get().saturating_sub(1));
        match store.log().strays(above, |seq| !self.is_unknown(seq)) {
            Ok(0) => {}
            Ok(found) => {
                let expected = format!("no rows of others than the events after {covered}");
                findings.add(Finding::new(What::TxIndex, expected, format!("{found} rows")));
            }
            Err(error) => return findings.add(unreadable(&error)),
        }
        match store.log().index(from, |seq| self.covers(seq) && !self.is_unknown(seq)) {
            Ok(found) if found == self.expected => {}
            Ok(found) => {
                let expected = format!("{} transactions up to event {covered}", self.expected.rows);
                let found = format!("{} rows, or other ones", found.rows);
                findings.add(Finding::new(What::TxIndex, expected, found));
            }
            Err(error) => findings.add(unreadable(&error)),
        }
    }

    fn covers(&self, seq: Seq) -> bool {
        self.covered.as_ref().is_ok_and(|covered| seq.get() <= *covered)
    }

    fn is_unknown(&self, seq: Seq) -> bool {
        let before = self.unknown.partition_point(|(first, _)| *first <= seq);
        let stretch = before.checked_sub(1).and_then(|index| self.unknown.get(index));
        stretch.is_some_and(|(_, last)| seq <= *last)
    }
}

fn unreadable(error: &StoreError) -> Finding {
    Finding::new(What::TxIndex, "an index", error.to_string())
}
