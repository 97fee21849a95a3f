//! Reads what blocks are expected to read of the state before their turn, many keys at once.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::exec::below::Below;
use crate::exec::{PendingBlock, panic_guard};
use crate::machine::StateMachine;
use crate::types::Bytes;

/// Keys that are remembered, so that they are not read again: 16 MiB at most.
const SEEN_MAX: usize = 1 << 20;

/// Keys that a lot of blocks names for each one that was not named before, from which on looking costs more than it saves.
const NAMED_BY_NEW: usize = 8;
/// Lots that are passed over after such a one, at most.
const PASSED_MAX: u32 = 32;

/// Reads for the blocks that one thread reads.
pub(super) struct Fetch {
    machine: Arc<dyn StateMachine>,
    below: Arc<Below>,
    /// Hashes of keys that were named: where two collide, one is read when it is asked for.
    seen: HashSet<u64, RandomState>,
    hasher: RandomState,
    rest: Rest,
}

/// Lots for which nothing is read: they name what is kept already.
#[derive(Default)]
struct Rest {
    left: u32,
    /// How many were passed over last.
    passed: u32,
}

impl Fetch {
    pub(super) fn new(machine: Arc<dyn StateMachine>, below: Arc<Below>) -> Self {
        Self {
            machine,
            below,
            seen: HashSet::default(),
            hasher: RandomState::default(),
            rest: Rest::default(),
        }
    }

    /// Has the state below keep what blocks are expected to read.
    pub(super) fn read_for<'a>(&mut self, blocks: impl Iterator<Item = &'a PendingBlock>) {
        if self.rest.has_lot() {
            return;
        }
        if self.seen.len() > SEEN_MAX {
            self.seen.clear();
        }
        let (mut keys, mut named) = (Vec::new(), 0usize);
        let name = || {
            for tx in blocks.flat_map(|block| &block.input.txs) {
                self.machine.expected_reads(tx, &mut |key| {
                    named = named.saturating_add(1);
                    if self.seen.insert(self.hasher.hash_one(key)) {
                        keys.push(Bytes::from(key));
                    }
                });
            }
        };
        // Whatever is wrong with a transaction is found out, and attributed, when it is executed.
        let _ = panic_guard::run(|| catch_unwind(AssertUnwindSafe(name)));
        self.rest.paid(named < keys.len().saturating_mul(NAMED_BY_NEW));
        self.below.fetch(keys);
    }
}

impl Rest {
    /// Says whether this lot is one that is passed over; counts it if so.
    fn has_lot(&mut self) -> bool {
        let rests = self.left > 0;
        self.left = self.left.saturating_sub(1);
        rests
    }

    /// Takes note of whether looking paid; where it did not, ever more lots are passed over.
    fn paid(&mut self, paid: bool) {
        self.passed = if paid { 0 } else { self.passed.saturating_mul(2).clamp(1, PASSED_MAX) };
        self.left = self.passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pay_is_done_ever_more_rarely() {
        let mut rest = Rest::default();
        let mut lots = |paid| {
            rest.paid(paid);
            std::iter::repeat_with(|| rest.has_lot()).take_while(|rests| *rests).count()
        };
        assert_eq!([false; 7].map(&mut lots), [1, 2, 4, 8, 16, 32, 32]);
        assert_eq!([true, false, false].map(&mut lots), [0, 1, 2]);
    }
}
