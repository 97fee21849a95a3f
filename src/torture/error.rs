//! Why a campaign came to no verdict.

use std::path::{Path, PathBuf};

use crate::exec::{IntakeError, RecoverError, Refusal};
use crate::store::StoreError;

/// What kept a campaign from a verdict; a node that comes out wrong is no error but a violation.
#[derive(Debug, thiserror::Error)]
pub enum TortureError {
    /// The node cannot be copied, or the copy cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is refused as it is.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// The undisturbed run, which the others are held against, did not end well.
    #[error("the undisturbed {what} did not end well: {how}")]
    Undisturbed {
        /// What was run.
        what: &'static str,
        /// How it ended.
        how: String,
    },
    /// A child process cannot be started or followed.
    #[error("a child process cannot be {verb}: {detail}")]
    Child {
        /// What was tried.
        verb: &'static str,
        /// What the system says.
        detail: String,
    },
    /// A file of the scratch directory cannot be handled.
    #[error("{file}: {operation} failed: {detail}", file = file.display())]
    Scratch {
        /// The file or directory.
        file: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system says.
        detail: String,
    },
    /// The file system of the scratch directory has too little room for the copies.
    #[error(
        "{dir}: the copies need {needed_bytes} bytes, the file system has {free_bytes}",
        dir = dir.display()
    )]
    Space {
        /// The directory in which the scratch directory would be made.
        dir: PathBuf,
        /// Room that the copies need, in bytes.
        needed_bytes: u64,
        /// Room that there is, in bytes.
        free_bytes: u64,
    },
    /// A stop was requested before the first round.
    #[error("stopped before the first round")]
    Stopped,
}

impl From<RecoverError> for TortureError {
    fn from(RecoverError(error): RecoverError) -> Self {
        Self::Store(error)
    }
}

impl From<IntakeError> for TortureError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Store(error) => Self::Store(error),
            other => Self::Undisturbed { what: "append", how: other.to_string() },
        }
    }
}

impl TortureError {
    pub(super) fn child(verb: &'static str, error: &std::io::Error) -> Self {
        Self::Child { verb, detail: error.to_string() }
    }

    pub(super) fn scratch(file: &Path, operation: &'static str, error: &std::io::Error) -> Self {
        Self::Scratch { file: file.to_owned(), operation, detail: error.to_string() }
    }
}
