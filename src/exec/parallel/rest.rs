//! Which blocks rest: those after one in which something did not pay, and one in many.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::exec::rest::Rest;

/// Blocks of which one rests in any case, to see what its transactions take by themselves.
const LOOK_EVERY: u64 = 32;
/// Transactions that rest for each one that was lost, at least: what was lost is a small part of what they take.
const TIMES_MIN: u64 = 8;
/// The same, at most.
const TIMES_MAX: u64 = 256;

/// Which of the blocks to come rest.
#[derive(Debug)]
pub(super) struct RestOfBlocks {
    /// Transactions that are to rest.
    txs: Rest,
    /// Blocks so far.
    blocks: AtomicU64,
}

impl Default for RestOfBlocks {
    fn default() -> Self {
        Self { txs: Rest::new(TIMES_MIN, TIMES_MAX), blocks: AtomicU64::new(0) }
    }
}

impl RestOfBlocks {
    /// Says whether this block, of so many transactions, is one that rests; counts it if so.
    pub(super) fn has_block(&self, txs: u64) -> bool {
        let block = self.blocks.fetch_add(1, Ordering::Relaxed);
        block % LOOK_EVERY == LOOK_EVERY - 1 || self.txs.has(txs)
    }

    /// Takes note of whether it paid; where it did not, several times so many transactions rest, ever more.
    pub(super) fn paid(&self, paid: bool, txs: u64) {
        self.txs.paid(paid, txs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_in_many_rests_to_see_what_it_takes() {
        let rest = RestOfBlocks::default();
        let rests: Vec<_> = (0..3 * LOOK_EVERY).filter(|_| rest.has_block(9)).collect();
        assert_eq!(rests, [LOOK_EVERY - 1, 2 * LOOK_EVERY - 1, 3 * LOOK_EVERY - 1]);
    }

    #[test]
    fn as_many_transactions_rest_as_a_block_that_did_not_pay_calls_for() {
        let rest = RestOfBlocks::default();
        rest.paid(false, 10);
        let rests: Vec<_> = (0..10).filter(|_| rest.has_block(20)).collect();
        assert_eq!(rests, [0, 1, 2, 3]);
    }
}
