//! A rest: after something did not pay, it is not tried for some blocks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks of which one rests in any case, to see what its transactions take by themselves.
const LOOK_EVERY: u64 = 32;
/// Blocks that rest after something did not pay, at least: enough to learn anew what order takes.
const BLOCKS_MIN: u64 = 32;
/// The same, at most.
const BLOCKS_MAX: u64 = 256;

/// Which of the blocks to come rest.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Blocks that are to rest.
    left: AtomicU64,
    /// How many that are to be next time.
    next: AtomicU64,
    /// Blocks so far.
    blocks: AtomicU64,
}

impl Rest {
    /// Says whether this block is one that rests; counts it if so.
    pub(super) fn has_block(&self) -> bool {
        if self.blocks.fetch_add(1, Ordering::Relaxed) % LOOK_EVERY == LOOK_EVERY - 1 {
            return true;
        }
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    /// Takes note of whether it paid; where it did not, ever more blocks rest.
    pub(super) fn paid(&self, paid: bool) {
        if paid {
            self.next.store(0, Ordering::Relaxed);
            return;
        }
        let blocks = self.next.load(Ordering::Relaxed).saturating_mul(2);
        let blocks = blocks.clamp(BLOCKS_MIN, BLOCKS_MAX);
        self.next.store(blocks, Ordering::Relaxed);
        self.left.store(blocks, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pay_is_tried_ever_more_rarely() {
        let rest = Rest::default();
        let rests = || {
            // As if no block had come so far.
            rest.blocks.store(0, Ordering::Relaxed);
            let left = rest.left.load(Ordering::Relaxed);
            let rested = (0..LOOK_EVERY - 1).take_while(|_| rest.has_block()).count();
            rest.left.store(0, Ordering::Relaxed);
            assert_eq!(crate::codec::count(rested), left.min(LOOK_EVERY - 1));
            left
        };
        assert_eq!(rests(), 0);
        for expected in [32, 64, 128, 256, 256] {
            rest.paid(false);
            assert_eq!(rests(), expected);
        }
        rest.paid(true);
        assert_eq!(rests(), 0);
        rest.paid(false);
        assert_eq!(rests(), 32);
    }

    #[test]
    fn one_block_in_many_rests_to_see_what_it_takes() {
        let rest = Rest::default();
        let rests: Vec<_> = (0..3 * LOOK_EVERY).filter(|_| rest.has_block()).collect();
        assert_eq!(rests, [LOOK_EVERY - 1, 2 * LOOK_EVERY - 1, 3 * LOOK_EVERY - 1]);
    }
}
