//! The transaction index: exact look-up by identity, written in sorted lots.
//!
//! A row for each transaction in the order of arrival would touch a random page each, and with a log of ten million
//! that is one page written for every append. Lots of 65,536 are held in memory and written in the order of the
//! index, so that a page is touched once for all its new rows. What is in memory is read back from the events.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;
use rusqlite::{Connection, params};

use crate::event::Kind;
use crate::types::{Seq, TxId};

const LOT: usize = 65_536;

/// Identities that are not in the table yet.
#[derive(Debug, Default)]
pub(crate) struct RecentIds {
    by_prefix: HashMap<i64, Seq, RandomState>,
    /// Those whose prefix was there already.
    alike: HashMap<i64, Vec<Seq>>,
    count: usize,
    has_written: bool,
}

impl RecentIds {
    /// Starts after a lot that was written.
    pub(crate) fn indexed() -> Self {
        Self { has_written: true, ..Self::default() }
    }

    /// Reads the identities of the events that no lot has covered.
    pub(crate) fn load(sql: &Connection) -> rusqlite::Result<Self> {
        let indexed = sql.query_row("SELECT indexed FROM log", [], |row| row.get::<_, u64>(0))?;
        let mut recent = Self { has_written: indexed > 0, ..Self::default() };
        let mut statement =
            sql.prepare("SELECT seq, substr(body, 1, 8) FROM event WHERE seq > ?1 AND kind = ?2")?;
        let mut rows = statement.query(params![indexed, Kind::Tx.code()])?;
        while let Some(row) = rows.next()? {
            if let Some(seq) = Seq::new(row.get(0)?) {
                recent.add_prefix(i64::from_be_bytes(row.get(1)?), seq);
            }
        }
        Ok(recent)
    }

    /// Says whether the table holds anything.
    pub(crate) const fn has_written(&self) -> bool {
        self.has_written
    }

    /// Takes up one more identity.
    pub(crate) fn add(&mut self, id: &TxId, seq: Seq) {
        self.add_prefix(prefix(id), seq);
    }

    /// Says whether it is time to write the lot.
    pub(crate) const fn is_full(&self) -> bool {
        self.count >= LOT
    }

    /// Writes the lot, which covers every event up to `covered`.
    pub(crate) fn write(&self, sql: &Connection, covered: u64) -> rusqlite::Result<()> {
        let alike =
            self.alike.iter().flat_map(|(prefix, seqs)| seqs.iter().map(move |seq| (prefix, seq)));
        let rows = self.by_prefix.iter().chain(alike);
        let mut rows: Vec<_> = rows.map(|(prefix, seq)| (*prefix, seq.get())).collect();
        rows.sort_unstable();
        let mut statement =
            sql.prepare_cached("INSERT INTO tx_index (prefix, seq) VALUES (?1, ?2)")?;
        for (prefix, seq) in rows {
            statement.execute(params![prefix, seq])?;
        }
        sql.execute("UPDATE log SET indexed = ?1", [covered]).map(drop)
    }

    /// Returns the positions in memory that may be those of an identity.
    pub(crate) fn find(&self, id: &TxId) -> Vec<Seq> {
        let prefix = prefix(id);
        let alike = self.alike.get(&prefix).into_iter().flatten();
        self.by_prefix.get(&prefix).into_iter().chain(alike).copied().collect()
    }

    /// Returns the positions in the table that may be those of an identity.
    pub(crate) fn find_written(sql: &Connection, id: &TxId) -> rusqlite::Result<Vec<Seq>> {
        let mut statement = sql.prepare_cached("SELECT seq FROM tx_index WHERE prefix = ?1")?;
        let rows = statement.query_map([prefix(id)], |row| row.get(0).map(Seq::new))?;
        rows.filter_map(Result::transpose).collect()
    }

    fn add_prefix(&mut self, prefix: i64, seq: Seq) {
        match self.by_prefix.entry(prefix) {
            Entry::Vacant(vacant) => drop(vacant.insert(seq)),
            Entry::Occupied(_) => self.alike.entry(prefix).or_default().push(seq),
        }
        self.count = self.count.saturating_add(1);
    }
}

fn prefix(id: &TxId) -> i64 {
    i64::from_be_bytes(*id.0.first_chunk::<8>().unwrap_or(&[0; 8]))
}
