//! The interface of a node as the driver reads it: what is in the answers.
//!
//! These types are the driver's own: it must notice what the node says, not what the node's types can say.

use serde::Deserialize;

use crate::machine::ledger::{Account, Balance, Transfer};
use crate::types::{Digest, Seq, TxId};

/// The acknowledgement of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Acknowledgement {
    /// Its identity.
    pub(super) id: TxId,
    /// Its position in the log.
    pub(super) seq: Seq,
    /// Whether the node had not known it.
    pub(super) is_new: bool,
}

/// One answer, or one for each of several transactions.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Acknowledgements {
    Several(Vec<Acknowledgement>),
    One(Acknowledgement),
}

/// An account as the node answers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct AccountAnswer {
    pub(super) account: Account,
    pub(super) balance: Balance,
    pub(super) nonce: u64,
}

/// The value under a key of the state.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StateAnswer {
    /// Its bytes in hexadecimal.
    pub(super) value: String,
}

/// What became of a transaction of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxStatus {
    /// It changed the state.
    Applied,
    /// The machine refused it.
    Rejected,
    /// It could not be executed.
    Quarantined,
}

/// A confirmed block.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Block {
    /// Its number.
    pub(super) height: u64,
    /// Its digest.
    pub(super) digest: Digest,
    /// The digest of the block before.
    pub(super) parent: Digest,
    /// Number of its transactions.
    pub(super) txs: u64,
    /// How many of them were applied.
    pub(super) applied: u64,
    /// How many of them were refused.
    pub(super) rejected: u64,
    /// How many of them could not be executed.
    pub(super) quarantined: u64,
    /// State changes that no transaction caused.
    pub(super) patches: Vec<BlockPatch>,
    /// Its transactions in execution order.
    pub(super) transactions: Vec<BlockTransaction>,
}

/// A state change that no transaction caused.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BlockPatch {
    /// Keys with their new values, both in hexadecimal; a value of none deletes.
    pub(super) entries: Vec<(String, Option<String>)>,
}

/// A transaction of a block.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct BlockTransaction {
    /// Its identity.
    pub(super) id: TxId,
    /// Its position in the log.
    pub(super) seq: Seq,
    /// What became of it.
    pub(super) status: TxStatus,
    /// What it is; nothing where the payload is no transfer.
    pub(super) transaction: Option<Transfer>,
}

/// Some of the transactions that are in no block.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct MempoolPage {
    /// How many there are altogether.
    pub(super) transactions: u64,
    pub(super) page: Vec<Waiting>,
    pub(super) has_more: bool,
}

/// A transaction that is in no block.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Waiting {
    pub(super) seq: Seq,
    pub(super) id: TxId,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct NodeStatus {
    pub(super) log_head_seq: u64,
    pub(super) block_height: Option<u64>,
    pub(super) pending_blocks: u64,
}

/// What a node says when it does not do what it was asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    pub(super) name: String,
    pub(super) title: String,
    pub(super) detail: String,
}
