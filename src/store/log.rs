//! The event log table: append, read, find.

use std::path::Path;

use rusqlite::{OptionalExtension, params};

use crate::codec::CodecError;
use crate::event::{EventBody, Kind};
use crate::fail_point::Point;
use crate::store::connection::{Database, Durability, pass};
use crate::store::events::{Appended, LogHead, StoredEvent, read_head};
use crate::store::identities::Identities;
use crate::store::index::{self, IndexSum, Lot};
use crate::store::insert::insert;
use crate::store::medium::Medium;
use crate::store::scan::{Failure, scan};
use crate::store::tail::Tail;
use crate::store::witness::Witness;
use crate::store::{Problem, StoreError, migrate};
use crate::types::{Digest, Seq, TxId, UnixMillis};

/// Bytes of bodies that are read at once where identities are gathered.
const RECENT_BYTES: usize = 1 << 20;

/// The open event log with its witness.
pub struct Log {
    database: Database,
    witness: Witness,
    machine: String,
    head: LogHead,
    identities: Option<Identities>,
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
        let head = database.on(read_head)?;
        let (witness, tail) = (witness(head)?, Tail::default());
        Ok(Self { database, witness, machine, head, identities: None, tail, armed: false })
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
        self.load_identities()?;
        self.database.pass(Point::AppendBegin)?;
        let Self { database, identities, head: before, .. } = self;
        let before = *before;
        let (indexed, (mut head, tail)) = database.transaction(|sql| {
            let indexed = match identities {
                Some(identities) => identities.write(sql, before.seq, events.len())?,
                None => 0,
            };
            let logged = insert(sql, before, now, events)?;
            pass(Point::AppendStaged)?;
            Ok((indexed, logged))
        })?;
        if let Some(identities) = identities {
            identities.wrote(indexed);
            identities.add(first, events);
        }
        if planted!("head_one_too_high") {
            head.seq = head.seq.saturating_add(1);
        }
        self.head = head;
        self.tail.follow(tail);
        // CRASH: before this write the witness lags behind the durable log, which is harmless.
        let acknowledged = self.acknowledge(head);
        acknowledged.map_err(|error| self.database.commit_failed(error))?;
        Ok(Appended { first, head })
    }

    fn acknowledge(&mut self, head: LogHead) -> Result<(), StoreError> {
        self.database.pass(Point::AppendCommitted)?;
        if !planted!("witness_not_written") {
            self.witness.write(head)?;
        }
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
        if !self.armed && !planted!("no_checkpoint_before_the_first_acknowledgement") {
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
        let kept = self.tail.copy(from, bytes_max).map(|kept| (kept, None));
        let (events, failure) = kept.unwrap_or_else(|| self.salvage(from, bytes_max));
        let mut expected = from;
        for event in &events {
            if event.seq != expected {
                return Err(self.damaged(expected, "is missing"));
            }
            expected = expected.next();
        }
        failure.map_or(Ok(events), Err)
    }

    /// Reads what can be read from a position on, as [`Log::read`] does: rows may be missing, and where one cannot be
    /// read the events before it come with the error.
    #[must_use]
    pub fn salvage(&self, from: Seq, bytes_max: usize) -> (Vec<StoredEvent>, Option<StoreError>) {
        let stretch = scan(&self.database.connection, from, bytes_max);
        let failure = stretch.failure.map(|failure| match failure {
            Failure::Sql(error) => StoreError::sql(&self.database.file, &error),
            Failure::Unknown => self.damaged(from, "or one after it has a kind unknown"),
        });
        (stretch.events, failure)
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
        let event = self.event(seq)?;
        self.verify_link(&event)?;
        Ok(event)
    }

    /// Returns the chain digest that is stored with the predecessor of an event; [`Digest::ZERO`] for the first.
    ///
    /// # Errors
    /// As [`Log::event`], of the predecessor.
    pub fn chain_before(&self, seq: Seq) -> Result<Digest, StoreError> {
        match Seq::new(seq.get().saturating_sub(1)) {
            Some(before) => self.chain(before),
            None => Ok(Digest::ZERO),
        }
    }

    /// Reads the chain digest of one event, and not its body, which may be large.
    fn chain(&self, seq: Seq) -> Result<Digest, StoreError> {
        if let Some(event) = self.tail.from(seq).and_then(|mut kept| kept.next()) {
            return Ok(event.chain);
        }
        let found = self.database.on(|sql| {
            sql.prepare_cached("SELECT chain FROM event WHERE seq = ?1")?
                .query_row([seq.get()], |row| row.get(0).map(Digest))
                .optional()
        })?;
        found.ok_or_else(|| self.damaged(seq, "is missing"))
    }

    /// Reads one event, verifies that it follows from its predecessor, and decodes its body.
    ///
    /// # Errors
    /// As [`Log::linked`]; [`Problem::Codec`] for bytes that are never written.
    pub fn body(&self, seq: Seq) -> Result<EventBody, StoreError> {
        let event = self.event(seq)?;
        let body = event.decode().map_err(|error| self.codec(seq, error))?;
        self.verify_link(&event)?;
        Ok(body)
    }

    /// Finds the position of a transaction.
    ///
    /// # Errors
    /// As [`Log::find_event`].
    pub fn find_tx(&mut self, id: &TxId) -> Result<Option<Seq>, StoreError> {
        // What is in memory was verified when it was read, or was written by this process.
        match self.find_recent(id)? {
            Some(seq) => Ok(Some(seq)),
            None => Ok(self.find_written(id)?.map(|event| event.seq)),
        }
    }

    /// Finds a transaction. Who asks takes it for acknowledged, so a log that failed gives no answer.
    ///
    /// # Errors
    /// [`StoreError`] where the index or the event cannot be read, or an append has failed.
    pub fn find_event(&mut self, id: &TxId) -> Result<Option<StoredEvent>, StoreError> {
        match self.find_recent(id)? {
            Some(seq) => self.linked(seq).map(Some),
            None => self.find_written(id),
        }
    }

    fn find_recent(&mut self, id: &TxId) -> Result<Option<Seq>, StoreError> {
        self.database.check()?;
        self.load_identities()?;
        let found = self.identities.as_ref().and_then(|identities| identities.find(id));
        Ok(found.filter(|_| !planted!("duplicates_not_recognised")))
    }

    /// Finds a transaction by the index; the identities have been loaded.
    fn find_written(&self, id: &TxId) -> Result<Option<StoredEvent>, StoreError> {
        if !self.identities.as_ref().is_some_and(|identities| identities.may_be_written(id)) {
            return Ok(None);
        }
        for seq in self.database.on(|sql| index::find(sql, id))? {
            let event = self.linked(seq)?;
            if event.body.starts_with(&id.0) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Returns the position up to which the transaction index is to hold every transaction; 0 where it holds none.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    pub fn indexed(&self) -> Result<u64, StoreError> {
        self.database.on(index::covered)
    }

    /// Sums up what the transaction index holds from a position on, of the positions that count.
    ///
    /// # Errors
    /// [`StoreError`] where the index cannot be read.
    pub fn index(&self, from: Seq, counts: impl Fn(Seq) -> bool) -> Result<IndexSum, StoreError> {
        self.database.on(|sql| IndexSum::of_table(sql, from, counts))
    }

    /// Counts rows of the transaction index above a position that are not those of their events, where it counts.
    ///
    /// # Errors
    /// [`StoreError`] where the index or the events cannot be read.
    pub fn strays(&self, above: u64, counts: impl Fn(Seq) -> bool) -> Result<u64, StoreError> {
        self.database.on(|sql| index::strays(sql, above, counts))
    }

    /// Returns what is wrong with the pages and indexes of the file; reads all of it.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    pub fn flaws(&self) -> Result<Vec<String>, StoreError> {
        self.database.flaws()
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

    /// Names an event that does not follow from its predecessor.
    pub(crate) fn unlinked(&self, seq: Seq) -> StoreError {
        self.damaged(seq, "does not follow from the event before it")
    }

    fn verify_link(&self, event: &StoredEvent) -> Result<(), StoreError> {
        let before = self.chain_before(event.seq)?;
        if event.chain_after(before) == event.chain || planted!("link_not_verified") {
            return Ok(());
        }
        Err(self.unlinked(event.seq))
    }

    fn load_identities(&mut self) -> Result<(), StoreError> {
        if self.identities.is_none() {
            self.identities = Some(self.read_identities()?);
        }
        Ok(())
    }

    /// Reads the identities that the index does not cover, and verifies each event on the way: start-up did not look at
    /// those before the checkpoint, and a damaged identity would be taken for a new one.
    fn read_identities(&self) -> Result<Identities, StoreError> {
        let covered = self.database.on(index::covered)?;
        let mut head = LogHead { seq: covered, chain: Digest::ZERO };
        head.chain = self.chain_before(head.next())?;
        let mut recent = Lot::default();
        loop {
            let (events, error) = self.salvage(head.next(), RECENT_BYTES);
            if events.is_empty() {
                return error.map_or_else(|| Ok(Identities::new(recent, covered)), Err);
            }
            for event in events {
                let next = head.next();
                if event.seq != next || event.chain_after(head.chain) != event.chain {
                    return Err(self.unlinked(next));
                }
                if let (Kind::Tx, Some(id)) = (event.kind, event.body.first_chunk()) {
                    recent.add(&TxId(*id), next, event.body.len());
                }
                head = event.head();
            }
        }
    }
}
