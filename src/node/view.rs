//! Views: what a node answers when it is asked about a transaction, a block or its mempool.

use crate::block::{BlockRow, Receipt};
use crate::event::Patch;
use crate::types::{Bytes, Height, Seq, TxId, UnixMillis};

/// A transaction as the node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxView {
    /// Its identity.
    pub id: TxId,
    /// Its position in the log: the answer that its sender was given.
    pub seq: Seq,
    /// When it was logged, where the log knows.
    pub created: Option<UnixMillis>,
    /// Its bytes.
    pub payload: Bytes,
    /// How far it is.
    pub place: Place,
}

/// How far a transaction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Received and in no block.
    Waiting,
    /// In a block that is not confirmed yet.
    Ordered,
    /// In a confirmed block.
    Confirmed {
        /// The block.
        height: Height,
        /// Its index there.
        index: u32,
        /// What became of it.
        receipt: Receipt,
    },
}

/// A confirmed block with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockView {
    /// Its row.
    pub row: BlockRow,
    /// State changes that no transaction caused, applied before the first.
    pub patches: Vec<Patch>,
    /// Its transactions in execution order.
    pub txs: Vec<BlockTx>,
}

/// A transaction of a confirmed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTx {
    /// Its identity.
    pub id: TxId,
    /// Its position in the log.
    pub seq: Seq,
    /// Its bytes.
    pub payload: Bytes,
    /// What became of it.
    pub receipt: Receipt,
}

/// Some of the transactions that are in no block, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MempoolPage {
    /// How many wait altogether.
    pub len: u64,
    /// Those of the page.
    pub txs: Vec<(Seq, TxId)>,
    /// Whether more follow.
    pub has_more: bool,
}
