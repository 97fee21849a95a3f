//! The rows of the event table: what they hold, and how they are read and written.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::codec::CodecError;
use crate::event::{EventBody, Kind, chain_digest};
use crate::store::StoreError;
use crate::store::connection::Database;
use crate::types::{Digest, Seq, UnixMillis};

/// How far the log goes: the number of events, and the chain digest of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Position of the last event; 0 for an empty log.
    pub seq: u64,
    /// Its chain digest; [`Digest::ZERO`] for an empty log.
    pub chain: Digest,
}

impl LogHead {
    /// The head of an empty log.
    pub const EMPTY: Self = Self { seq: 0, chain: Digest::ZERO };

    /// Returns the position of the next event.
    #[must_use]
    pub const fn next(self) -> Seq {
        match Seq::new(self.seq) {
            Some(seq) => seq.next(),
            None => Seq::FIRST,
        }
    }
}

/// An event as its row holds it: the body is not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Position.
    pub seq: Seq,
    /// Kind.
    pub kind: Kind,
    /// When it was logged; `None` in format 0.
    pub created: Option<UnixMillis>,
    /// Canonical bytes of the body.
    pub body: Vec<u8>,
    /// The chain digest that is stored with it.
    pub chain: Digest,
}

impl StoredEvent {
    /// Returns the head of a log that ends with it.
    #[must_use]
    pub const fn head(&self) -> LogHead {
        LogHead { seq: self.seq.get(), chain: self.chain }
    }

    /// Returns the chain digest that the event should have after `previous`.
    #[must_use]
    pub fn chain_after(&self, previous: Digest) -> Digest {
        chain_digest(previous, self.seq, self.kind, self.created, &self.body)
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that are never written.
    pub fn decode(&self) -> Result<EventBody, CodecError> {
        EventBody::decode(self.kind, &self.body)
    }
}

pub(crate) fn read_head(database: &Database) -> Result<LogHead, StoreError> {
    let head = database.on(|sql| {
        sql.query_row("SELECT seq, chain FROM event ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok(LogHead { seq: row.get(0)?, chain: Digest(row.get(1)?) })
        })
        .optional()
    })?;
    Ok(head.unwrap_or(LogHead::EMPTY))
}

pub(crate) fn read_event(row: &Row<'_>) -> rusqlite::Result<Option<StoredEvent>> {
    let (Some(seq), Some(kind)) = (Seq::new(row.get(0)?), Kind::from_code(row.get(1)?)) else {
        return Ok(None);
    };
    let created = row.get::<_, Option<u64>>(2)?.map(UnixMillis);
    Ok(Some(StoredEvent { seq, kind, created, body: row.get(3)?, chain: Digest(row.get(4)?) }))
}

/// Inserts events after a head, and returns them as their rows hold them.
pub(crate) fn insert(
    sql: &Connection,
    mut head: LogHead,
    now: UnixMillis,
    events: &[EventBody],
) -> rusqlite::Result<Vec<StoredEvent>> {
    let mut statement = sql.prepare_cached(
        "INSERT INTO event (seq, format, kind, created, body, chain) VALUES (?1, 1, ?2, ?3, ?4, ?5)",
    )?;
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let (seq, kind, created) = (head.next(), event.kind(), Some(now));
        let body = event.encode();
        let chain = chain_digest(head.chain, seq, kind, created, &body);
        statement.execute(params![seq.get(), kind.code(), now.0, body, chain.0])?;
        head = LogHead { seq: seq.get(), chain };
        rows.push(StoredEvent { seq, kind, created, body, chain });
    }
    Ok(rows)
}
