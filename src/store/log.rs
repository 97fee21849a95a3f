//! The event log table: append, read, find.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::codec::CodecError;
use crate::event::{EventBody, Kind, chain_digest};
use crate::fail_point::Point;
use crate::store::connection::{Database, Durability, pass};
use crate::store::index::RecentIds;
use crate::store::medium::Medium;
use crate::store::witness::Witness;
use crate::store::{Problem, StoreError, migrate};
use crate::types::{Digest, Seq, TxId, UnixMillis};

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

/// The open event log with its witness.
pub struct Log {
    database: Database,
    witness: Witness,
    machine: String,
    head: LogHead,
    recent: Option<RecentIds>,
    /// Whether the write-ahead log has been made durable since the opening.
    armed: bool,
}

impl Log {
    /// Makes an empty log.
    pub(crate) fn create(
        medium: &'static dyn Medium,
        log: &Path,
        witness: &Path,
        machine: &str,
    ) -> Result<(), StoreError> {
        let mut database = Database::create(medium, log, &migrate::LOG, Durability::EachCommit)?;
        database.transaction(|sql| {
            sql.execute("INSERT INTO log (id, machine) VALUES (1, ?1)", [machine])
        })?;
        database.checkpoint()?;
        Witness::create(medium, witness, LogHead::EMPTY)?;
        Ok(())
    }

    /// Opens the log; `witness` is opened by the caller, who decides what its absence means.
    pub(crate) fn open(
        medium: &'static dyn Medium,
        log: &Path,
        witness: impl FnOnce(LogHead) -> Result<Witness, StoreError>,
    ) -> Result<Self, StoreError> {
        let database = Database::open(medium, log, &migrate::LOG, Durability::EachCommit)?;
        let machine = database.on(|sql| {
            sql.query_row("SELECT machine FROM log WHERE id = 1", [], |row| row.get(0)).optional()
        })?;
        let machine = machine.ok_or_else(|| {
            StoreError::new(log, Problem::Damaged("its one row of identity is gone".to_owned()))
        })?;
        let head = read_head(&database)?;
        Ok(Self { database, witness: witness(head)?, machine, head, recent: None, armed: false })
    }

    /// Returns the name of the machine that the payloads are for.
    #[must_use]
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Returns how far the log goes.
    #[must_use]
    pub const fn head(&self) -> LogHead {
        self.head
    }

    /// Returns the highest position that was ever acknowledged, as the witness has it.
    #[must_use]
    pub const fn witness(&self) -> LogHead {
        self.witness.mark()
    }

    /// Appends events in one durable transaction. When this returns, they are acknowledged.
    ///
    /// # Errors
    /// [`StoreError`]; after [`Problem::OutcomeUnknown`] the log refuses further appends until it is opened again.
    pub fn append(
        &mut self,
        now: UnixMillis,
        events: &[EventBody],
    ) -> Result<Appended, StoreError> {
        let first = self.head.next();
        self.arm()?;
        self.load_recent()?;
        self.database.pass(Point::AppendBegin)?;
        let Self { database, recent, head, .. } = self;
        let lot = recent.as_ref().filter(|recent| recent.is_full());
        let head = database.transaction(|sql| {
            if let Some(lot) = lot {
                lot.write(sql, head.seq)?;
            }
            let head = insert(sql, *head, now, events)?;
            pass(Point::AppendStaged)?;
            Ok(head)
        })?;
        if lot.is_some() {
            self.recent = Some(RecentIds::default());
        }
        if let Some(recent) = &mut self.recent {
            let mut seq = first;
            for event in events {
                if let EventBody::Tx(tx) = event {
                    recent.add(&tx.id, seq);
                }
                seq = seq.next();
            }
        }
        self.head = head;
        // CRASH: before this write the witness lags behind the durable log, which is harmless.
        let acknowledged = self.acknowledge(head);
        acknowledged.map_err(|error| self.database.commit_failed(error))?;
        Ok(Appended { first, head })
    }

    fn acknowledge(&mut self, head: LogHead) -> Result<(), StoreError> {
        self.database.pass(Point::AppendCommitted)?;
        self.witness.write(head)?;
        if self.database.checkpoint_if_large()? {
            self.witness.sync()?;
        }
        self.database.pass(Point::AppendWitnessed)
    }

    /// Makes what an earlier process left in the write-ahead log durable, before anything is acknowledged on top.
    ///
    /// After a failed sync the kernel takes the lost pages for clean: rows can be read that are on no disk.
    ///
    /// # Errors
    /// [`StoreError`] where the checkpoint does not succeed completely.
    pub fn arm(&mut self) -> Result<(), StoreError> {
        if !self.armed {
            self.database.pass(Point::ArmBegin)?;
            self.database.checkpoint()?;
            self.database.pass(Point::ArmCheckpointed)?;
            self.database.sync_names()?;
            self.database.pass(Point::ArmNamed)?;
            self.witness.write(self.head)?;
            self.database.pass(Point::ArmWitness)?;
            self.witness.sync()?;
            self.armed = true;
        }
        Ok(())
    }

    /// Makes everything durable in its final place; for an orderly end.
    ///
    /// # Errors
    /// [`StoreError`] where the checkpoint does not succeed completely.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if self.armed {
            self.database.checkpoint()?;
            self.witness.sync()?;
        }
        Ok(())
    }

    /// Reads events from a position on, in order, until `bytes_max` bytes of bodies are read; at least one where there is one.
    ///
    /// # Errors
    /// [`StoreError`] where rows cannot be read or are not dense.
    pub fn read(&self, from: Seq, bytes_max: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut expected = from;
        let mut bytes = 0usize;
        let mut events = Vec::new();
        self.visit(from, |event| {
            if event.seq != expected {
                return Err(self.damaged(expected, "is missing"));
            }
            expected = expected.next();
            bytes = bytes.saturating_add(event.body.len());
            events.push(event);
            Ok(bytes < bytes_max)
        })?;
        Ok(events)
    }

    /// Reads what can be read from a position on, as [`Log::read`] does: rows may be missing, and where one cannot be
    /// read the events before it come with the error.
    #[must_use]
    pub fn salvage(&self, from: Seq, bytes_max: usize) -> (Vec<StoredEvent>, Option<StoreError>) {
        let mut bytes = 0usize;
        let mut events = Vec::new();
        let visited = self.visit(from, |event| {
            bytes = bytes.saturating_add(event.body.len());
            events.push(event);
            Ok(bytes < bytes_max)
        });
        (events, visited.err())
    }

    /// Reads one event.
    ///
    /// # Errors
    /// [`StoreError`] where it is not there or cannot be read.
    pub fn event(&self, seq: Seq) -> Result<StoredEvent, StoreError> {
        let mut found = self.read(seq, 1)?;
        found.pop().ok_or_else(|| self.damaged(seq, "is missing"))
    }

    /// Reads one event and verifies that it follows from its predecessor.
    ///
    /// # Errors
    /// As [`Log::event`]; [`Problem::Damaged`] where the link does not hold.
    pub fn linked(&self, seq: Seq) -> Result<StoredEvent, StoreError> {
        let before = self.chain_before(seq)?;
        let event = self.event(seq)?;
        if event.chain_after(before) == event.chain {
            return Ok(event);
        }
        Err(self.damaged(seq, "does not follow from the event before it"))
    }

    /// Returns the chain digest that is stored with the predecessor of an event; [`Digest::ZERO`] for the first.
    ///
    /// # Errors
    /// As [`Log::event`], of the predecessor.
    pub fn chain_before(&self, seq: Seq) -> Result<Digest, StoreError> {
        match Seq::new(seq.get().saturating_sub(1)) {
            Some(before) => Ok(self.event(before)?.chain),
            None => Ok(Digest::ZERO),
        }
    }

    /// Reads one event and decodes its body.
    ///
    /// # Errors
    /// As [`Log::event`]; [`Problem::Codec`] for bytes that are never written.
    pub fn body(&self, seq: Seq) -> Result<EventBody, StoreError> {
        let event = self.event(seq)?;
        event.decode().map_err(|error| self.codec(seq, error))
    }

    /// Finds the position of a transaction. Who asks takes it for acknowledged, so a log that failed gives no answer.
    ///
    /// # Errors
    /// [`StoreError`] where the index or the event cannot be read, or an append has failed.
    pub fn find_tx(&mut self, id: &TxId) -> Result<Option<Seq>, StoreError> {
        self.database.check()?;
        self.load_recent()?;
        let mut candidates = self.recent.as_ref().map(|recent| recent.find(id)).unwrap_or_default();
        candidates.extend(self.database.on(|sql| RecentIds::find_written(sql, id))?);
        for seq in candidates {
            if self.event(seq)?.body.starts_with(&id.0) {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }

    /// Says whether there is an order above one position and below another.
    ///
    /// # Errors
    /// [`StoreError`] where rows cannot be read.
    pub fn has_order_between(&self, above: u64, below: Seq) -> Result<bool, StoreError> {
        self.database.on(|sql| {
            sql.prepare_cached("SELECT 1 FROM event WHERE seq > ?1 AND seq < ?2 AND kind = ?3")?
                .exists(params![above, below.get(), Kind::Order.code()])
        })
    }

    /// Names an event whose bytes are not canonical.
    #[must_use]
    pub fn codec(&self, seq: Seq, error: CodecError) -> StoreError {
        let place = format!("event {}", seq.get());
        StoreError::new(&self.database.file, Problem::Codec { place, error })
    }

    /// Names an event that is not as it must be.
    pub(crate) fn damaged(&self, seq: Seq, what: &str) -> StoreError {
        let text = format!("event {} {what}", seq.get());
        StoreError::new(&self.database.file, Problem::Damaged(text))
    }

    fn load_recent(&mut self) -> Result<(), StoreError> {
        if self.recent.is_none() {
            self.recent = Some(self.database.on(RecentIds::load)?);
        }
        Ok(())
    }

    fn visit(
        &self,
        from: Seq,
        mut each: impl FnMut(StoredEvent) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let sql = |error: &rusqlite::Error| StoreError::sql(&self.database.file, error);
        let mut statement = self
            .database
            .connection
            .prepare_cached(
                "SELECT seq, kind, created, body, chain FROM event WHERE seq >= ?1 ORDER BY seq",
            )
            .map_err(|error| sql(&error))?;
        let mut rows = statement.query([from.get()]).map_err(|error| sql(&error))?;
        while let Some(row) = rows.next().map_err(|error| sql(&error))? {
            let event = read_event(row).map_err(|error| sql(&error))?;
            let event =
                event.ok_or_else(|| self.damaged(from, "or one after it has a kind unknown"))?;
            if !each(event)? {
                break;
            }
        }
        Ok(())
    }
}

fn read_head(database: &Database) -> Result<LogHead, StoreError> {
    let head = database.on(|sql| {
        sql.query_row("SELECT seq, chain FROM event ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok(LogHead { seq: row.get(0)?, chain: Digest(row.get(1)?) })
        })
        .optional()
    })?;
    Ok(head.unwrap_or(LogHead::EMPTY))
}

fn read_event(row: &Row<'_>) -> rusqlite::Result<Option<StoredEvent>> {
    let (Some(seq), Some(kind)) = (Seq::new(row.get(0)?), Kind::from_code(row.get(1)?)) else {
        return Ok(None);
    };
    let created = row.get::<_, Option<u64>>(2)?.map(UnixMillis);
    Ok(Some(StoredEvent { seq, kind, created, body: row.get(3)?, chain: Digest(row.get(4)?) }))
}

fn insert(
    sql: &Connection,
    mut head: LogHead,
    now: UnixMillis,
    events: &[EventBody],
) -> rusqlite::Result<LogHead> {
    let mut statement = sql.prepare_cached(
        "INSERT INTO event (seq, format, kind, created, body, chain) VALUES (?1, 1, ?2, ?3, ?4, ?5)",
    )?;
    for event in events {
        let seq = head.next();
        let body = event.encode();
        let chain = chain_digest(head.chain, seq, event.kind(), Some(now), &body);
        statement.execute(params![seq.get(), event.kind().code(), now.0, body, chain.0])?;
        head = LogHead { seq: seq.get(), chain };
    }
    Ok(head)
}
