//! The sandbox database: rehearsed blocks and overlay entries that do not fit in memory. Disposable.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::fail_point::Point;
use crate::machine::MachineVersion;
use crate::store::connection::{Database, Durability, pass};
use crate::store::medium::Medium;
use crate::store::{Problem, StoreError, migrate};
use crate::types::{Bytes, Digest, Height};

/// An open sandbox database.
pub struct SandboxDb {
    database: Database,
}

/// What a rehearsal stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxBase {
    /// The machine that rehearsed.
    pub machine: MachineVersion,
    /// Digest of the checkpoint that the first rehearsed block follows.
    pub parent: Digest,
}

/// One entry of the state above the checkpoint; `None` where the key was deleted.
pub type OverlayEntry = (Bytes, Option<Bytes>);

impl SandboxDb {
    pub(crate) fn create(medium: &'static dyn Medium, file: &Path) -> Result<(), StoreError> {
        Database::create(medium, file, &migrate::SANDBOX, Durability::AtCheckpoint).map(drop)
    }

    pub(crate) fn open(
        medium: &'static dyn Medium,
        file: &Path,
    ) -> Result<Option<Self>, StoreError> {
        match Database::open(medium, file, &migrate::SANDBOX, Durability::AtCheckpoint) {
            Ok(database) => Ok(Some(Self { database })),
            Err(StoreError { problem: Problem::Missing, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns what the rehearsal stands on; `None` before anything was rehearsed.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    pub fn base(&self) -> Result<Option<SandboxBase>, StoreError> {
        self.database.on(|sql| {
            sql.query_row("SELECT machine, machine_version, parent FROM base", [], |row| {
                let machine = MachineVersion { id: row.get(0)?, version: row.get(1)? };
                Ok(SandboxBase { machine, parent: Digest(row.get(2)?) })
            })
            .optional()
        })
    }

    /// Starts a rehearsal on a base.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be written.
    pub fn start(&mut self, base: &SandboxBase) -> Result<(), StoreError> {
        self.database.transaction(|sql| {
            sql.execute("DELETE FROM overlay", [])?;
            sql.execute("DELETE FROM rehearsed", [])?;
            write_base(sql, base)
        })
    }

    /// Puts the rehearsal on another base, which the first block that is still needed follows.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be written.
    pub fn rebase(&mut self, base: &SandboxBase) -> Result<(), StoreError> {
        self.database.transaction(|sql| write_base(sql, base))
    }

    /// Adds rehearsed blocks, as bytes; one that is there already is written again.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be written.
    pub fn add_blocks<'a>(
        &mut self,
        blocks: impl Iterator<Item = (Height, &'a [u8])>,
    ) -> Result<(), StoreError> {
        self.database.transaction(|sql| {
            let mut insert = sql.prepare_cached(
                "INSERT OR REPLACE INTO rehearsed (height, body, digest) VALUES (?1, ?2, ?3)",
            )?;
            for (height, body) in blocks {
                insert.execute(params![height.get(), body, Digest::of(body).0])?;
            }
            pass(Point::SandboxBlocks)
        })?;
        self.database.checkpoint_if_large().map(drop)
    }

    /// Returns the bytes of the first rehearsed block at or above a height.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read or does not match its digest.
    pub fn block_from(&self, height: Height) -> Result<Option<(Height, Vec<u8>)>, StoreError> {
        let found = self.database.on(|sql| {
            sql.prepare_cached(
                "SELECT height, body, digest FROM rehearsed WHERE height >= ?1 ORDER BY height LIMIT 1",
            )?
            .query_row([height.get()], |row| {
                Ok((Height(row.get(0)?), row.get::<_, Vec<u8>>(1)?, Digest(row.get(2)?)))
            })
            .optional()
        })?;
        match found {
            Some((height, body, digest))
                if Digest::of(&body) == digest || planted!("sandbox_digest_not_checked") =>
            {
                Ok(Some((height, body)))
            }
            Some((height, ..)) => {
                let text = format!("rehearsed block {} does not match its digest", height.get());
                Err(StoreError::new(&self.database.file, Problem::Damaged(text)))
            }
            None => Ok(None),
        }
    }

    /// Names a rehearsed block whose bytes are never written so.
    #[must_use]
    pub fn codec(&self, height: Height, error: crate::codec::CodecError) -> StoreError {
        let place = format!("rehearsed block {}", height.get());
        StoreError::new(&self.database.file, Problem::Codec { place, error })
    }

    /// Writes entries of the state above the checkpoint.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be written.
    pub fn add_overlay<'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        self.database.transaction(|sql| {
            let mut insert =
                sql.prepare_cached("INSERT OR REPLACE INTO overlay (key, value) VALUES (?1, ?2)")?;
            for (key, value) in entries {
                insert.execute(params![&**key, value.as_deref()])?;
            }
            pass(Point::SandboxOverlay)
        })?;
        self.database.checkpoint_if_large().map(drop)
    }

    /// Drops every entry of the state above the checkpoint.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be written.
    pub fn clear_overlay(&mut self) -> Result<(), StoreError> {
        self.database.transaction(|sql| sql.execute("DELETE FROM overlay", []).map(drop))
    }

    /// Returns an entry of the state above the checkpoint: `None` where the key was not written,
    /// `Some(None)` where it was deleted.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    pub fn overlay(&self, key: &[u8]) -> Result<Option<Option<Bytes>>, StoreError> {
        self.database.on(|sql| {
            sql.prepare_cached("SELECT value FROM overlay WHERE key = ?1")?
                .query_row([key], |row| Ok(row.get_ref(0)?.as_blob_or_null()?.map(Bytes::from)))
                .optional()
        })
    }

    /// Returns the entries whose keys start with a prefix, ascending.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read.
    pub fn overlay_scan(&self, prefix: &[u8]) -> Result<Vec<OverlayEntry>, StoreError> {
        self.database.on(|sql| {
            let mut statement =
                sql.prepare_cached("SELECT key, value FROM overlay WHERE key >= ?1 ORDER BY key")?;
            let mut rows = statement.query([prefix])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                let key = row.get_ref(0)?.as_blob()?;
                if !key.starts_with(prefix) {
                    break;
                }
                let value = row.get_ref(1)?.as_blob_or_null()?.map(Bytes::from);
                entries.push((key.into(), value));
            }
            Ok(entries)
        })
    }
}

fn write_base(sql: &Connection, base: &SandboxBase) -> rusqlite::Result<()> {
    sql.execute(
        "INSERT OR REPLACE INTO base (id, machine, machine_version, parent) VALUES (1, ?1, ?2, ?3)",
        params![base.machine.id, base.machine.version, base.parent.0],
    )?;
    pass(Point::SandboxBase)
}
