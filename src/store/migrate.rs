//! Schemas: plain SQL files, only ever appended to, applied inside one transaction.

use std::sync::OnceLock;

use rusqlite::Connection;

use crate::fail_point::Point;
use crate::store::connection::{Database, pass};
use crate::store::{Problem, StoreError, tagging};
use crate::types::Digest;

/// A database's identity and history.
pub(crate) struct Schema {
    /// Stored in the header of the file; tells our databases from others and from each other.
    pub(crate) application_id: i32,
    /// What brings one schema version to the next; their count is the newest version.
    pub(crate) steps: &'static [Step],
    /// Value of `cache_size`: minus the KiB of pages that are kept in memory.
    pub(crate) cache_size: &'static str,
    /// Fingerprint of its tables, once it was needed.
    pub(crate) fingerprint: OnceLock<Digest>,
}

/// What brings one schema version to the next.
pub(crate) struct Step {
    /// Statements that change the tables.
    tables: &'static str,
    /// Gives rows that are there already what the new tables want of them.
    fill: fn(&Connection) -> rusqlite::Result<()>,
}

impl Step {
    const fn new(tables: &'static str) -> Self {
        Self { tables, fill: |_| Ok(()) }
    }
}

/// `log.db`; the id spells `rwkL`.
pub(crate) static LOG: Schema = Schema {
    application_id: 0x7277_6b4c,
    steps: &[Step::new(include_str!("../../migrations/log/0001_event_log.sql"))],
    // Read and written in order, but for the look-ups of the transaction index.
    cache_size: "-16384",
    fingerprint: OnceLock::new(),
};

/// `main.db`; the id spells `rwkM`.
pub(crate) static MAIN: Schema = Schema {
    application_id: 0x7277_6b4d,
    steps: &[
        Step::new(include_str!("../../migrations/main/0001_block_table.sql")),
        Step { tables: include_str!("../../migrations/main/0002_tags.sql"), fill: tagging::fill },
        Step::new(include_str!("../../migrations/main/0003_packed_bodies.sql")),
    ],
    cache_size: "-65536",
    fingerprint: OnceLock::new(),
};

/// `sandbox.db`; the id spells `rwkS`.
pub(crate) static SANDBOX: Schema = Schema {
    application_id: 0x7277_6b53,
    steps: &[
        Step::new(include_str!("../../migrations/sandbox/0001_rehearsal.sql")),
        Step::new(include_str!("../../migrations/sandbox/0002_packed_blocks.sql")),
    ],
    cache_size: "-16384",
    fingerprint: OnceLock::new(),
};

impl Schema {
    fn newest(&self) -> i64 {
        i64::try_from(self.steps.len()).unwrap_or(i64::MAX)
    }
}

/// Applies every step that the open transaction's database has not had yet.
pub(crate) fn apply(sql: &Connection, schema: &Schema) -> rusqlite::Result<()> {
    let found: i64 = sql.pragma_query_value(None, "user_version", |row| row.get(0))?;
    pass(Point::MigrateBegin)?;
    for step in schema.steps.iter().skip(index(found)) {
        sql.execute_batch(step.tables)?;
        (step.fill)(sql)?;
        pass(Point::MigrateStep)?;
    }
    sql.pragma_update(None, "application_id", schema.application_id)?;
    sql.pragma_update(None, "user_version", schema.newest())?;
    pass(Point::MigrateVersion)
}

/// Returns how many steps lead to a version.
fn index(version: i64) -> usize {
    usize::try_from(version).unwrap_or(usize::MAX)
}

/// Refuses a database of another kind, of a newer version, or with other tables; says whether it is of an older version.
pub(crate) fn verify(database: &Database, schema: &Schema) -> Result<bool, StoreError> {
    let (id, version) = database.on(|sql| {
        let id: i32 = sql.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i64 = sql.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((id, version))
    })?;
    let refuse = |problem| Err(StoreError::new(&database.file, problem));
    if id != schema.application_id {
        return refuse(Problem::Foreign(format!("its application id is {id:#x}")));
    }
    if version > schema.newest() {
        return refuse(Problem::TooNew { found: version, known: schema.newest() });
    }
    let expected = expected_fingerprint(schema, version);
    if database.on(fingerprint)?
        != expected.map_err(|error| StoreError::sql(&database.file, &error))?
    {
        return refuse(Problem::SchemaAltered { version });
    }
    Ok(version < schema.newest())
}

/// Returns the fingerprint of a fresh database of a schema version, which is what any migrated one must have.
fn expected_fingerprint(schema: &Schema, version: i64) -> rusqlite::Result<Digest> {
    let of_newest = Some(&schema.fingerprint).filter(|_| version == schema.newest());
    if let Some(known) = of_newest.and_then(OnceLock::get) {
        return Ok(*known);
    }
    let fresh = Connection::open_in_memory()?;
    for step in schema.steps.iter().take(index(version)) {
        fresh.execute_batch(step.tables)?;
    }
    let found = fingerprint(&fresh)?;
    Ok(of_newest.map_or(found, |known| *known.get_or_init(|| found)))
}

fn fingerprint(sql: &Connection) -> rusqlite::Result<Digest> {
    let mut statement = sql.prepare(
        "SELECT type || char(0) || name || char(0) || coalesce(sql, '') FROM sqlite_schema ORDER BY type, name",
    )?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut hasher = blake3::Hasher::new();
    for row in rows {
        hasher.update(row?.as_bytes()).update(&[0]);
    }
    Ok(hasher.finalize().into())
}
