//! Compares the transaction index with the log: an identity that it lacks would be taken for a new one.

use crate::audit::finding::{Finding, Findings, What};
use crate::store::{IndexSum, Store};
use crate::types::{Seq, TxId};

/// What the index has to hold, as far as the log was read.
pub(super) struct Indexed {
    /// The position up to which it is to hold every transaction, and what it holds; `None` where it cannot be read.
    found: Option<(u64, IndexSum)>,
    expected: IndexSum,
}

impl Indexed {
    /// Reads the index for the events from a position on.
    pub(super) fn new(store: &Store, from: Seq) -> Self {
        // One that cannot be read is read again, and reported, by the comparison.
        Self { found: store.log().index(from).ok(), expected: IndexSum::default() }
    }

    /// Takes up a transaction of the log.
    pub(super) fn add(&mut self, id: &TxId, seq: Seq) {
        if self.found.is_some_and(|(indexed, _)| seq.get() <= indexed) {
            self.expected.add(id, seq);
        }
    }

    /// Compares, once the log was read up to its end.
    pub(super) fn compare(&self, store: &Store, from: Seq, findings: &mut Findings) {
        let head = store.log().head().seq;
        match &self.found {
            Some((indexed, _)) if *indexed > head => {
                let found = format!("an index up to event {indexed}");
                let expected = format!("at most event {head}");
                findings.add(Finding::new(What::TxIndex, expected, found));
            }
            Some((indexed, found)) if *found != self.expected => {
                let expected = format!("{} transactions up to event {indexed}", self.expected.rows);
                let found = format!("{} rows, or other ones", found.rows);
                findings.add(Finding::new(What::TxIndex, expected, found));
            }
            Some(_) => {}
            None => {
                if let Err(error) = store.log().index(from) {
                    findings.add(Finding::new(What::TxIndex, "an index", error.to_string()));
                }
            }
        }
    }
}
