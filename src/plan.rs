//! The plan: in which batches blocks are committed. Pure.

use serde::{Deserialize, Serialize};

/// When a batch is full. A batch holds at least one block, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLimits {
    /// Transactions.
    pub txs_max: u64,
    /// Bytes of changes and receipts, about: as they are kept where nothing needs to be opened for the commit.
    pub bytes_max: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { txs_max: 50_000, bytes_max: 32 << 20 }
    }
}

/// How large a batch is so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSize {
    /// Blocks.
    pub blocks: u64,
    /// Transactions.
    pub txs: u64,
    /// Bytes of changes and receipts, about.
    pub bytes: u64,
}

impl BatchLimits {
    /// Says whether a batch of this size takes no further block.
    #[must_use]
    pub const fn is_full(&self, size: BatchSize) -> bool {
        size.blocks > 0 && (size.txs >= self.txs_max || size.bytes >= self.bytes_max)
    }
}

impl BatchSize {
    /// Counts one more block.
    pub const fn add(&mut self, txs: u64, bytes: u64) {
        self.blocks = self.blocks.saturating_add(1);
        self.txs = self.txs.saturating_add(txs);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// An amount of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Blocks.
    pub blocks: u64,
    /// Transactions in them.
    pub txs: u64,
}

impl Work {
    /// Adds one block with so many transactions.
    pub const fn add_block(&mut self, txs: u64) {
        self.blocks = self.blocks.saturating_add(1);
        self.txs = self.txs.saturating_add(txs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_at_either_limit_and_is_never_empty() {
        let limits = BatchLimits { txs_max: 10, bytes_max: 100 };
        let size = |blocks, txs, bytes| BatchSize { blocks, txs, bytes };
        assert!(!limits.is_full(size(0, 0, 0)));
        assert!(!limits.is_full(size(0, 10, 100)));
        assert!(!limits.is_full(size(3, 9, 99)));
        assert!(limits.is_full(size(1, 10, 0)));
        assert!(limits.is_full(size(1, 0, 100)));
    }

    #[test]
    fn blocks_are_counted() {
        let mut size = BatchSize::default();
        size.add(3, 40);
        size.add(4, 50);
        assert_eq!(size, BatchSize { blocks: 2, txs: 7, bytes: 90 });
        size.add(u64::MAX, u64::MAX);
        assert_eq!(size, BatchSize { blocks: 3, txs: u64::MAX, bytes: u64::MAX });
        let mut work = Work::default();
        work.add_block(3);
        work.add_block(4);
        assert_eq!(work, Work { blocks: 2, txs: 7 });
    }

    #[test]
    fn the_usual_batch_is_bounded_by_both() {
        let limits = BatchLimits::default();
        assert_eq!((limits.txs_max, limits.bytes_max), (50_000, 33_554_432));
    }
}
