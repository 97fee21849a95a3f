//! Scans the event table: stretches of rows whose bodies share one buffer.

use rusqlite::{Connection, Row};

use crate::event::Kind;
use crate::store::StoredEvent;
use crate::types::{Digest, Seq, Slice, UnixMillis};

/// Bytes that a buffer has from the beginning, where so many are wanted.
const BUFFER_BYTES: usize = 512 << 10;

/// A stretch of rows, in their order.
#[derive(Default)]
pub(crate) struct Stretch {
    pub(crate) events: Vec<StoredEvent>,
    /// Why the row after them could not be read.
    pub(crate) failure: Option<Failure>,
}

/// Why a row cannot be read.
pub(crate) enum Failure {
    /// SQLite cannot read it, or a column holds something else.
    Sql(rusqlite::Error),
    /// It has no position or a kind unknown.
    Unknown,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Reads rows from a position on until their bodies have so many bytes; at least one where there is one.
pub(crate) fn scan(sql: &Connection, from: Seq, bytes_max: usize) -> Stretch {
    let buffer = Vec::with_capacity(bytes_max.min(BUFFER_BYTES));
    let mut reading = Reading { buffer, ..Reading::default() };
    let failure = reading.read(sql, from, bytes_max).err();
    Stretch { events: reading.finish(), failure }
}

/// Rows whose bodies are still being gathered.
#[derive(Default)]
struct Reading {
    events: Vec<StoredEvent>,
    ends: Vec<usize>,
    buffer: Vec<u8>,
}

impl Reading {
    fn read(&mut self, sql: &Connection, from: Seq, bytes_max: usize) -> Result<(), Failure> {
        let mut statement = sql.prepare_cached(
            "SELECT seq, kind, created, body, chain FROM event WHERE seq >= ?1 ORDER BY seq",
        )?;
        let mut rows = statement.query([from.get()])?;
        while let Some(row) = rows.next()? {
            self.take(row)?;
            if self.buffer.len() >= bytes_max {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        let (Some(seq), Some(kind)) = (Seq::new(row.get(0)?), Kind::from_code(row.get(1)?)) else {
            return Err(Failure::Unknown);
        };
        let created = row.get::<_, Option<u64>>(2)?.map(UnixMillis);
        let chain = Digest(row.get(4)?);
        match row.get_ref(3)?.as_blob() {
            Ok(body) => self.buffer.extend_from_slice(body),
            // Asked for so, it fails with the name of the column.
            Err(_) => self.buffer.extend(row.get::<_, Vec<u8>>(3)?),
        }
        self.events.push(StoredEvent { seq, kind, created, body: Slice::new(), chain });
        self.ends.push(self.buffer.len());
        Ok(())
    }

    fn finish(mut self) -> Vec<StoredEvent> {
        let buffer = Slice::from(self.buffer);
        let mut start = 0;
        for (event, end) in self.events.iter_mut().zip(self.ends) {
            event.body = buffer.slice(start..end);
            start = end;
        }
        self.events
    }
}
