//! A rest: after something did not pay, it is not tried for some transactions.

use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks of which one rests in any case, to see what its transactions take by themselves.
const LOOK_EVERY: u64 = 32;
/// Transactions that rest for each one of a block that did not pay: what it lost is a small part of what they take.
const TIMES_MIN: u64 = 8;
/// The same, at most.
const TIMES_MAX: u64 = 256;

/// Which of the blocks to come rest.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Transactions that are to rest.
    left: AtomicU64,
    /// How many rested for each one of the block that did not pay last; zero where the last one paid.
    times: AtomicU64,
    /// Blocks so far.
    blocks: AtomicU64,
}

impl Rest {
    /// Says whether this block, of so many transactions, is one that rests; counts it if so.
    pub(super) fn has_block(&self, txs: u64) -> bool {
        if self.blocks.fetch_add(1, Ordering::Relaxed) % LOOK_EVERY == LOOK_EVERY - 1 {
            return true;
        }
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(txs), Ordering::Relaxed);
        left > 0
    }

    /// Takes note of whether it paid for a block of so many transactions; where it did not, ever more rest.
    pub(super) fn paid(&self, paid: bool, txs: u64) {
        if paid {
            self.times.store(0, Ordering::Relaxed);
            return;
        }
        let times = self.times.load(Ordering::Relaxed).saturating_mul(2);
        let times = times.clamp(TIMES_MIN, TIMES_MAX);
        self.times.store(times, Ordering::Relaxed);
        self.left.store(times.saturating_mul(txs), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pay_is_tried_ever_more_rarely() {
        let rest = Rest::default();
        let rested = |txs| {
            let mut blocks = 0;
            while rest.left.load(Ordering::Relaxed) > 0 {
                // As if no block had come so far.
                rest.blocks.store(0, Ordering::Relaxed);
                assert!(rest.has_block(txs));
                blocks += 1;
            }
            rest.blocks.store(0, Ordering::Relaxed);
            assert!(!rest.has_block(txs));
            blocks
        };
        assert_eq!(rested(10), 0);
        for expected in [8, 16, 32, 64, 128, 256, 256] {
            rest.paid(false, 10);
            assert_eq!(rested(10), expected);
        }
        rest.paid(true, 10);
        assert_eq!(rested(10), 0);
        rest.paid(false, 10);
        assert_eq!(rested(100), 1, "a small block that did not pay silences no large ones");
    }

    #[test]
    fn one_block_in_many_rests_to_see_what_it_takes() {
        let rest = Rest::default();
        let rests: Vec<_> = (0..3 * LOOK_EVERY).filter(|_| rest.has_block(9)).collect();
        assert_eq!(rests, [LOOK_EVERY - 1, 2 * LOOK_EVERY - 1, 3 * LOOK_EVERY - 1]);
    }
}
