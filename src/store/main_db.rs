//! The block table and the state: read, and written in checkpointed batches.

use std::path::Path;

use rusqlite::{OptionalExtension, params};

use crate::block::{BlockRow, Receipts};
use crate::fail_point::Point;
use crate::machine::MachineVersion;
use crate::state::{StateDigest, StateError, StateRead};
use crate::store::batch::{Batch, Stretch};
use crate::store::blocks::{self, BlockBody, Find, StoredRow};
use crate::store::connection::{Database, Durability};
use crate::store::medium::Medium;
use crate::store::quarantine::{self, QuarantineRow};
use crate::store::{Problem, StoreError, entries, migrate, waiting};
use crate::types::{Bytes, Digest, Height, Seq};

/// The open block table with the state.
pub struct Main {
    database: Database,
    machine: MachineVersion,
    is_amid_batch: bool,
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
        Ok(Self { database, machine, is_amid_batch: false })
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
        let receipts = body.receipts_bytes();
        let receipts = receipts.map_err(|error| self.codec(height, error))?;
        if Digest::of(&receipts) != row.receipts_digest && !planted!("receipts_not_checked") {
            return Err(self.damaged(height, "has other receipts than its digest says"));
        }
        Receipts::decode(&receipts).map_err(|error| self.codec(height, error))
    }

    /// Returns the accumulator under the state digest at the checkpoint.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read or is not that of the checkpoint's row.
    pub fn lanes(&self) -> Result<StateDigest, StoreError> {
        let lanes = self.stored_lanes()?;
        let said = self.head()?.and_then(|row| row.state_digest);
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
    /// [`StoreError`] where they cannot be read, or are not all that were written.
    pub fn unordered(&self) -> Result<Vec<Seq>, StoreError> {
        self.database.on(waiting::read)
    }

    /// Returns the same as they are stored, whether or not their tags add up.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read.
    pub fn stored_unordered(&self) -> Result<Vec<Seq>, StoreError> {
        self.database.on(waiting::stored)
    }

    /// Returns the quarantined transactions of all blocks that are still held.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read, or are not all that were written.
    pub fn held(&self) -> Result<Vec<QuarantineRow>, StoreError> {
        self.database.on(quarantine::held)
    }

    /// Returns the quarantined transactions of a block.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read, or are not all that were written.
    pub fn quarantine(&self, block: &BlockRow) -> Result<Vec<QuarantineRow>, StoreError> {
        let height = block.order.height;
        let stored = self.stored_quarantine(height)?;
        let is_sound = crate::codec::count(stored.len()) == block.counts.quarantined
            && stored.iter().all(|(_, tag_holds)| *tag_holds);
        if is_sound || planted!("quarantine_rows_not_checked") {
            return Ok(stored.into_iter().map(|(row, _)| row).collect());
        }
        Err(self.damaged(height, "has other rows of quarantine than were written"))
    }

    /// Returns the quarantined transactions of a block as they are stored, and of each whether its tag vouches for it.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read.
    pub fn stored_quarantine(
        &self,
        height: Height,
    ) -> Result<Vec<(QuarantineRow, bool)>, StoreError> {
        self.database.on(|sql| quarantine::of_block(sql, height))
    }

    /// Begins to write a batch.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.database.pass(Point::CommitBegin)?;
        self.database.begin()?;
        self.is_amid_batch = true;
        Ok(())
    }

    /// Says whether a batch is half-written.
    pub(super) const fn is_amid_batch(&self) -> bool {
        self.is_amid_batch
    }

    /// Writes rows of the batch that was begun.
    pub(super) fn write(&mut self, stretch: &Stretch<'_>) -> Result<(), StoreError> {
        self.database.within(|sql| stretch.write(sql))
    }

    /// Commits the batch that was begun, with the accumulator under the state digest after its last block.
    pub(super) fn commit(&mut self, batch: &Batch, lanes: &StateDigest) -> Result<(), StoreError> {
        self.database.within(|sql| batch.finish(sql, lanes))?;
        self.database.commit()?;
        self.machine.version = batch.machine_version;
        let passed = self.database.pass(Point::CommitCommitted);
        let moved = passed.and_then(|()| self.database.checkpoint_if_large());
        moved.map(drop).map_err(|error| self.database.commit_failed(error))
    }

    /// Takes back what was written of a batch and is not committed.
    pub(super) fn end_batch(&mut self) {
        self.database.roll_back();
        self.is_amid_batch = false;
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

    /// Visits every entry of the state, ascending by key, and says of each whether its tag vouches for it.
    ///
    /// # Errors
    /// [`StoreError`] where the table cannot be read.
    pub fn stored_entries(
        &self,
        mut each: impl FnMut(&Bytes, &Bytes, bool),
    ) -> Result<(), StoreError> {
        self.database.on(|sql| {
            entries::visit_from(sql, &[], |key, value, is_vouched_for| {
                each(key, value, is_vouched_for);
                Ok(true)
            })
        })
    }

    /// Names a block whose bytes are not canonical.
    #[must_use]
    pub fn codec(&self, height: Height, error: crate::codec::CodecError) -> StoreError {
        let place = format!("block {}", height.get());
        StoreError::new(&self.database.file, Problem::Codec { place, error })
    }

    fn verified(&self, which: Find) -> Result<Option<BlockRow>, StoreError> {
        let Some(stored) = self.database.on(|sql| blocks::find(sql, which))? else {
            return Ok(None);
        };
        let StoredRow { row, digest, tag_holds } = stored;
        if row.digest() != digest && !planted!("row_digest_not_checked") {
            return Err(self.damaged(row.order.height, "does not match its own digest"));
        }
        if !tag_holds && !planted!("row_tag_not_checked") {
            return Err(self.damaged(row.order.height, "does not match its tag"));
        }
        Ok(Some(row))
    }

    fn damaged(&self, height: Height, what: &str) -> StoreError {
        let text = format!("block {} {what}", height.get());
        StoreError::new(&self.database.file, Problem::Damaged(text))
    }
}

impl StateRead for Main {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.database.on(|sql| entries::read(sql, key))?)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        Ok(self.database.on(|sql| entries::visit(sql, prefix, visit))?)
    }
}
