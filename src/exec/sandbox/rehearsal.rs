//! A rehearsal: blocks that were executed in a sandbox, in memory or in its database. What may be committed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::codec::count;
use crate::exec::above::Spill;
use crate::exec::net::{NetOf, Nets};
use crate::exec::resume::sealed_from;
use crate::exec::sealed::SealedBlock;
use crate::state::ChangeSet;
use crate::store::StoreError;
use crate::types::Height;

/// Bytes of blocks that are written to the sandbox database in one transaction, or a block more.
const SAVED_AT_ONCE: usize = 8 << 20;

/// Blocks that were executed in a sandbox, in order: what may be committed. Only a sandbox makes one.
pub(crate) struct Rehearsal {
    spill: Arc<Spill>,
    /// The first and the last block that are in the sandbox database alone.
    spilled: Option<(Height, Height)>,
    /// Those after them.
    memory: VecDeque<SealedBlock>,
    memory_bytes: usize,
    /// What blocks change together, as far as it was joined; `None` where there is no memory for it.
    nets: Option<Nets>,
    /// How many of the last ones are in memory alone.
    unsaved: usize,
    /// Since when there are such.
    unsaved_since: Option<Instant>,
    /// Blocks that it came to hold.
    blocks: u64,
    /// Blocks that were handed out.
    taken: u64,
}

/// What a rehearsal may keep in memory alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RehearsalLimits {
    /// Bytes of its blocks.
    pub(crate) memory_bytes_max: usize,
    /// Time: a crash would cost as much of it. `None` where it does not matter.
    pub(crate) unsaved_max: Option<Duration>,
}

impl Rehearsal {
    pub(super) fn empty(spill: Arc<Spill>) -> Self {
        Self {
            spill,
            spilled: None,
            memory: VecDeque::new(),
            memory_bytes: 0,
            nets: Some(Nets::default()),
            unsaved: 0,
            unsaved_since: None,
            blocks: 0,
            taken: 0,
        }
    }

    /// Says whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.spilled.is_none() && self.memory.is_empty()
    }

    /// Returns how many blocks were not handed out.
    pub(crate) const fn left(&self) -> u64 {
        self.blocks.saturating_sub(self.taken)
    }

    /// Moves what was not handed out to the sandbox database for the next recovery; says how many blocks that are.
    pub(crate) fn set_aside(&mut self) -> Result<u64, StoreError> {
        if !self.is_empty() {
            self.save()?;
            // CRASH: before this the blocks may be found not to fit, and are rehearsed again; after it they are gone on with.
            self.spill.write_base()?;
        }
        Ok(self.left())
    }

    /// Takes back the block that was handed out last.
    pub(crate) fn put_back(&mut self, block: SealedBlock) {
        self.taken = self.taken.saturating_sub(1);
        if let Some((first, _)) = &mut self.spilled {
            *first = block.order.height;
        } else {
            self.memory_bytes = self.memory_bytes.saturating_add(block.memory());
            self.memory.push_front(block);
        }
    }

    /// Returns the next block to be committed.
    pub(crate) fn next_block(&mut self) -> Result<Option<SealedBlock>, StoreError> {
        if let Some((first, last)) = self.spilled {
            if let Some(block) = self.read_spilled(first)? {
                self.taken = self.taken.saturating_add(1);
                let next = Height(block.order.height.get().saturating_add(1));
                self.spilled = (next <= last).then_some((next, last));
                return Ok(Some(block));
            }
            self.spilled = None;
        }
        let Some(block) = self.memory.pop_front() else { return Ok(None) };
        self.memory_bytes = self.memory_bytes.saturating_sub(block.memory());
        self.taken = self.taken.saturating_add(1);
        Ok(Some(block))
    }

    /// Returns about how many bytes of memory the commit of a block takes that was handed out: less than if it were opened
    /// where what it changes is joined already. A block at the end of a batch may be opened all the same.
    pub(crate) fn commit_memory(&self, block: &SealedBlock) -> u64 {
        let is_joined = self.nets.as_ref().is_some_and(|nets| nets.cover(block.order.height));
        if is_joined { count(block.memory()) } else { block.opened_memory() }
    }

    /// Returns what blocks up to one that was handed out change together, as far as it was joined.
    pub(crate) fn nets_to(&mut self, last: Height) -> Vec<NetOf> {
        self.nets.as_mut().map(|nets| nets.take_to(last)).unwrap_or_default()
    }

    /// Goes on with the blocks from `first` to `last` that an earlier process left in the sandbox database.
    pub(super) fn resume(&mut self, first: Height, last: Height, blocks: u64) {
        (self.spilled, self.blocks) = (Some((first, last)), blocks);
    }

    /// Takes up blocks that follow; writes all of them to the sandbox database where they take more memory, or were there
    /// alone for longer, than they may. Joins what they change, as long as there is memory for that besides.
    pub(super) fn add(
        &mut self,
        blocks: Vec<(SealedBlock, Option<ChangeSet>)>,
        limits: RehearsalLimits,
    ) -> Result<(), StoreError> {
        // The thread that executed them was given up on: they are rehearsed again.
        if self.spill.is_abandoned() {
            return Ok(());
        }
        for (block, changes) in blocks {
            self.memory_bytes = self.memory_bytes.saturating_add(block.memory());
            self.blocks = self.blocks.saturating_add(1);
            self.unsaved = self.unsaved.saturating_add(1);
            self.join(block.order.height, changes, limits.memory_bytes_max);
            self.memory.push_back(block);
        }
        let unsaved = self.unsaved_since.get_or_insert_with(Instant::now).elapsed();
        let is_late = limits.unsaved_max.is_some_and(|most| unsaved >= most);
        let is_much = self.memory_bytes > limits.memory_bytes_max;
        if is_much || is_late {
            self.save()?;
        }
        if is_much && let (Some(front), Some(back)) = (self.memory.front(), self.memory.back()) {
            let first = self.spilled.map_or(front.order.height, |(first, _)| first);
            self.spilled = Some((first, back.order.height));
            self.memory.clear();
            self.memory_bytes = 0;
        }
        Ok(())
    }

    /// Joins what a block changes with what those before it change; nothing any more, once that takes too much memory:
    /// rather are blocks opened again than read back.
    fn join(&mut self, height: Height, changes: Option<ChangeSet>, memory_bytes_max: usize) {
        let Some((nets, changes)) = self.nets.as_mut().zip(changes) else { return };
        let memory = nets.memory().saturating_add(changes.memory());
        if self.memory_bytes.saturating_add(memory) > memory_bytes_max {
            self.nets = None;
        } else {
            nets.add(height, changes);
        }
    }

    /// Writes what is in memory alone to the sandbox database.
    fn save(&mut self) -> Result<(), StoreError> {
        let mut encoded = Vec::new();
        let mut bytes = 0usize;
        for block in self.memory.iter().rev().take(self.unsaved).rev() {
            let body = block.encode();
            bytes = bytes.saturating_add(body.len());
            encoded.push((block.order.height, body));
            if bytes > SAVED_AT_ONCE {
                write(&self.spill, &encoded)?;
                encoded.clear();
                bytes = 0;
            }
        }
        write(&self.spill, &encoded)?;
        (self.unsaved, self.unsaved_since) = (0, None);
        Ok(())
    }

    fn read_spilled(&self, from: Height) -> Result<Option<SealedBlock>, StoreError> {
        Ok(self.spill.read(|database| sealed_from(database, from))?.flatten())
    }
}

fn write(spill: &Spill, blocks: &[(Height, Vec<u8>)]) -> Result<(), StoreError> {
    if blocks.is_empty() {
        return Ok(());
    }
    // CRASH: what is written here is gone on with; what is not is rehearsed again.
    spill.write(|database| {
        database.add_blocks(blocks.iter().map(|(height, body)| (*height, body.as_slice())))
    })
}

/// Locks a rehearsal; a panic while it is held leaves it as the last block left it.
pub(crate) fn lock(rehearsal: &Mutex<Rehearsal>) -> MutexGuard<'_, Rehearsal> {
    rehearsal.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::RehearsedBlock;
    use crate::exec::above::tests::spill;
    use crate::exec::net::net_changes;
    use crate::exec::net::tests::rehearsed;

    const MUCH: RehearsalLimits = RehearsalLimits { memory_bytes_max: 1 << 30, unsaved_max: None };

    fn empty() -> (tempfile::TempDir, Rehearsal) {
        let (scratch, _, spill) = spill();
        (scratch, Rehearsal::empty(spill))
    }

    fn sealed(block: &RehearsedBlock) -> (SealedBlock, Option<ChangeSet>) {
        (SealedBlock::of(block), Some(block.changes.clone()))
    }

    /// Hands out so many blocks.
    fn take(rehearsal: &mut Rehearsal, blocks: usize) -> Vec<SealedBlock> {
        let next = || rehearsal.next_block().expect("a database");
        std::iter::repeat_with(next).take(blocks).map(|block| block.expect("a block")).collect()
    }

    fn last(blocks: &[SealedBlock]) -> Height {
        blocks.last().expect("blocks").order.height
    }

    #[test]
    fn what_blocks_change_is_joined_for_the_batches_that_they_are_in() {
        let (_scratch, mut rehearsal) = empty();
        let blocks = rehearsed();
        let (one, other) = blocks.split_at(15);
        for lot in [one, other] {
            rehearsal.add(lot.iter().map(sealed).collect(), MUCH).expect("memory");
            if lot == one {
                let batch = take(&mut rehearsal, 15);
                let nets = rehearsal.nets_to(last(&batch));
                assert_eq!(nets.len(), 1);
                assert_eq!(net_changes(&batch, nets), net_changes(&batch, Vec::new()));
            }
        }
        let mut batch = take(&mut rehearsal, 11);
        rehearsal.put_back(batch.pop().expect("eleven"));
        assert!(rehearsal.nets_to(last(&batch)).is_empty(), "they go beyond the batch");
        let batch = take(&mut rehearsal, 15);
        let nets = rehearsal.nets_to(last(&batch));
        assert_eq!(nets.len(), 1);
        assert_eq!(net_changes(&batch, nets), net_changes(&batch, Vec::new()), "of others as well");
    }

    #[test]
    fn blocks_are_measured_as_opened_unless_their_changes_are_joined() {
        // So many that they are kept compressed.
        let large = |mut block: RehearsedBlock| {
            let txs = (1..2_000).filter_map(crate::types::Seq::new);
            block.receipts = crate::block::Receipts(
                txs.map(|_| crate::block::Receipt::applied(*b"the same")).collect(),
            );
            block
        };
        let blocks: Vec<_> = rehearsed().into_iter().map(large).collect();
        let (_scratch, mut rehearsal) = empty();
        let (resumed, joined) = blocks.split_at(1);
        let plain = resumed.iter().map(|block| (SealedBlock::of(block), None));
        rehearsal.add(plain.collect(), MUCH).expect("memory");
        rehearsal.add(joined.iter().map(sealed).collect(), MUCH).expect("memory");
        let batch = take(&mut rehearsal, 2);
        let [first, second] = &*batch else { panic!("two blocks") };
        assert_eq!(rehearsal.commit_memory(first), first.opened_memory());
        assert_eq!(rehearsal.commit_memory(second), count(second.memory()));
        assert!(second.opened_memory() > 2 * count(second.memory()));
    }

    #[test]
    fn nothing_is_joined_where_that_takes_too_much_memory() {
        let (_scratch, mut rehearsal) = empty();
        let blocks: Vec<_> = rehearsed().iter().map(sealed).collect();
        let bytes: usize = blocks.iter().map(|(block, _)| block.memory()).sum();
        let limits = RehearsalLimits { memory_bytes_max: bytes, ..MUCH };
        rehearsal.add(blocks, limits).expect("memory");
        assert!(rehearsal.nets.is_none() && rehearsal.spilled.is_none(), "blocks before nets");
        let batch = take(&mut rehearsal, 40);
        assert!(rehearsal.nets_to(last(&batch)).is_empty());
        assert!(rehearsal.next_block().expect("a database").is_none());
    }
}
