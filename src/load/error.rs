//! Why a run of the driver came to no verdict.

use crate::load::{AcknowledgedError, ClientError, NodeFault};
use crate::types::TxId;

/// What kept the driver from a verdict; a node that is wrong is no error but a finding.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The node did not become ready in time.
    #[error("the node at {target} was not ready within {waited_ms} ms: {last}")]
    Unreachable {
        /// The node.
        target: String,
        /// How long it was waited for.
        waited_ms: u64,
        /// What the last attempt gave.
        last: String,
    },
    /// A question was not answered as the interface promises.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node refuses what the driver submits.
    #[error("the node refuses a submission with status {status}: {title} {detail}")]
    Refused {
        /// The status.
        status: u16,
        /// What the node calls it.
        title: String,
        /// What the node says about it.
        detail: String,
    },
    /// The node is ready and acknowledges nothing.
    #[error("transaction {id} was not acknowledged within {waited_ms} ms and {attempts} attempts")]
    NotAcknowledged {
        /// The first transaction of the submission.
        id: TxId,
        /// How long it was waited for.
        waited_ms: u64,
        /// How often it was submitted.
        attempts: u64,
    },
    /// Clients would share senders.
    #[error("{clients} clients need as many accounts, and two at least; the node has {found}")]
    TooFewAccounts {
        /// Accounts of the genesis block.
        found: usize,
        /// Clients.
        clients: usize,
    },
    /// The node has no genesis block.
    #[error("the node has no genesis block")]
    NoGenesis,
    /// The history holds what the model does not know.
    #[error("block {height} cannot be checked: {what}")]
    Unmodelled {
        /// The block.
        height: u64,
        /// What it holds.
        what: String,
    },
    /// The node does not come to rest after the load.
    #[error(
        "the node did not come to rest within {waited_ms} ms: {pending_blocks} blocks are unconfirmed, {mempool} transactions are in none"
    )]
    Unsettled {
        /// Blocks that are ordered and not confirmed.
        pending_blocks: u64,
        /// Transactions in no block.
        mempool: u64,
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// The list of acknowledgements cannot be kept.
    #[error(transparent)]
    Acknowledged(#[from] AcknowledgedError),
    /// The node's process did something else than it was told.
    #[error(transparent)]
    Node(#[from] NodeFault),
}
