//! Reads what blocks are expected to read of the state before their turn, many keys at once.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::exec::below::Below;
use crate::exec::rest::Rest;
use crate::exec::{PendingBlock, panic_guard};
use crate::machine::StateMachine;
use crate::types::Bytes;

/// Keys that are remembered, so that they are not read again: 16 MiB at most.
const SEEN_MAX: usize = 1 << 20;

/// Keys that a lot of blocks names for each one that was not named before, from which on looking costs more than it saves.
const NAMED_BY_NEW: usize = 8;
/// Lots that are passed over after such a one, at most.
const PASSED_MAX: u64 = 32;

/// Reads for the blocks that one thread reads.
pub(super) struct Fetch {
    machine: Arc<dyn StateMachine>,
    below: Arc<Below>,
    /// Hashes of keys that were named: where two collide, one is read when it is asked for.
    seen: HashSet<u64, RandomState>,
    hasher: RandomState,
    /// Lots for which nothing is read: they name what is kept already.
    rest: Rest,
}

impl Fetch {
    pub(super) fn new(machine: Arc<dyn StateMachine>, below: Arc<Below>) -> Self {
        Self {
            machine,
            below,
            seen: HashSet::default(),
            hasher: RandomState::default(),
            rest: Rest::new(1, PASSED_MAX),
        }
    }

    /// Has the state below keep what blocks are expected to read.
    pub(super) fn read_for<'a>(&mut self, blocks: impl Iterator<Item = &'a PendingBlock>) {
        if self.rest.has(1) {
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
        self.rest.paid(named < keys.len().saturating_mul(NAMED_BY_NEW), 1);
        self.below.fetch(keys);
    }
}
