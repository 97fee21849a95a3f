//! The event log table: append, read, find.

use std::path::Path;

use rusqlite::{OptionalExtension, params};

use crate::codec::CodecError;
use crate::event::{EventBody, Kind};
use crate::store::connection::{Database, Durability};
use crate::store::events::{LogHead, StoredEvent, insert, read_event, read_head};
use crate::store::index::RecentIds;
use crate::store::medium::Medium;
use crate::store::tail::Tail;
use crate::store::witness::Witness;
use crate::store::{Problem, StoreError, migrate};
use crate::types::{Digest, Seq, TxId, UnixMillis};

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
    tail: Tail,
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
        let (witness, tail) = (witness(head)?, Tail::default());
        Ok(Self { database, witness, machine, head, recent: None, tail, armed: false })
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
        let Self { database, recent, head, .. } = self;
        let lot = recent.as_ref().filter(|recent| recent.is_full());
        let rows = database.transaction(|sql| {
            if let Some(lot) = lot {
                lot.write(sql, head.seq)?;
            }
            insert(sql, *head, now, events)
        })?;
        if lot.is_some() {
            self.recent = Some(RecentIds::indexed());
        }
        if let Some(recent) = &mut self.recent {
            for (event, row) in events.iter().zip(&rows) {
                if let EventBody::Tx(tx) = event {
                    recent.add(&tx.id, row.seq);
                }
            }
        }
        let head = rows.last().map_or(self.head, StoredEvent::head);
        self.head = head;
        self.tail.extend(rows);
        // CRASH: before this write the witness lags behind the durable log, which is harmless.
        let acknowledged = self.acknowledge(head);
        acknowledged.map_err(|error| self.database.commit_failed(error))?;
        Ok(Appended { first, head })
    }

    fn acknowledge(&mut self, head: LogHead) -> Result<(), StoreError> {
        self.witness.write(head)?;
        if self.database.checkpoint_if_large()? {
            self.witness.sync()?;
        }
        Ok(())
    }

    /// Makes what an earlier process left in the write-ahead log durable, before anything is acknowledged on top.
    ///
    /// After a failed sync the kernel takes the lost pages for clean: rows can be read that are on no disk.
    ///
    /// # Errors
    /// [`StoreError`] where the checkpoint does not succeed completely.
    pub fn arm(&mut self) -> Result<(), StoreError> {
        if !self.armed {
            self.database.checkpoint()?;
            self.database.sync_names()?;
            self.witness.write(self.head)?;
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
        if let Some(kept) = self.tail.from(from) {
            for event in kept {
                bytes = bytes.saturating_add(event.body.len());
                events.push(event.clone());
                if bytes >= bytes_max {
                    break;
                }
            }
            return Ok(events);
        }
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

    /// Finds the position of a transaction.
    ///
    /// # Errors
    /// As [`Log::find_event`].
    pub fn find_tx(&mut self, id: &TxId) -> Result<Option<Seq>, StoreError> {
        Ok(self.find_event(id)?.map(|event| event.seq))
    }

    /// Finds a transaction. Who asks takes it for acknowledged, so a log that failed gives no answer.
    ///
    /// # Errors
    /// [`StoreError`] where the index or the event cannot be read, or an append has failed.
    pub fn find_event(&mut self, id: &TxId) -> Result<Option<StoredEvent>, StoreError> {
        self.database.check()?;
        self.load_recent()?;
        let mut candidates = self.recent.as_ref().map(|recent| recent.find(id)).unwrap_or_default();
        if self.recent.as_ref().is_some_and(RecentIds::has_written) {
            candidates.extend(self.database.on(|sql| RecentIds::find_written(sql, id))?);
        }
        for seq in candidates {
            let event = self.event(seq)?;
            if event.body.starts_with(&id.0) {
                return Ok(Some(event));
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
