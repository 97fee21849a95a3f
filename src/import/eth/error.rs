//! Why a file with an Ethereum block, or with conformance cases, is refused.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::machine::evm::ForkError;

/// A file that cannot be imported; the message names the file, the place and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EthImportError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {error}; check that the file is there and complete", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is larger than this program takes.
    #[error("{path}: holds more than {limit} bytes when unpacked; split it", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is not the JSON that it should be.
    #[error("{path}: line {line}, column {column}: {reason}; correct the file or fetch it again", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser said; it names the field.
        reason: String,
    },
    /// A field holds what it cannot hold.
    #[error("{path}: {field}: {reason}; correct the file or fetch it again", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two parts of the file contradict each other.
    #[error("{path}: {field} is {found}, expected {expected}: the file was altered or is incomplete; fetch it again", path = path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What was compared.
        field: String,
        /// What the file says.
        expected: String,
        /// What was computed.
        found: String,
    },
    /// The file names a fork that is not supported.
    #[error("{path}: {error}", path = path.display())]
    Fork {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: ForkError,
    },
}

impl EthImportError {
    pub(super) fn json(path: &Path, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let reason = error.to_string();
        let place = format!(" at line {line} column {column}");
        let reason = reason.strip_suffix(&place).unwrap_or(&reason).to_owned();
        Self::Json { path: path.to_owned(), line, column, reason }
    }

    pub(super) fn field(path: &Path, field: impl Into<String>, reason: impl Display) -> Self {
        Self::Field { path: path.to_owned(), field: field.into(), reason: reason.to_string() }
    }
}

/// Compares what a file says with what was computed from it.
pub(super) fn verify<T: PartialEq + Display>(
    path: &Path,
    field: &str,
    expected: &T,
    found: &T,
) -> Result<(), EthImportError> {
    if expected == found {
        return Ok(());
    }
    Err(EthImportError::Mismatch {
        path: path.to_owned(),
        field: field.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    })
}
