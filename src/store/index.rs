//! The transaction index: exact look-up by identity, written in sorted lots.
//!
//! A row for each transaction in the order of arrival would touch a random page each, and with a log of ten million
//! that is one page written for every append. Lots are held in memory and written in the order of the index, so that a
//! page is touched once for all its new rows: a stretch of the lot with each append, so that none pays for all of it.
//! What is in memory is read back from the events.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::Connection;

use crate::store::many_rows::ManyRows;
use crate::types::{Seq, TxId};

/// Transactions of a lot, at least.
const LOT_MIN: u64 = 65_536;
/// Transactions of a lot, at most: their identities are in memory, and their events are read at the first use.
const LOT_MAX: u64 = 262_144;
/// A lot is this part of what the index covers: the more pages there are, the more rows share the writing of one.
const LOT_SHARE: u64 = 8;
/// Bytes of transactions after which a lot is full as well: two lots are read and verified at the first use, at most.
const LOT_BYTES: usize = 32 << 20;

/// Which identities the table holds, as a sum that does not depend on their order: enough to notice damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexSum {
    /// Rows.
    pub rows: u64,
    sum: u128,
}

impl IndexSum {
    /// Adds the row of a transaction.
    pub fn add(&mut self, id: &TxId, seq: Seq) {
        self.add_row(prefix(id), seq.get());
    }

    /// Sums up the rows from a position on, of the positions that count.
    pub(crate) fn of_table(
        sql: &Connection,
        from: Seq,
        counts: impl Fn(Seq) -> bool,
    ) -> rusqlite::Result<Self> {
        let mut statement = sql.prepare("SELECT prefix, seq FROM tx_index WHERE seq >= ?1")?;
        let mut rows = statement.query([from.get()])?;
        let mut sum = Self::default();
        while let Some(row) = rows.next()? {
            let seq: u64 = row.get(1)?;
            if Seq::new(seq).is_none_or(&counts) {
                sum.add_row(row.get(0)?, seq);
            }
        }
        Ok(sum)
    }

    fn add_row(&mut self, prefix: i64, seq: u64) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&prefix.to_le_bytes()).update(&seq.to_le_bytes());
        let digest = hasher.finalize();
        let first = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(first));
        self.rows = self.rows.saturating_add(1);
    }
}

/// Returns the position up to which the table holds every transaction; 0 where it holds none.
pub(crate) fn covered(sql: &Connection) -> rusqlite::Result<u64> {
    sql.query_row("SELECT indexed FROM log", [], |row| row.get(0))
}

/// Returns the positions in the table that may be those of an identity.
pub(crate) fn find(sql: &Connection, id: &TxId) -> rusqlite::Result<Vec<Seq>> {
    let mut statement = sql.prepare_cached("SELECT seq FROM tx_index WHERE prefix = ?1")?;
    let rows = statement.query_map([prefix(id)], |row| row.get(0).map(Seq::new))?;
    rows.filter_map(Result::transpose).collect()
}

/// Counts the rows above a position that are not those of their events, of the positions that count.
///
/// A lot that was not written to its end has left rows beyond what the table covers.
pub(crate) fn strays(
    sql: &Connection,
    above: u64,
    counts: impl Fn(Seq) -> bool,
) -> rusqlite::Result<u64> {
    let mut statement = sql.prepare(
        "SELECT i.seq, i.prefix, substr(e.body, 1, 8) FROM tx_index i
         LEFT JOIN event e ON e.seq = i.seq AND e.kind = 2 WHERE i.seq > ?1",
    )?;
    let mut rows = statement.query([above])?;
    let mut strays = 0u64;
    while let Some(row) = rows.next()? {
        let (seq, prefix): (u64, i64) = (row.get(0)?, row.get(1)?);
        let body: Option<Vec<u8>> = row.get(2)?;
        let is_own = body.is_some_and(|body| *body == prefix.to_be_bytes());
        if !is_own && Seq::new(seq).is_none_or(&counts) {
            strays = strays.saturating_add(1);
        }
    }
    Ok(strays)
}

/// Identities that are not in the table yet, or not all of them.
#[derive(Debug, Default)]
pub(crate) struct Lot {
    /// The first position of each identity.
    seqs: HashMap<TxId, Seq, RandomState>,
    /// Their rows in the table.
    rows: Vec<(i64, u64)>,
    bytes: usize,
}

impl Lot {
    /// Takes up one more identity, of a transaction of so many bytes.
    pub(crate) fn add(&mut self, id: &TxId, seq: Seq, bytes: usize) {
        self.seqs.entry(*id).or_insert(seq);
        self.rows.push((prefix(id), seq.get()));
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Says whether it is time to write the lot, where the table covers so many events.
    pub(crate) fn is_full(&self, covered: u64) -> bool {
        let most = covered.checked_div(LOT_SHARE).unwrap_or(0).clamp(LOT_MIN, LOT_MAX);
        crate::codec::count(self.rows.len()) >= most || self.bytes >= LOT_BYTES
    }

    /// Returns the first position of an identity.
    pub(crate) fn find(&self, id: &TxId) -> Option<Seq> {
        self.seqs.get(id).copied()
    }
}

/// A lot that is being written, a stretch of it at a time, and covers every event up to a position at its end.
#[derive(Debug)]
pub(crate) struct Leaving {
    lot: Lot,
    covers: u64,
    /// Rows that are durable.
    written: usize,
}

impl Leaving {
    /// Takes a lot to be written.
    pub(crate) fn new(mut lot: Lot, covers: u64) -> Self {
        lot.rows.sort_unstable();
        Self { lot, covers, written: 0 }
    }

    /// Writes the next rows; returns how many.
    ///
    /// Those that a process wrote before it could end the lot are there already.
    pub(crate) fn write(&self, sql: &Connection, rows_max: usize) -> rusqlite::Result<usize> {
        let left = self.lot.rows.get(self.written..).unwrap_or_default();
        let rows = left.get(..rows_max).unwrap_or(left);
        let insert = "INSERT OR IGNORE INTO tx_index (prefix, seq)";
        ManyRows::new(sql, [insert, "(?, ?)"])?.insert(rows, |statement, [prefix, seq], row| {
            statement.raw_bind_parameter(prefix, row.0)?;
            statement.raw_bind_parameter(seq, row.1)
        })?;
        if rows.len() == left.len() {
            sql.execute("UPDATE log SET indexed = ?1", [self.covers])?;
        }
        Ok(rows.len())
    }

    /// Takes note that so many more rows are durable; says whether that are all.
    pub(crate) fn wrote(&mut self, rows: usize) -> bool {
        self.written = self.written.saturating_add(rows);
        self.written >= self.lot.rows.len()
    }

    /// Returns the position up to which the table holds every transaction once the lot is written.
    pub(crate) const fn covers(&self) -> u64 {
        self.covers
    }

    /// Returns the prefixes of the lot.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = i64> {
        self.lot.rows.iter().map(|(prefix, _)| *prefix)
    }

    /// Returns the first position of an identity.
    pub(crate) fn find(&self, id: &TxId) -> Option<Seq> {
        self.lot.find(id)
    }
}

/// Returns the part of an identity that the table holds.
pub(crate) fn prefix(id: &TxId) -> i64 {
    i64::from_be_bytes(*id.0.first_chunk::<8>().unwrap_or(&[0; 8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> TxId {
        TxId([u8::try_from(number % 251).expect("a byte"); 32])
    }

    fn lot(length: u64, bytes: usize) -> Lot {
        let mut lot = Lot::default();
        (1..=length).filter_map(Seq::new).for_each(|seq| lot.add(&id(1), seq, bytes));
        lot
    }

    #[test]
    fn a_lot_is_full_by_number_or_by_bytes() {
        for (length, bytes, covered, is_full) in [
            (LOT_MIN - 1, 100, 0, false),
            (LOT_MIN, 100, 0, true),
            (LOT_MIN, 100, LOT_MIN * LOT_SHARE, true),
            (LOT_MIN, 100, (LOT_MIN + 1) * LOT_SHARE, false),
            (LOT_MIN + 1, 100, (LOT_MIN + 1) * LOT_SHARE, true),
            (LOT_MAX - 1, 100, u64::MAX, false),
            (LOT_MAX, 100, u64::MAX, true),
            (1, LOT_BYTES - 1, 0, false),
            (2, LOT_BYTES / 2, 0, true),
        ] {
            let found = lot(length, bytes).is_full(covered);
            assert_eq!(found, is_full, "{length} of {bytes} bytes after {covered}");
        }
        assert_eq!(lot(2, 1).find(&id(1)), Some(Seq::FIRST), "the first position counts");
    }

    #[test]
    fn a_lot_is_written_in_stretches_and_covers_its_events_at_the_end() {
        let sql = Connection::open_in_memory().expect("a database");
        sql.execute_batch(include_str!("../../migrations/log/0001_event_log.sql")).expect("tables");
        sql.execute("INSERT INTO log (id, machine) VALUES (1, 'x')", []).expect("a row");
        let rows = || -> u64 {
            let rows = sql.query_row("SELECT count(*) FROM tx_index", [], |row| row.get(0));
            rows.expect("a number")
        };
        let mut leaving = Leaving::new(lot(5, 1), 7);
        for (rows_max, written, all, is_end) in
            [(2, 2, 2, false), (2, 2, 4, false), (9, 1, 5, true)]
        {
            assert_eq!(covered(&sql), Ok(0));
            assert_eq!(leaving.write(&sql, rows_max), Ok(written));
            assert_eq!((rows(), leaving.wrote(written)), (all, is_end));
        }
        assert_eq!((covered(&sql), leaving.covers()), (Ok(7), 7));
        let again = Leaving::new(lot(6, 1), 8);
        assert_eq!(again.write(&sql, 9), Ok(6), "what is there already is written once");
        assert_eq!((rows(), covered(&sql)), (6, Ok(8)));
        assert_eq!(find(&sql, &id(1)).expect("positions").len(), 6);
    }
}
