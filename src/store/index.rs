//! The transaction index: exact look-up by identity, written in sorted lots.
//!
//! A row for each transaction in the order of arrival would touch a random page each, and with a log of ten million
//! that is one page written for every append. Lots of 65,536 are held in memory and written in the order of the
//! index, so that a page is touched once for all its new rows. What is in memory is read back from the events.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::{Connection, params};

use crate::types::{Seq, TxId};

const LOT: usize = 65_536;
/// Bytes of transactions after which a lot is full as well: those of the last lot are read and verified at the first use.
const LOT_BYTES: usize = 64 << 20;

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

/// Identities that are not in the table yet.
#[derive(Debug, Default)]
pub(crate) struct RecentIds {
    /// The first position of each identity.
    seqs: HashMap<TxId, Seq, RandomState>,
    /// Their rows in the table, in order of arrival.
    rows: Vec<(i64, u64)>,
    bytes: usize,
    has_written: bool,
}

impl RecentIds {
    /// Starts after the events that lots have covered, up to a position; 0 where there are none.
    pub(crate) fn after(covered: u64) -> Self {
        Self { has_written: covered > 0, ..Self::default() }
    }

    /// Returns the position of the last event that a lot has covered; 0 where none has.
    pub(crate) fn covered(sql: &Connection) -> rusqlite::Result<u64> {
        sql.query_row("SELECT indexed FROM log", [], |row| row.get(0))
    }

    /// Says whether the table holds anything.
    pub(crate) const fn has_written(&self) -> bool {
        self.has_written
    }

    /// Takes up one more identity, of a transaction of so many bytes.
    pub(crate) fn add(&mut self, id: &TxId, seq: Seq, bytes: usize) {
        self.seqs.entry(*id).or_insert(seq);
        self.rows.push((prefix(id), seq.get()));
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Says whether it is time to write the lot.
    pub(crate) const fn is_full(&self) -> bool {
        self.rows.len() >= LOT || self.bytes >= LOT_BYTES
    }

    /// Writes the lot, which covers every event up to `covered`.
    pub(crate) fn write(&mut self, sql: &Connection, covered: u64) -> rusqlite::Result<()> {
        self.rows.sort_unstable();
        let mut statement =
            sql.prepare_cached("INSERT INTO tx_index (prefix, seq) VALUES (?1, ?2)")?;
        for (prefix, seq) in &self.rows {
            statement.execute(params![prefix, seq])?;
        }
        sql.execute("UPDATE log SET indexed = ?1", [covered]).map(drop)
    }

    /// Starts the next lot, after one that was written up to a position.
    pub(crate) fn start_over(&mut self, covered: u64) {
        self.seqs.clear();
        self.rows.clear();
        self.bytes = 0;
        self.has_written = covered > 0;
    }

    /// Returns the prefixes of the lot.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = i64> {
        self.rows.iter().map(|(prefix, _)| *prefix)
    }

    /// Returns the first position of an identity that is in memory.
    pub(crate) fn find(&self, id: &TxId) -> Option<Seq> {
        self.seqs.get(id).copied()
    }

    /// Returns the positions in the table that may be those of an identity.
    pub(crate) fn find_written(sql: &Connection, id: &TxId) -> rusqlite::Result<Vec<Seq>> {
        let mut statement = sql.prepare_cached("SELECT seq FROM tx_index WHERE prefix = ?1")?;
        let rows = statement.query_map([prefix(id)], |row| row.get(0).map(Seq::new))?;
        rows.filter_map(Result::transpose).collect()
    }
}

/// Returns the part of an identity that the table holds.
pub(crate) fn prefix(id: &TxId) -> i64 {
    i64::from_be_bytes(*id.0.first_chunk::<8>().unwrap_or(&[0; 8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lot_is_full_by_number_or_by_bytes() {
        let id = |number: usize| TxId([u8::try_from(number % 251).expect("a byte"); 32]);
        let (mut many, mut large) = (RecentIds::after(0), RecentIds::after(0));
        for number in 0..LOT - 1 {
            many.add(&id(number), Seq::FIRST, 100);
        }
        assert!(!many.is_full());
        many.add(&id(1), Seq::FIRST, 100);
        assert!(many.is_full());
        large.add(&id(1), Seq::FIRST, LOT_BYTES - 1);
        assert!(!large.is_full());
        large.add(&id(1), Seq::FIRST.next(), 1);
        assert!(large.is_full());
        assert_eq!(large.find(&id(1)), Some(Seq::FIRST), "the first position counts");
        assert!(!large.has_written() && RecentIds::after(7).has_written());
    }
}
