//! What a bundle holds, and how it becomes a file.

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::Path;

use crate::block::{OrderRef, Receipts};
use crate::exec::{BlockFailure, Dependencies, Rulings};
use crate::machine::{BlockInput, MachineVersion, TxInput};
use crate::reproduce::{format, parse};
use crate::state::{ChangeSet, MemoryState, Writer};
use crate::types::{Digest, Seq};

/// A transaction sequence with the state that it touches and the results that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The machine that had executed it.
    pub machine: MachineVersion,
    /// The entries of the state before the first block that the blocks touch.
    pub state: MemoryState,
    /// The blocks, ascending by height.
    pub blocks: Vec<BundleBlock>,
}

/// One block of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleBlock {
    /// Where its order stood in the log.
    pub order: OrderRef,
    /// What the machine was handed.
    pub input: BlockInput,
    /// Transactions that verdicts keep out of it.
    pub rulings: Rulings,
    /// Which of its transactions read what others wrote, as an execution recorded it; it need not be right. A record
    /// of another number of transactions says nothing, and is not written.
    pub dependencies: Option<Dependencies>,
    /// What it came to.
    pub expected: Expected,
}

/// What a block of a bundle came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Its effects, as they are stored in the node.
    Effects {
        /// The receipts.
        receipts: Receipts,
        /// The net changes.
        changes: ChangeSet,
        /// Digest of the receipts, as the block's row has it.
        receipts_digest: Digest,
        /// Digest of the change set, as the block's row has it.
        changes_digest: Digest,
    },
    /// It could not be executed.
    Failure(ReportedFailure),
}

/// Why a block could not be executed, without what depends on luck: two runs of one failure are equal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReportedFailure {
    /// The class of the failure.
    pub kind: FailureKind,
    /// The step at which it failed, where there is one.
    pub step: Option<String>,
    /// Index of the transaction, where one is to blame.
    pub tx: Option<u32>,
    /// The reason.
    pub reason: String,
}

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A step cannot be executed.
    Poison,
    /// The block did something else than its header says.
    Check,
    /// The state could not be read.
    State,
}

impl ReportedFailure {
    /// Reads what matters out of a failure of a block with these transactions.
    #[must_use]
    pub fn of(failure: &BlockFailure, txs: &[TxInput]) -> Self {
        let index = |wanted: Option<Seq>| {
            let position = txs.iter().position(|tx| Some(tx.seq) == wanted);
            position.and_then(|index| u32::try_from(index).ok())
        };
        match failure {
            BlockFailure::Poison { step, seq, reason, .. } => Self {
                kind: FailureKind::Poison,
                step: Some(step.to_string()),
                tx: index(*seq),
                reason: reason.clone(),
            },
            BlockFailure::Check { failure, .. } => Self {
                kind: FailureKind::Check,
                step: Some(Writer::End.to_string()),
                tx: failure.tx.and_then(|index| u32::try_from(index).ok()),
                reason: failure.to_string(),
            },
            BlockFailure::State(error) => {
                Self { kind: FailureKind::State, step: None, tx: None, reason: error.to_string() }
            }
        }
    }
}

impl std::fmt::Display for ReportedFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.step {
            Some(step) => write!(f, "{step} fails: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Why a bundle cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The file is no bundle.
    #[error("is no bundle: {found}")]
    Foreign {
        /// What it begins with instead.
        found: String,
    },
    /// The bundle was written by a newer program.
    #[error("is a bundle of format {found}, this program knows {known}")]
    TooNew {
        /// Format of the bundle.
        found: u32,
        /// Newest format known.
        known: u32,
    },
    /// The bundle is cut short, altered, or was never one of this program's.
    #[error("is damaged at line {line}: {what}")]
    Corrupt {
        /// The line, the first is 1.
        line: u64,
        /// What is wrong there.
        what: String,
    },
    /// The lines of the bundle are more than this program writes or reads.
    #[error("is too large: its lines up to {line} have more than {bytes_max} bytes")]
    TooLarge {
        /// The line, the first is 1.
        line: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The file cannot be read or written.
    #[error("{operation} failed: {detail}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        detail: String,
    },
}

impl BundleError {
    pub(super) fn io(operation: &'static str, error: &std::io::Error) -> Self {
        Self::Io { operation, detail: error.to_string() }
    }
}

impl Bundle {
    /// Returns the bytes of the file; the same bundle gives the same bytes.
    ///
    /// # Errors
    /// [`BundleError::TooLarge`]; [`BundleError::Io`] where compressing fails for want of memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        format::write(self)
    }

    /// Reads the bytes of a file. They may come from anywhere: sizes are bounded, and the digest is verified.
    ///
    /// # Errors
    /// [`BundleError`] names the first line that is not as it must be.
    pub fn from_reader(reader: impl std::io::Read) -> Result<Self, BundleError> {
        parse::read(reader)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Bundle::from_reader`].
    pub fn load(path: &Path) -> Result<Self, BundleError> {
        let file = File::open(path).map_err(|error| BundleError::io("opening", &error))?;
        Self::from_reader(BufReader::new(file))
    }

    /// Writes a file, whole or not at all, in place of any other of that name; durable when this returns.
    ///
    /// # Errors
    /// [`BundleError::Io`]; [`BundleError::TooLarge`].
    pub fn save(&self, path: &Path) -> Result<(), BundleError> {
        let bytes = self.to_bytes()?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or_else(|| Path::new("."));
        let written = || {
            let mut file = tempfile::Builder::new().prefix(".rewake-bundle-").tempfile_in(dir)?;
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            // CRASH: before this rename there is no bundle of this name or an older one; after it a whole new one.
            file.persist(path).map_err(|error| error.error)?;
            File::open(dir)?.sync_all()
        };
        written().map_err(|error| BundleError::io("writing", &error))
    }
}
