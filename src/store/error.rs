//! What can go wrong with a file of the data directory, and what to do about it.

use std::path::{Path, PathBuf};

use crate::codec::CodecError;
use crate::state::StateError;

/// A failure that names its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}", file = file.display())]
pub struct StoreError {
    /// The file or directory.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The directory holds no node.
    #[error("no node is here")]
    NotInitialized,
    /// The directory holds a node already, or something else.
    #[error("is not empty")]
    NotEmpty,
    /// Another process has the node open.
    #[error("another process has this node open")]
    Busy,
    /// The file is missing although the others are there.
    #[error("is missing although the node was initialised")]
    Missing,
    /// The file is not what its name says.
    #[error("is not a file of this program: {0}")]
    Foreign(String),
    /// The file was written by a newer program.
    #[error("has schema version {found}, this program knows {known}")]
    TooNew {
        /// Version in the file.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// Tables or indexes are not those of the schema version.
    #[error("has tables that schema version {version} does not have, or lacks some")]
    SchemaAltered {
        /// The schema version.
        version: i64,
    },
    /// The bytes are damaged.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// Stored bytes are not canonical.
    #[error("is damaged at {place}: {error}")]
    Codec {
        /// The event or block.
        place: String,
        /// What is wrong with its bytes.
        error: CodecError,
    },
    /// Nothing may be written here.
    #[error("cannot be written")]
    ReadOnly,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// An operation of the file system failed.
    #[error("{operation} failed: {detail}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        detail: String,
    },
    /// A commit failed, and whether it took effect shows only at the next opening.
    #[error("a commit failed ({0}); whether it took effect is unknown until the next start")]
    OutcomeUnknown(Box<Problem>),
    /// SQLite did not take a setting on which durability rests.
    #[error("setting {name} is {found}, wanted {wanted}")]
    Setting {
        /// Name of the pragma.
        name: &'static str,
        /// The value that was read back.
        found: String,
        /// The value that was set.
        wanted: String,
    },
    /// A statement failed for a reason that has no name here.
    #[error("SQLite: {0}")]
    Sql(String),
}

impl Problem {
    /// Says whether the file is there and can be read, and is not what this program wrote.
    pub(crate) const fn is_of_content(&self) -> bool {
        matches!(
            self,
            Self::Foreign(_)
                | Self::TooNew { .. }
                | Self::SchemaAltered { .. }
                | Self::Damaged(_)
                | Self::Codec { .. }
                | Self::Setting { .. }
        )
    }
}

impl StoreError {
    pub(crate) fn new(file: &Path, problem: Problem) -> Self {
        Self { file: file.to_owned(), problem }
    }

    /// Gets the store's error back out of a machine's view of it.
    pub(crate) fn of_state(error: &StateError) -> Self {
        let unexpected = || Self::new(Path::new(super::MAIN), Problem::Sql(error.to_string()));
        error.0.downcast_ref::<Self>().cloned().unwrap_or_else(unexpected)
    }

    /// Returns what the operator can do next.
    #[must_use]
    pub fn advice(&self) -> String {
        let file = self.file.display();
        let name = self.file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let disposable = name.starts_with(super::layout::SANDBOX);
        match &self.problem {
            Problem::NotInitialized => "run `rewake init` or name another directory with --data".into(),
            Problem::NotEmpty => "name a directory that is empty or does not exist yet".into(),
            Problem::Busy => "stop the other process, or wait for it".into(),
            Problem::Foreign(_) | Problem::Damaged(_) | Problem::Codec { .. } | Problem::Missing
                if disposable =>
            {
                format!("nothing is lost with it: delete {file} and run `rewake recover` again")
            }
            Problem::Missing | Problem::Foreign(_) if name == super::layout::WITNESS => format!(
                "restore {name} from the same backup as the databases; if the log is known to be whole, \
                 run `rewake recover --accept-log` to write a new one"
            ),
            Problem::Missing | Problem::Foreign(_) | Problem::Damaged(_) | Problem::Codec { .. }
                if name.starts_with(super::layout::LOG) =>
            {
                "the log is the truth and cannot be rebuilt: restore the whole directory from a backup".into()
            }
            Problem::Missing | Problem::Foreign(_) | Problem::Damaged(_) | Problem::Codec { .. }
                if name.starts_with(super::layout::MAIN) =>
            {
                format!("it can be made again from the log: move {file} aside and run `rewake recover --rebuild-main`")
            }
            Problem::Missing | Problem::Foreign(_) | Problem::Damaged(_) | Problem::Codec { .. } => {
                format!("move {file} aside and restore it from a backup")
            }
            Problem::TooNew { .. } => "use the program version that wrote it, or a newer one".into(),
            Problem::SchemaAltered { .. } => {
                "undo the change to its tables, or restore it from a backup".into()
            }
            Problem::ReadOnly => "make the directory and its files writable for this user".into(),
            Problem::DiskFull => "free some space and run the same command again".into(),
            Problem::OutcomeUnknown(cause) if **cause == Problem::DiskFull => {
                "free some space and run `rewake recover`".into()
            }
            Problem::Io { .. } | Problem::OutcomeUnknown(_) => {
                "check the disk and the kernel's messages, then run `rewake recover`".into()
            }
            Problem::Setting { .. } | Problem::Sql(_) => {
                "this is unexpected: keep a copy of the directory and report it".into()
            }
        }
    }

    /// Gives an error of SQLite the name of its file and of its problem.
    pub(crate) fn sql(file: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
        };
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase,
            ReadOnly, SystemIoFailure,
        };
        let text = error.to_string();
        let problem = match error.sqlite_error_code() {
            Some(DatabaseCorrupt) => Problem::Damaged(text),
            Some(NotADatabase) => Problem::Foreign(text),
            Some(DatabaseBusy | DatabaseLocked) => Problem::Busy,
            Some(ReadOnly) => Problem::ReadOnly,
            Some(DiskFull) => Problem::DiskFull,
            Some(SystemIoFailure) => Problem::Io { operation: "reading or writing", detail: text },
            Some(CannotOpen) => Problem::Io { operation: "opening", detail: text },
            _ => match error {
                // A row holds something that this program never writes there.
                FromSqlConversionFailure(..)
                | IntegralValueOutOfRange(..)
                | InvalidColumnType(..) => Problem::Damaged(text),
                _ => Problem::Sql(text),
            },
        };
        Self::new(file, problem)
    }

    /// Gives an error of the file system the name of its file and of its problem.
    pub(crate) fn io(file: &Path, operation: &'static str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{
            PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        let problem = match error.kind() {
            PermissionDenied | ReadOnlyFilesystem => Problem::ReadOnly,
            StorageFull | QuotaExceeded => Problem::DiskFull,
            _ => Problem::Io { operation, detail: error.to_string() },
        };
        Self::new(file, problem)
    }
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        Self(std::sync::Arc::new(error))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn failures_of_the_file_system_have_names() {
        let problem = |kind: ErrorKind| {
            StoreError::io(Path::new("x"), "writing", &std::io::Error::from(kind)).problem
        };
        for (kind, expected) in [
            (ErrorKind::StorageFull, Problem::DiskFull),
            (ErrorKind::QuotaExceeded, Problem::DiskFull),
            (ErrorKind::PermissionDenied, Problem::ReadOnly),
            (ErrorKind::ReadOnlyFilesystem, Problem::ReadOnly),
        ] {
            assert_eq!(problem(kind), expected);
        }
        let other = problem(ErrorKind::Interrupted);
        assert!(matches!(other, Problem::Io { operation: "writing", .. }), "{other:?}");
    }

    #[test]
    fn failures_of_sqlite_have_names() {
        use rusqlite::ffi;
        let problem = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            StoreError::sql(Path::new("x"), &error).problem
        };
        let name = |code| format!("{:?}", problem(code));
        for (code, expected) in [
            (ffi::SQLITE_CORRUPT, "Damaged"),
            (ffi::SQLITE_NOTADB, "Foreign"),
            (ffi::SQLITE_BUSY, "Busy"),
            (ffi::SQLITE_LOCKED, "Busy"),
            (ffi::SQLITE_READONLY, "ReadOnly"),
            (ffi::SQLITE_FULL, "DiskFull"),
            (ffi::SQLITE_IOERR, "Io"),
            (ffi::SQLITE_CANTOPEN, "Io"),
            (ffi::SQLITE_MISUSE, "Sql"),
        ] {
            assert!(name(code).starts_with(expected), "{code}: {}", name(code));
        }
    }

    #[test]
    fn there_is_advice_for_every_problem() {
        let text = || "x".to_owned();
        for problem in [
            Problem::NotInitialized,
            Problem::NotEmpty,
            Problem::Busy,
            Problem::Missing,
            Problem::Foreign(text()),
            Problem::TooNew { found: 2, known: 1 },
            Problem::SchemaAltered { version: 1 },
            Problem::Damaged(text()),
            Problem::ReadOnly,
            Problem::DiskFull,
            Problem::Io { operation: "x", detail: text() },
            Problem::OutcomeUnknown(Box::new(Problem::DiskFull)),
            Problem::OutcomeUnknown(Box::new(Problem::Sql(text()))),
            Problem::Setting { name: "x", found: text(), wanted: text() },
            Problem::Sql(text()),
        ] {
            for file in ["log.db", "main.db", "sandbox.db", "WITNESS", "LOCK"] {
                let error = StoreError::new(Path::new(file), problem.clone());
                assert!(!error.advice().is_empty(), "{error}");
            }
        }
    }
}
