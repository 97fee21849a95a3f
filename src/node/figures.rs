//! Figures: how far a node is, kept in atomics, so that nobody who reads them waits for the engine.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::types::Height;

/// How far a node is, read without asking it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Position of the last event of the log.
    pub log_head_seq: u64,
    /// The last confirmed block.
    pub block_height: Option<Height>,
    /// Blocks that are ordered and not confirmed: the replay lag.
    pub pending_blocks: u64,
    /// Transactions in them.
    pub pending_txs: u64,
    /// Transactions that were received and are in no block.
    pub mempool: u64,
    /// Subscriptions that are open.
    pub subscribers: u64,
}

/// The figures as they are kept.
#[derive(Default)]
pub(super) struct Gauge {
    pub(super) log_head_seq: AtomicU64,
    /// The last confirmed block's number plus one; 0 before the first.
    pub(super) blocks_end: AtomicU64,
    pub(super) ordered_blocks: AtomicU64,
    pub(super) ordered_txs: AtomicU64,
    pub(super) confirmed_blocks: AtomicU64,
    pub(super) confirmed_txs: AtomicU64,
    pub(super) mempool: AtomicU64,
    pub(super) subscribers: AtomicU64,
}

impl Gauge {
    pub(super) fn read(&self) -> Figures {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        // What is confirmed is read first, so that the difference is never too small.
        let (blocks, txs) = (get(&self.confirmed_blocks), get(&self.confirmed_txs));
        Figures {
            log_head_seq: get(&self.log_head_seq),
            block_height: get(&self.blocks_end).checked_sub(1).map(Height),
            pending_blocks: get(&self.ordered_blocks).saturating_sub(blocks),
            pending_txs: get(&self.ordered_txs).saturating_sub(txs),
            mempool: get(&self.mempool),
            subscribers: get(&self.subscribers),
        }
    }
}

/// Adds to a number that only one thread raises.
pub(super) fn raise(number: &AtomicU64, by: u64) {
    number.fetch_add(by, Ordering::Relaxed);
}
