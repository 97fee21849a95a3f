//! Which transactions the log holds: those of two lots in memory exactly, all others by the filter or the index.

use rusqlite::Connection;

use crate::event::EventBody;
use crate::store::filter::Filter;
use crate::store::index::{Leaving, Lot, prefix};
use crate::types::{Seq, TxId};

/// Rows of the index that the filter takes up for each event, after an opening.
const CAUGHT_UP_BY_EVENT: usize = 4;
/// Rows of the leaving lot that are written for each event, so that it has left before the next one is full.
const WRITTEN_BY_EVENT: usize = 2;
/// Rows of it that are worth a look at the index.
const WRITTEN_MIN: usize = 64;

/// The identities of the log.
#[derive(Debug)]
pub(crate) struct Identities {
    /// Takes up what is new.
    recent: Lot,
    /// The lot before, while it is being written.
    leaving: Option<Leaving>,
    /// The position up to which the index holds every transaction.
    covered: u64,
    filter: Filter,
    /// Rows that may be written with the next append.
    due: usize,
}

impl Identities {
    /// Starts with those that the index does not cover.
    pub(crate) fn new(recent: Lot, covered: u64) -> Self {
        let filter = Filter::new(covered == 0);
        Self { recent, leaving: None, covered, filter, due: 0 }
    }

    /// Takes part in the transaction of an append of so many events after a position: writes a stretch of the index, and
    /// returns the number of its rows.
    pub(crate) fn write(
        &mut self,
        sql: &Connection,
        head: u64,
        events: usize,
    ) -> rusqlite::Result<usize> {
        self.filter.catch_up(sql, events.saturating_mul(CAUGHT_UP_BY_EVENT))?;
        let due = if self.leaving.is_some() { self.due } else { 0 };
        self.due = due.saturating_add(events.saturating_mul(WRITTEN_BY_EVENT));
        let is_full = self.recent.is_full(self.covered);
        let rows_max = match (self.leaving.is_some(), is_full) {
            (false, true) => {
                self.leaving = Some(Leaving::new(std::mem::take(&mut self.recent), head));
                self.due
            }
            // Large transactions fill a lot early: no more than two are to be read after a crash.
            (true, true) => usize::MAX,
            (true, false) if self.due >= WRITTEN_MIN => self.due,
            _ => 0,
        };
        match &self.leaving {
            Some(leaving) if rows_max > 0 => leaving.write(sql, rows_max),
            _ => Ok(0),
        }
    }

    /// Takes note that so many rows of the index are durable.
    pub(crate) fn wrote(&mut self, rows: usize) {
        if rows > 0 {
            self.due = 0;
        }
        if let Some(leaving) = self.leaving.take_if(|leaving| leaving.wrote(rows)) {
            leaving.prefixes().for_each(|prefix| self.filter.add(prefix));
            self.covered = leaving.covers();
        }
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

    /// Finds the first position of an identity that is in memory.
    pub(crate) fn find(&self, id: &TxId) -> Option<Seq> {
        // Who logs without a look may log one twice: the older counts.
        let leaving = self.leaving.as_ref().and_then(|leaving| leaving.find(id));
        leaving.or_else(|| self.recent.find(id))
    }

    /// Says whether the index has to be looked at for an identity that is not in memory.
    pub(crate) fn may_be_written(&self, id: &TxId) -> bool {
        self.covered > 0 && self.filter.may_hold(prefix(id))
    }
}
