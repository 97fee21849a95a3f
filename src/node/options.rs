//! How a node works; none of it changes its results.

use std::sync::Arc;
use std::time::Duration;

use crate::exec::RecoveryOptions;
use crate::telemetry::Metrics;
use crate::types::{Bytes, UnixMillis};

/// How a node works; none of it changes what its blocks do.
#[derive(Clone)]
pub struct NodeOptions {
    /// How blocks are executed and committed, at the start and after it. Its clock is that of the node.
    pub recovery: RecoveryOptions,
    /// What is counted and measured.
    pub metrics: Metrics,
    /// Orders blocks of what waits; `None` where somebody else decides.
    pub sequencer: Option<Sequencer>,
    /// Bytes that may wait to be logged, in KiB.
    pub queue_kib: u32,
    /// Transactions that are taken at once.
    pub batch_txs_max: usize,
    /// Transactions that may wait for a block; beyond it no more are taken.
    pub mempool_txs_max: u64,
    /// Questions that may wait for an answer.
    pub questions_max: u32,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            recovery: RecoveryOptions::default(),
            metrics: Metrics::default(),
            sequencer: None,
            queue_kib: 64 << 10,
            batch_txs_max: 10_000,
            mempool_txs_max: 1_000_000,
            questions_max: 1_024,
        }
    }
}

/// Makes the header of a block from its time.
type MakeHeader = dyn Fn(UnixMillis) -> Bytes + Send + Sync;

/// Orders blocks of what waits, oldest first.
#[derive(Clone)]
pub struct Sequencer {
    /// Longest time that a transaction waits for its block.
    pub interval: Duration,
    /// Transactions for which a block is ordered at once, and the most that it holds.
    pub txs_max: u32,
    /// Ordered blocks that may wait to be confirmed; beyond it none is ordered.
    pub pending_blocks_max: u64,
    /// Makes the machine's own header.
    pub header: Arc<MakeHeader>,
}

impl Sequencer {
    /// Orders a block each 200 milliseconds or 1,000 transactions, with headers that `header` makes.
    pub fn new(header: impl Fn(UnixMillis) -> Bytes + Send + Sync + 'static) -> Self {
        Self {
            interval: Duration::from_millis(200),
            txs_max: 1_000,
            pending_blocks_max: 64,
            header: Arc::new(header),
        }
    }
}
