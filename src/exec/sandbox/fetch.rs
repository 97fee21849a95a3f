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

/// Reads for the blocks that one thread reads.
pub(super) struct Fetch {
    machine: Arc<dyn StateMachine>,
    below: Arc<Below>,
    /// Hashes of keys that were named: where two collide, one is read when it is asked for.
    seen: HashSet<u64, RandomState>,
    hasher: RandomState,
}

impl Fetch {
    pub(super) fn new(machine: Arc<dyn StateMachine>, below: Arc<Below>) -> Self {
        Self { machine, below, seen: HashSet::default(), hasher: RandomState::default() }
    }

    /// Has the state below keep what blocks are expected to read.
    pub(super) fn read_for<'a>(&mut self, blocks: impl Iterator<Item = &'a PendingBlock>) {
        if self.seen.len() > SEEN_MAX {
            self.seen.clear();
        }
        let mut keys = Vec::new();
        let named = || {
            for tx in blocks.flat_map(|block| &block.input.txs) {
                self.machine.expected_reads(tx, &mut |key| {
                    if self.seen.insert(self.hasher.hash_one(key)) {
                        keys.push(Bytes::from(key));
                    }
                });
            }
        };
        // Whatever is wrong with a transaction is found out, and attributed, when it is executed.
        let _ = panic_guard::run(|| catch_unwind(AssertUnwindSafe(named)));
        self.below.fetch(keys);
    }
}
