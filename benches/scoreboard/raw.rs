//! The other side: SQLite as it is, with the settings and the schema of the log and nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rewake::types::{Bytes, Digest};
use rusqlite::{Connection, OpenFlags, params};

/// Bytes at which the write-ahead log is moved into the database, as the log does.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// Rows of the index that are written at once, in its order.
const INDEX_LOT: usize = 65_536;

/// A row of the event table.
pub(crate) struct EventRow {
    pub(crate) body: Vec<u8>,
    pub(crate) chain: Digest,
}

/// Opens a database with the settings of the log.
pub(crate) fn open(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let sql = Connection::open_with_flags(format!("file:{}?psow=0", file.display()), flags)?;
    let settings = [
        ("page_size", "4096"),
        ("locking_mode", "exclusive"),
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("wal_autocheckpoint", "0"),
        ("mmap_size", "0"),
        ("temp_store", "2"),
        ("cache_spill", "0"),
        ("cell_size_check", "1"),
        ("cache_size", "-16384"),
    ];
    for (name, value) in settings {
        sql.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(
            |error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                other => Err(other),
            },
        )?;
    }
    Ok(sql)
}

/// Inserts rows in lots, each durable, and those of the index as well where it is given: whole sorted lots of it.
pub(crate) fn insert(
    dir: &Path,
    rows: &[EventRow],
    index: &[(i64, u64)],
    lot: usize,
) -> Result<Duration> {
    let file = dir.join("raw.db");
    let mut sql = open(&file)?;
    sql.execute_batch(include_str!("../../migrations/log/0001_event_log.sql"))?;
    let started = Instant::now();
    let (mut seq, mut lots) = (0usize, index.chunks_exact(INDEX_LOT));
    for events in rows.chunks(lot) {
        let transaction = sql.transaction()?;
        if seq / INDEX_LOT < (seq + events.len()) / INDEX_LOT {
            let mut statement =
                transaction.prepare_cached("INSERT INTO tx_index (prefix, seq) VALUES (?1, ?2)")?;
            for (prefix, seq) in lots.next().unwrap_or_default() {
                statement.execute(params![prefix, seq])?;
            }
        }
        let mut statement = transaction.prepare_cached(
            "INSERT INTO event (seq, format, kind, created, body, chain) VALUES (?1, 1, ?2, ?3, ?4, ?5)",
        )?;
        for row in events {
            seq += 1;
            statement.execute(params![seq, 2, 1, row.body, row.chain.0])?;
        }
        drop(statement);
        transaction.commit()?;
        if std::fs::metadata(dir.join("raw.db-wal"))?.len() > WAL_BYTES_MAX {
            sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
    }
    Ok(started.elapsed())
}

/// Returns the rows of the index for some identities, each lot of them sorted.
pub(crate) fn index_of<'a>(ids: impl Iterator<Item = &'a [u8]>) -> Vec<(i64, u64)> {
    let prefix = |id: &[u8]| i64::from_be_bytes(id.first_chunk().copied().unwrap_or_default());
    let mut rows: Vec<_> = ids.map(prefix).zip(1..).collect();
    for lot in rows.chunks_mut(INDEX_LOT) {
        lot.sort_unstable();
    }
    rows
}

/// Reads every row of the event table and looks at each of its columns; returns how long that took and the rows.
pub(crate) fn select(log: &Path) -> Result<(Duration, u64)> {
    let sql = open(log)?;
    let started = Instant::now();
    let mut statement = sql
        .prepare("SELECT seq, kind, created, body, chain FROM event WHERE seq >= 1 ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let (mut count, mut bytes) = (0u64, 0usize);
    while let Some(row) = rows.next()? {
        let (_, _): (u64, u8) = (row.get(0)?, row.get(1)?);
        let _: Option<u64> = row.get(2)?;
        bytes += row.get_ref(3)?.as_blob()?.len() + row.get_ref(4)?.as_blob()?.len();
        count += 1;
    }
    std::hint::black_box(bytes);
    Ok((started.elapsed(), count))
}

/// Writes a whole state once, in the order of its keys, durably, into the table that the block table has for it.
pub(crate) fn write_state<'a>(
    file: &Path,
    entries: impl Iterator<Item = (&'a Bytes, &'a Bytes)>,
) -> Result<Duration> {
    let mut sql = open(file)?;
    sql.execute_batch("CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL, tag INTEGER NOT NULL) STRICT, WITHOUT ROWID")?;
    let started = Instant::now();
    let transaction = sql.transaction()?;
    let mut put =
        transaction.prepare_cached("INSERT INTO state (key, value, tag) VALUES (?1, ?2, 0)")?;
    for (key, value) in entries {
        put.execute(params![&**key, &**value])?;
    }
    drop(put);
    transaction.commit()?;
    sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(started.elapsed())
}
