//! Opening a database: what is checked before, what is set, and what is read back.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::fail_point::{self, Point};
use crate::store::medium::Medium;
use crate::store::migrate::{self, Schema};
use crate::store::{Problem, StoreError, names, renew};

/// SQLite before this version may lose commits when a log is reset while it is being read.
const SQLITE_OLDEST: i32 = 3_051_003;

/// When a commit is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Before it is answered.
    EachCommit,
    /// At the next checkpoint; a power cut goes back to an older, consistent state.
    AtCheckpoint,
}

/// An open database of the data directory, with every setting verified.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    pub(crate) file: PathBuf,
    medium: &'static dyn Medium,
    /// The failure of a commit, after which only a new opening can tell what holds.
    failed: Option<Problem>,
}

/// Pages that the write-ahead log may grow to before it is moved into the database: 64 MiB.
const WAL_BYTES_MAX: u64 = 64 << 20;

impl Database {
    /// Makes a new database with the newest schema.
    pub(crate) fn create(
        medium: &'static dyn Medium,
        file: &Path,
        schema: &Schema,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut database = Self::connect(medium, file, flags, schema, durability)?;
        database.transaction(|sql| migrate::apply(sql, schema))?;
        database.checkpoint()?;
        Ok(database)
    }

    /// Opens a database that exists, and refuses what is not one of ours.
    pub(crate) fn open(
        medium: &'static dyn Medium,
        file: &Path,
        schema: &Schema,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        inspect(medium, file, schema)?;
        if !planted!("wal_not_renewed") {
            renew::renew(medium, file)?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let mut database = Self::connect(medium, file, flags, schema, durability)?;
        if database.on(|sql| sql.is_readonly("main"))? {
            return Err(StoreError::new(file, Problem::ReadOnly));
        }
        if migrate::verify(&database, schema)? {
            database.bring_forward(schema)?;
            migrate::verify(&database, schema)?;
        }
        Ok(database)
    }

    /// Brings a database of an older version to the newest.
    fn bring_forward(&mut self, schema: &Schema) -> Result<(), StoreError> {
        // It may touch every page, more than memory need hold.
        self.on(|sql| sql.execute_batch("PRAGMA cache_spill = 1"))?;
        // CRASH: before its commit is on the disk the database is of the old version, and this is done again.
        self.transaction(|sql| migrate::apply(sql, schema))?;
        self.checkpoint()?;
        self.set("cache_spill", "0")
    }

    fn connect(
        medium: &'static dyn Medium,
        file: &Path,
        flags: OpenFlags,
        schema: &Schema,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        if rusqlite::version_number() < SQLITE_OLDEST {
            let found = rusqlite::version().to_owned();
            let wanted = "3.51.3 or newer".to_owned();
            return Err(StoreError::new(file, Problem::Setting { name: "SQLite", found, wanted }));
        }
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = match medium.vfs() {
            Some(vfs) => Connection::open_with_flags_and_vfs(uri(file), flags, vfs),
            None => Connection::open_with_flags(uri(file), flags),
        };
        let connection = connection.map_err(|error| StoreError::sql(file, &error))?;
        let database = Self { connection, file: file.to_owned(), medium, failed: None };
        database.on(configure)?;
        for (name, wanted) in settings(durability) {
            database.set(name, wanted)?;
        }
        database.set("cache_size", schema.cache_size)?;
        database.connection.set_prepared_statement_cache_capacity(64);
        Ok(database)
    }

    fn set(&self, name: &'static str, wanted: &str) -> Result<(), StoreError> {
        let found = self.on(|sql| {
            sql.pragma_update_and_check(None, name, wanted, |_| Ok(())).or_else(
                |error| match error {
                    rusqlite::Error::QueryReturnedNoRows => Ok(()),
                    other => Err(other),
                },
            )?;
            sql.pragma_query_value(None, name, |row| {
                row.get_ref(0).map(|value| match value {
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    other => other.as_str().unwrap_or_default().to_owned(),
                })
            })
        })?;
        if found.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        let wanted = wanted.to_owned();
        Err(StoreError::new(&self.file, Problem::Setting { name, found, wanted }))
    }

    /// Runs statements, and names the file in their errors.
    pub(crate) fn on<R>(
        &self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        body(&self.connection).map_err(|error| StoreError::sql(&self.file, &error))
    }

    /// Runs statements in one transaction and commits it.
    ///
    /// After a failed commit the database refuses every further transaction: only a new opening can tell what holds.
    pub(crate) fn transaction<R>(
        &mut self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        self.begin()?;
        let result = self.within(body)?;
        self.commit()?;
        Ok(result)
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) -> Result<(), StoreError> {
        self.check()?;
        self.on(|sql| sql.execute_batch("BEGIN IMMEDIATE"))
    }

    /// Runs statements in the transaction that was begun; where they fail, all of it is taken back.
    pub(crate) fn within<R>(
        &mut self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        let result = body(&self.connection);
        result.map_err(|error| {
            self.roll_back();
            StoreError::sql(&self.file, &error)
        })
    }

    /// Takes back the transaction that was begun, where there is one.
    pub(crate) fn roll_back(&mut self) {
        // A full disk may have rolled back already. What a failed commit left is for a new opening to find out.
        if self.failed.is_none() && !self.connection.is_autocommit() {
            let undone = self.on(|sql| sql.execute_batch("ROLLBACK"));
            self.failed = undone.err().map(|error| error.problem);
        }
    }

    /// Commits the transaction that was begun.
    ///
    /// CRASH: before this nothing of the transaction is there; after it all of it is. If it fails, either.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        let committed = self.on(|sql| sql.execute_batch("COMMIT"));
        let committed = if planted!("commit_error_swallowed") { Ok(()) } else { committed };
        committed.map_err(|error| self.commit_failed(error))
    }

    /// Refuses where a commit has failed before.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let Some(problem) = &self.failed else { return Ok(()) };
        let problem = Problem::OutcomeUnknown(Box::new(problem.clone()));
        Err(StoreError::new(&self.file, problem))
    }

    /// Refuses every further transaction after a failure at which a transaction may have taken effect.
    ///
    /// A full disk is no exception: the frames that fill up the sector after the commit record are written last.
    pub(crate) fn commit_failed(&mut self, error: StoreError) -> StoreError {
        self.failed =
            Some(error.problem.clone()).filter(|_| !planted!("goes_on_after_a_failed_commit"));
        let problem = Problem::OutcomeUnknown(Box::new(error.problem));
        StoreError { file: error.file, problem }
    }

    /// Moves the write-ahead log into the database, makes both durable and empties the log.
    ///
    /// SQLite does not sync the emptied log. Where an older part of it came back with a power cut, its pages would hide
    /// the newer ones of the database.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.pass(Point::CheckpointBegin)?;
        let answer = self.on(|sql| {
            sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
        })?;
        match answer {
            (0, 0, 0) => {
                self.pass(Point::CheckpointMoved)?;
                self.sync_wal()?;
                self.pass(Point::CheckpointDone)
            }
            (busy, frames, moved) => {
                let detail = format!("busy {busy}, {moved} of {frames} frames moved");
                let problem = Problem::Io { operation: "checkpointing", detail };
                Err(StoreError::new(&self.file, problem))
            }
        }
    }

    /// Checkpoints once the write-ahead log has grown large; says whether it did.
    pub(crate) fn checkpoint_if_large(&self) -> Result<bool, StoreError> {
        let seen = self.medium.look(&renew::wal_of(&self.file));
        let large = seen.is_ok_and(|wal| wal.bytes > WAL_BYTES_MAX);
        if large {
            self.checkpoint()?;
        }
        Ok(large)
    }

    /// Passes a fail point between two steps.
    pub(crate) fn pass(&self, point: Point) -> Result<(), StoreError> {
        StoreError::passed(&self.file, point)
    }

    /// Returns what is wrong with the pages and indexes, as SQLite finds when it looks at all of them.
    pub(crate) fn flaws(&self) -> Result<Vec<String>, StoreError> {
        let found: Vec<String> = self.on(|sql| {
            let mut statement = sql.prepare("PRAGMA integrity_check(8)")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })?;
        Ok(found.into_iter().filter(|text| text != "ok").collect())
    }

    /// Makes the names of the file and of the directories above it survive a power cut.
    pub(crate) fn sync_names(&self) -> Result<(), StoreError> {
        names::sync(self.medium, self.file.parent().unwrap_or(Path::new(".")))
    }

    fn sync_wal(&self) -> Result<(), StoreError> {
        let wal = renew::wal_of(&self.file);
        match self.medium.open(&wal).and_then(|file| file.sync()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io(&wal, "syncing", &error))
            }
            _ => Ok(()),
        }
    }
}

/// Passes a fail point inside a transaction.
#[inline]
pub(crate) fn pass(point: Point) -> rusqlite::Result<()> {
    let passed = fail_point::hit(point);
    passed.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn configure(sql: &Connection) -> rusqlite::Result<()> {
    // Nobody who holds a database of ours gives it back soon: say so at once.
    sql.busy_timeout(std::time::Duration::ZERO)?;
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Closing would checkpoint and swallow the error of doing so.
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// The settings in the order in which they must be made; each is read back.
fn settings(durability: Durability) -> [(&'static str, &'static str); 10] {
    let synchronous = match durability {
        Durability::EachCommit if !planted!("log_opened_normal") => "2",
        _ => "1",
    };
    [
        ("page_size", "4096"),
        // Before the first access in WAL mode, so that there is no shared-memory file and no second opener.
        ("locking_mode", "exclusive"),
        ("journal_mode", "wal"),
        ("synchronous", synchronous),
        ("wal_autocheckpoint", "0"),
        ("mmap_size", "0"),
        ("temp_store", "2"),
        ("cache_spill", "0"),
        ("foreign_keys", "1"),
        ("cell_size_check", "1"),
    ]
}

/// Looks at a file before SQLite does, which would bring a database of another program into its own mode: it must be
/// a regular file that begins as a database of this kind does.
fn inspect(medium: &dyn Medium, file: &Path, schema: &Schema) -> Result<(), StoreError> {
    let seen = medium.look(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => StoreError::new(file, Problem::Missing),
        _ => StoreError::io(file, "looking", &error),
    })?;
    let foreign = |found: String| Err(StoreError::new(file, Problem::Foreign(found)));
    if !seen.is_file {
        return foreign("it is no regular file".to_owned());
    }
    // SQLite deletes the write-ahead log of an empty database. No crash of ours leaves one: it is made whole.
    if seen.bytes == 0 {
        return foreign("it is empty".to_owned());
    }
    let head = medium.read_head(file, 100);
    let head = head.map_err(|error| StoreError::io(file, "reading", &error))?;
    // A checkpoint that a power cut ended may have torn the first sector, which the write-ahead log still holds.
    let wal = medium.look(&renew::wal_of(file));
    if wal.is_ok_and(|wal| wal.bytes > 0) && !head.starts_with(b"SQLite format 3\0") {
        return Ok(());
    }
    // https://www.sqlite.org/fileformat.html, section 1.3.
    let id = head.get(68..72).and_then(|id| id.first_chunk()).copied().map(i32::from_be_bytes);
    match id {
        Some(id) if head.starts_with(b"SQLite format 3\0") => match head.get(18..20) {
            Some([2, 2]) if id == schema.application_id => Ok(()),
            Some([2, 2]) => foreign(format!("its application id is {id:#x}")),
            _ => foreign("it has no write-ahead log".to_owned()),
        },
        _ => foreign("it does not begin as an SQLite database does".to_owned()),
    }
}

/// Writes a path as a URI. `psow=0`: a torn write may take its neighbours in the sector along.
fn uri(file: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file:");
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(*byte));
            }
            // Writing into a string cannot fail.
            _ => drop(write!(uri, "%{byte:02x}")),
        }
    }
    uri.push_str("?psow=0");
    uri
}
