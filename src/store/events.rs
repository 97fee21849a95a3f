//! The rows of the event table: what they hold, and how they are read and written.

use rusqlite::{Connection, OptionalExtension};

use crate::codec::CodecError;
use crate::event::{EventBody, Kind, chain_digest};
use crate::types::{Digest, Seq, Slice, UnixMillis};

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
    /// Canonical bytes of the body, a stretch of the buffer that it was read or written with.
    pub body: Slice,
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

/// Where a lot of events was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first of them.
    pub first: Seq,
    /// The head after the last of them.
    pub head: LogHead,
}

pub(crate) fn read_head(sql: &Connection) -> rusqlite::Result<LogHead> {
    let head = sql
        .query_row("SELECT seq, chain FROM event ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok(LogHead { seq: row.get(0)?, chain: Digest(row.get(1)?) })
        })
        .optional()?;
    Ok(head.unwrap_or(LogHead::EMPTY))
}
