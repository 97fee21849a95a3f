//! What a state machine is to the engine.
//!
//! A machine never sees a store or a clock, and of threads only that the work of a check may be shared. State is key → value bytes; a machine reads and writes it
//! through a [`Context`], and only the owner of the store applies what was written.

use serde::{Deserialize, Serialize};

use crate::block::{Receipt, Receipts};
use crate::event::Patch;
use crate::machine::{Context, Threads};
use crate::state::{ChangeSet, StateRead};
use crate::types::{Bytes, Height, Seq, Slice, TxId, UnixMillis};

/// Name and version of a machine; both are stored with the data that it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineVersion {
    /// Its name in the registry.
    pub id: String,
    /// Raised whenever the same block could give another result.
    pub version: u32,
}

impl MachineVersion {
    /// Names a version of a machine.
    #[must_use]
    pub fn new(id: impl Into<String>, version: u32) -> Self {
        Self { id: id.into(), version }
    }
}

impl std::fmt::Display for MachineVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} version {}", self.id, self.version)
    }
}

/// A deterministic transition function over key → value bytes.
pub trait StateMachine: Send + Sync {
    /// Returns its name and version.
    fn version(&self) -> MachineVersion;

    /// Returns what becomes of a block one of whose transactions cannot be executed.
    ///
    /// A machine whose headers say what their blocks do must answer [`PoisonPolicy::Halt`].
    fn poison_policy(&self) -> PoisonPolicy {
        PoisonPolicy::Quarantine
    }

    /// Reads the machine's own formats once: the header and every payload. It must not read the state.
    ///
    /// A payload that cannot be read is no error here: it makes the transaction's receipt a refusal.
    ///
    /// # Errors
    /// [`ExecError::Poison`] where the header cannot be read.
    fn open_block<'a>(&'a self, block: &'a BlockInput) -> Opened<'a>;

    /// Names to `read` keys that a transaction will read, as far as its bytes alone tell: they are read from the store
    /// before its turn, many at once. What is wrong or missing costs time and changes nothing.
    fn expected_reads(&self, tx: &TxInput, read: &mut dyn FnMut(&[u8])) {
        let _ = (tx, read);
    }

    /// Says whether the machine has work to do for blocks that are still to come: [`StateMachine::prepare`].
    fn prepares(&self) -> bool {
        false
    }

    /// Returns what can be computed for a block before its turn, from its bytes alone, so that opening it takes less.
    fn prepare(&self, block: &BlockInput) -> Option<Preparation> {
        let _ = block;
        None
    }
}

/// Work for a block to come, done on another thread. It must end, soon once it is told to, and changes no result.
pub type Preparation = Box<dyn FnOnce(&dyn Fn() -> bool) + Send>;

/// An open block, or why its header cannot be read.
pub type Opened<'a> = Result<Box<dyn OpenBlock + 'a>, ExecError>;

/// A block whose bytes the machine has read; each step sees the effects of the steps before it.
pub trait OpenBlock: Send + Sync {
    /// Runs before the first transaction: system calls, irregular changes.
    ///
    /// # Errors
    /// [`ExecError`], by its class.
    fn begin(&self, context: &mut Context<'_>) -> Result<(), ExecError> {
        let _ = context;
        Ok(())
    }

    /// Executes the transaction at an index of the block. A refusal is a receipt, not an error.
    ///
    /// # Errors
    /// [`ExecError`], by its class: the machinery failed, not the transaction's own rules.
    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError>;

    /// Runs after the last transaction: rewards, withdrawals, system calls.
    ///
    /// # Errors
    /// [`ExecError`], by its class.
    fn end(&self, receipts: &Receipts, context: &mut Context<'_>) -> Result<(), ExecError> {
        let _ = (receipts, context);
        Ok(())
    }

    /// Compares what the block did with what its header says.
    ///
    /// # Errors
    /// [`CheckFailure`] names the first thing that differs.
    fn check(&self, outcome: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
        let _ = outcome;
        Ok(())
    }

    /// Names to `touch` each key that a transaction will read or write, but for those to which it only adds; says
    /// whether the machine can tell without running it. What turns out to be wrong costs time and changes nothing.
    fn declared_access(&self, index: usize, touch: &mut dyn FnMut(&[u8])) -> bool {
        let _ = (index, touch);
        false
    }
}

/// A block as it is handed to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockInput {
    /// Its number.
    pub height: Height,
    /// The machine's own header bytes.
    pub header: Bytes,
    /// State changes that no transaction causes, applied before [`OpenBlock::begin`].
    pub patches: Vec<Patch>,
    /// Its transactions in execution order.
    pub txs: Vec<TxInput>,
}

/// A transaction as it is handed to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxInput {
    /// Its position in the log.
    pub seq: Seq,
    /// Its identity.
    pub id: TxId,
    /// Its bytes, a stretch of the buffer that its event was read with.
    pub payload: Slice,
    /// When it was logged, where the log knows; part of the input, so that replay sees the same.
    pub created: Option<UnixMillis>,
}

/// What executing a block gave, before its checks.
pub struct BlockOutcome<'a> {
    /// The receipts in execution order.
    pub receipts: &'a Receipts,
    /// The net changes, patches included.
    pub changes: &'a ChangeSet,
    /// The state after the block.
    pub state: &'a dyn StateRead,
    /// Threads that may share the work of checking it.
    pub threads: Threads<'a>,
}

/// What becomes of a block one of whose transactions cannot be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoisonPolicy {
    /// The transaction gets a logged verdict and leaves no writes; the rest goes on.
    Quarantine,
    /// The verified prefix is committed and the node stops; for machines whose blocks commit to their results.
    Halt,
}

/// Failure of the machinery while a transaction or a hook ran.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExecError {
    /// May pass by itself; tried again with backoff.
    #[error("transient failure: {0}")]
    Transient(String),
    /// Will happen again: a panic, a memory bomb, a runaway, bytes that no machine can read.
    #[error("{0}")]
    Poison(String),
    /// The state below could not be read: a failure of the store, which no verdict can mend.
    #[error(transparent)]
    State(#[from] crate::state::StateError),
}

/// Something in a block that is not as its header says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what} is {found}, expected {expected}")]
pub struct CheckFailure {
    /// What was compared.
    pub what: String,
    /// What the header says.
    pub expected: String,
    /// What execution gave.
    pub found: String,
    /// Index of the transaction that is to blame, where one is.
    pub tx: Option<usize>,
}
