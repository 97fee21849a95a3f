//! The block table and the state: read, and written in checkpointed batches.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::block::{BlockRow, Receipts};
use crate::fail_point::Point;
use crate::machine::MachineVersion;
use crate::state::{StateDigest, StateError, StateRead};
use crate::store::blocks::{self, BlockBody, BlockWrite, Find, QuarantineWrite, StoredRow};
use crate::store::connection::{Database, Durability, pass};
use crate::store::medium::Medium;
use crate::store::{Problem, StoreError, migrate};
use crate::types::{Bytes, Digest, Height, Seq};

/// The open block table with the state.
pub struct Main {
    database: Database,
    machine: MachineVersion,
}

/// Blocks that are written together, with their net effects: one transaction, one checkpoint.
#[derive(Debug, Default)]
pub struct Batch {
    /// The blocks, ascending.
    pub blocks: Vec<BlockWrite>,
    /// Net writes to the state, ascending by key; `None` deletes.
    pub state: Vec<(Bytes, Option<Bytes>)>,
    /// Transactions that join the confirmed mempool.
    pub received: Vec<Seq>,
    /// Transactions that leave it.
    pub ordered: Vec<Seq>,
    /// Transactions that verdicts kept out.
    pub quarantined: Vec<QuarantineWrite>,
    /// Quarantined transactions that were released or discarded, with the position of that verdict.
    pub settled: Vec<(Seq, Seq)>,
    /// Version of the machine that executed the blocks.
    pub machine_version: u32,
}

/// A quarantined transaction of a confirmed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineRow {
    /// The transaction, its block and the verdict.
    pub entry: QuarantineWrite,
    /// Position of the verdict that released or discarded it.
    pub settled: Option<Seq>,
}

impl Main {
    /// Makes an empty block table.
    pub(crate) fn create(
        medium: &'static dyn Medium,
        file: &Path,
        machine: &MachineVersion,
    ) -> Result<(), StoreError> {
        let durability = Durability::AtCheckpoint;
        let mut database = Database::create(medium, file, &migrate::MAIN, durability)?;
        database.transaction(|sql| {
            sql.execute(
                "INSERT INTO main (id, machine, machine_version, lanes) VALUES (1, ?1, ?2, ?3)",
                params![machine.id, machine.version, StateDigest::default().to_bytes()],
            )
        })?;
        database.checkpoint()
    }

    pub(crate) fn open(medium: &'static dyn Medium, file: &Path) -> Result<Self, StoreError> {
        let database = Database::open(medium, file, &migrate::MAIN, Durability::AtCheckpoint)?;
        let machine = database.on(|sql| {
            sql.query_row("SELECT machine, machine_version FROM main WHERE id = 1", [], |row| {
                Ok(MachineVersion { id: row.get(0)?, version: row.get(1)? })
            })
            .optional()
        })?;
        let machine = machine.ok_or_else(|| {
            StoreError::new(file, Problem::Damaged("its one row of identity is gone".to_owned()))
        })?;
        Ok(Self { database, machine })
    }

    /// Returns the machine that made the blocks.
    #[must_use]
    pub const fn machine(&self) -> &MachineVersion {
        &self.machine
    }

    /// Returns the checkpoint: the last block; `None` before the first.
    ///
    /// # Errors
    /// [`StoreError`] where the row cannot be read or does not match its own digest.
    pub fn head(&self) -> Result<Option<BlockRow>, StoreError> {
        self.verified(Find::Last)
    }

    /// Returns the first block at or above a height.
    ///
    /// # Errors
    /// As [`Main::head`].
    pub fn block_from(&self, height: Height) -> Result<Option<BlockRow>, StoreError> {
        self.verified(Find::AtOrAbove(height))
    }

    /// Returns the last block at or below a height.
    ///
    /// # Errors
    /// As [`Main::head`].
    pub fn block_to(&self, height: Height) -> Result<Option<BlockRow>, StoreError> {
        self.verified(Find::AtOrBelow(height))
    }

    /// Returns the last block and the digest stored with it, whether or not they agree.
    ///
    /// # Errors
    /// [`StoreError`] where the row cannot be read.
    pub fn stored_head(&self) -> Result<Option<StoredRow>, StoreError> {
        self.database.on(|sql| blocks::find(sql, Find::Last))
    }

    /// Returns the last block at or below a height and the digest stored with it, whether or not they agree.
    ///
    /// # Errors
    /// [`StoreError`] where the row cannot be read.
    pub fn stored_block_to(&self, height: Height) -> Result<Option<StoredRow>, StoreError> {
        self.database.on(|sql| blocks::find(sql, Find::AtOrBelow(height)))
    }

    /// Returns the first block at or above a height and the digest stored with it, whether or not they agree.
    ///
    /// # Errors
    /// [`StoreError`] where the row cannot be read.
    pub fn stored_block_from(&self, height: Height) -> Result<Option<StoredRow>, StoreError> {
        self.database.on(|sql| blocks::find(sql, Find::AtOrAbove(height)))
    }

    /// Returns the large parts of a block.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read or are missing.
    pub fn body(&self, height: Height) -> Result<BlockBody, StoreError> {
        let body = self.database.on(|sql| blocks::read_body(sql, height))?;
        body.ok_or_else(|| self.damaged(height, "has lost its body"))
    }

    /// Returns the receipts of a block, which match the digest in its row.
    ///
    /// # Errors
    /// As [`Main::body`]; [`Problem::Damaged`] where they do not match it, [`Problem::Codec`] for bytes that are never
    /// written.
    pub fn receipts(&self, row: &BlockRow) -> Result<Receipts, StoreError> {
        let height = row.order.height;
        let body = self.body(height)?;
        if Digest::of(&body.receipts) != row.receipts_digest && !planted!("receipts_not_checked") {
            return Err(self.damaged(height, "has other receipts than its digest says"));
        }
        body.receipts().map_err(|error| self.codec(height, error))
    }

    /// Returns the accumulator under the state digest at the checkpoint.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read or is not that of the checkpoint's row.
    pub fn lanes(&self) -> Result<StateDigest, StoreError> {
        let lanes = self.stored_lanes()?;
        let said = self.database.on(|sql| blocks::find(sql, Find::Last))?;
        let said = said.and_then(|(row, _)| row.state_digest);
        if said.is_some_and(|said| said != lanes.digest()) {
            let text = "the lanes of the state digest are not those of the last block".to_owned();
            return Err(StoreError::new(&self.database.file, Problem::Damaged(text)));
        }
        Ok(lanes)
    }

    /// Returns the accumulator as it is stored, whether or not the checkpoint's row agrees.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    pub fn stored_lanes(&self) -> Result<StateDigest, StoreError> {
        let bytes: Vec<u8> = self
            .database
            .on(|sql| sql.query_row("SELECT lanes FROM main", [], |row| row.get(0)))?;
        StateDigest::from_bytes(&bytes).ok_or_else(|| {
            let text = "the lanes of the state digest have another length".to_owned();
            StoreError::new(&self.database.file, Problem::Damaged(text))
        })
    }

    /// Returns the transactions that were received before the checkpoint and are in no block, ascending.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read.
    pub fn unordered(&self) -> Result<Vec<Seq>, StoreError> {
        self.database.on(|sql| {
            let mut statement = sql.prepare("SELECT seq FROM unordered ORDER BY seq")?;
            let rows = statement.query_map([], |row| row.get(0).map(Seq::new))?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// Returns the quarantined transactions of one block, or with `None` those of all blocks that are still held.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read.
    pub fn quarantine(&self, block: Option<Height>) -> Result<Vec<QuarantineRow>, StoreError> {
        let filter = match block {
            Some(_) => "height = ?1",
            None => "settled_seq IS NULL AND height >= ?1",
        };
        self.database.on(|sql| {
            let mut statement = sql.prepare_cached(&format!(
                "SELECT tx_seq, height, verdict_seq, settled_seq FROM quarantine WHERE {filter} ORDER BY height, tx_seq"
            ))?;
            let rows = statement.query_map([block.unwrap_or_default().get()], |row| {
                let (tx, verdict) = (Seq::new(row.get(0)?), Seq::new(row.get(2)?));
                let height = Height(row.get(1)?);
                let settled = row.get::<_, Option<u64>>(3)?.and_then(Seq::new);
                Ok(tx.zip(verdict).map(|(tx, verdict)| QuarantineRow {
                    entry: QuarantineWrite { tx, height, verdict },
                    settled,
                }))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// Writes a batch in one transaction. `lanes` gives the accumulator under the state digest after its last block;
    /// it is asked last, so that it can be computed while the rest is written.
    ///
    /// # Errors
    /// [`StoreError`]; unless it is [`Problem::OutcomeUnknown`], nothing of the batch took effect.
    pub fn commit(
        &mut self,
        batch: &Batch,
        lanes: impl FnOnce() -> StateDigest,
    ) -> Result<(), StoreError> {
        self.database.pass(Point::CommitBegin)?;
        self.database.transaction(|sql| {
            for block in &batch.blocks {
                blocks::insert(sql, block)?;
            }
            pass(Point::CommitRows)?;
            if planted!("block_rows_in_a_transaction_of_their_own") {
                sql.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
            }
            write_state(sql, batch)?;
            pass(Point::CommitState)?;
            write_mempool(sql, batch)?;
            write_quarantine(sql, batch)?;
            let lanes = lanes();
            if let Some(last) = batch.blocks.last() {
                let height = last.row.order.height.get();
                sql.prepare_cached("UPDATE block SET state_digest = ?2 WHERE height = ?1")?
                    .execute(params![height, lanes.digest().0])?;
            }
            sql.prepare_cached("UPDATE main SET lanes = ?1, machine_version = ?2")?
                .execute(params![lanes.to_bytes(), batch.machine_version])?;
            pass(Point::CommitStaged)
        })?;
        self.machine.version = batch.machine_version;
        let passed = self.database.pass(Point::CommitCommitted);
        let moved = passed.and_then(|()| self.database.checkpoint_if_large());
        moved.map(drop).map_err(|error| self.database.commit_failed(error))
    }

    /// Moves the write-ahead log into the database; for an orderly end.
    ///
    /// # Errors
    /// [`StoreError`] where the checkpoint does not succeed completely.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.database.checkpoint()
    }

    /// Returns what is wrong with the pages and indexes of the file; reads all of it.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    pub fn flaws(&self) -> Result<Vec<String>, StoreError> {
        self.database.flaws()
    }

    /// Names a block whose bytes are not canonical.
    #[must_use]
    pub fn codec(&self, height: Height, error: crate::codec::CodecError) -> StoreError {
        let place = format!("block {}", height.get());
        StoreError::new(&self.database.file, Problem::Codec { place, error })
    }

    fn verified(&self, which: Find) -> Result<Option<BlockRow>, StoreError> {
        match self.database.on(|sql| blocks::find(sql, which))? {
            Some((row, digest)) if row.digest() == digest || planted!("row_digest_not_checked") => {
                Ok(Some(row))
            }
            Some((row, _)) => Err(self.damaged(row.order.height, "does not match its own digest")),
            None => Ok(None),
        }
    }

    fn damaged(&self, height: Height, what: &str) -> StoreError {
        let text = format!("block {} {what}", height.get());
        StoreError::new(&self.database.file, Problem::Damaged(text))
    }

    fn scan_state(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&Bytes, &Bytes),
    ) -> Result<(), StoreError> {
        self.database.on(|sql| {
            let mut statement =
                sql.prepare_cached("SELECT key, value FROM state WHERE key >= ?1 ORDER BY key")?;
            let mut rows = statement.query([prefix])?;
            while let Some(row) = rows.next()? {
                let key = row.get_ref(0)?.as_blob()?;
                if !key.starts_with(prefix) {
                    break;
                }
                visit(&key.into(), &row.get_ref(1)?.as_blob()?.into());
            }
            Ok(())
        })
    }

    fn read_state(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.database.on(|sql| {
            sql.prepare_cached("SELECT value FROM state WHERE key = ?1")?
                .query_row([key], |row| Ok(Bytes::from(row.get_ref(0)?.as_blob()?)))
                .optional()
        })
    }
}

impl StateRead for Main {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.read_state(key)?)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        Ok(self.scan_state(prefix, visit)?)
    }
}

fn write_state(sql: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut put = sql.prepare_cached(
        "INSERT INTO state (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?;
    let mut delete = sql.prepare_cached("DELETE FROM state WHERE key = ?1")?;
    for (key, value) in &batch.state {
        match value {
            Some(value) => put.execute(params![&**key, &**value])?,
            None if planted!("deletions_dropped") => 0,
            None => delete.execute(params![&**key])?,
        };
    }
    Ok(())
}

fn write_mempool(sql: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut leave = sql.prepare_cached("DELETE FROM unordered WHERE seq = ?1")?;
    for seq in batch.ordered.iter().filter(|_| !planted!("mempool_keeps_what_was_ordered")) {
        leave.execute([seq.get()])?;
    }
    let mut join = sql.prepare_cached("INSERT INTO unordered (seq) VALUES (?1)")?;
    for seq in &batch.received {
        join.execute([seq.get()])?;
    }
    Ok(())
}

fn write_quarantine(sql: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut hold = sql.prepare_cached(
        "INSERT INTO quarantine (tx_seq, height, verdict_seq) VALUES (?1, ?2, ?3)",
    )?;
    for entry in &batch.quarantined {
        hold.execute(params![entry.tx.get(), entry.height.get(), entry.verdict.get()])?;
    }
    // A transaction that was released and is quarantined once more is held by the later verdict.
    let mut settle = sql.prepare_cached(
        "UPDATE quarantine SET settled_seq = ?2 \
         WHERE tx_seq = ?1 AND verdict_seq < ?2 AND settled_seq IS NULL",
    )?;
    for (tx, verdict) in batch.settled.iter().filter(|_| !planted!("settlements_dropped")) {
        settle.execute(params![tx.get(), verdict.get()])?;
    }
    Ok(())
}
