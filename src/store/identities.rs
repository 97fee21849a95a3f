//! Which transactions the log holds: those of the lot in memory exactly, all others by the filter or the index.

use rusqlite::Connection;

use crate::event::EventBody;
use crate::store::filter::Filter;
use crate::store::index::{RecentIds, prefix};
use crate::types::{Seq, TxId};

/// Rows of the index that the filter takes up with each event, after an opening.
const ROWS_BY_EVENT: usize = 4;

/// The identities of the log.
#[derive(Debug)]
pub(crate) struct Identities {
    recent: RecentIds,
    filter: Filter,
}

impl Identities {
    /// Starts with those that the index does not cover.
    pub(crate) fn new(recent: RecentIds) -> Self {
        let filter = Filter::new(!recent.has_written());
        Self { recent, filter }
    }

    /// Takes part in the transaction of an append of so many events after a position: writes the lot where it is full,
    /// and says whether it did.
    pub(crate) fn write(
        &mut self,
        sql: &Connection,
        head: u64,
        events: usize,
    ) -> rusqlite::Result<bool> {
        self.filter.catch_up(sql, events.saturating_mul(ROWS_BY_EVENT))?;
        let is_due = self.recent.is_full();
        if is_due {
            self.recent.write(sql, head)?;
        }
        Ok(is_due)
    }

    /// Starts the next lot, once one that covers all events up to a position is durable.
    pub(crate) fn start_over(&mut self, covered: u64) {
        for prefix in self.recent.prefixes() {
            self.filter.add(prefix);
        }
        self.recent.start_over(covered);
    }

    /// Takes up the transactions among events that are durable, of which the first is at a position.
    pub(crate) fn add(&mut self, first: Seq, events: &[EventBody]) {
        let mut seq = first;
        for event in events {
            if let EventBody::Tx(tx) = event {
                self.recent.add(&tx.id, seq, tx.payload.len());
            }
            seq = seq.next();
        }
    }

    /// Finds the position of an identity of the lot in memory.
    pub(crate) fn find(&self, id: &TxId) -> Option<Seq> {
        self.recent.find(id)
    }

    /// Says whether the index has to be looked at for an identity that is not in memory.
    pub(crate) fn may_be_written(&self, id: &TxId) -> bool {
        self.recent.has_written() && self.filter.may_hold(prefix(id))
    }
}
