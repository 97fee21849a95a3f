//! What a node answers when it does not do what it was asked.

use std::sync::Arc;

use crate::exec::{Halt, IntakeError, Refusal, Report};
use crate::store::StoreError;

/// Why a node is down, or goes down.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Down {
    /// Its owner asked it to end.
    #[error("the node was asked to stop")]
    Stopped,
    /// A file failed. What was acknowledged is safe; the next start finds out about the rest.
    #[error("the store failed: {0}")]
    Store(StoreError),
    /// A block cannot be executed or verified.
    #[error("the node halted: {}", .0.reason)]
    Halted(Halt),
    /// A part of the program ended that must not end.
    #[error("the {actor} ended: {reason}")]
    Actor {
        /// Its name.
        actor: &'static str,
        /// Its last words.
        reason: String,
    },
}

/// Why something was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The mailbox is full and the caller chose not to wait. Nothing was logged; it can be submitted again.
    #[error("the node has as much to log as it takes at once")]
    Full,
    /// More than the node takes at once, whether or not it is busy. Nothing was logged.
    #[error("{found} {unit} are more than the {most} that are taken at once")]
    TooMuch {
        /// How many there are.
        found: u64,
        /// How many are taken.
        most: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// What was submitted cannot be logged. Nothing was logged.
    #[error(transparent)]
    Refused(Arc<IntakeError>),
    /// The node went down while it was being logged: it is in the log or it is not, which shows at the next start.
    #[error("whether it was logged is unknown until the next start: {0}")]
    OutcomeUnknown(Down),
    /// The node is down. Nothing was logged.
    #[error("nothing was logged: {0}")]
    Down(Down),
}

/// Why a question was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// Too many questions wait already.
    #[error("the node has as many questions as it takes at once")]
    Full,
    /// The answer could not be read.
    #[error(transparent)]
    Store(StoreError),
    /// The node is down.
    #[error(transparent)]
    Down(Down),
}

/// Why a node did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It may not be touched as it is.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// A file failed during recovery; the next start goes on from there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Recovery stopped before the end: a block cannot be executed or verified, a time limit, or the owner's wish.
    #[error("{}", .0.reason)]
    Halted(Halt, Box<Report>),
    /// A thread could not be started, or ended without an answer.
    #[error("{0}")]
    Thread(String),
}
