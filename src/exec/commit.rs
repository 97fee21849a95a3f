//! The commit: rehearsed blocks become rows, in batches, each one transaction and one checkpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::block::{BlockRow, Counts};
use crate::exec::above::{AboveCheckpoint, Spill};
use crate::exec::brake::Brake;
use crate::exec::bus::{Bus, Committed};
use crate::exec::net::{mempool_moves, net_changes};
use crate::exec::pacer::Pacer;
use crate::exec::reexecute::{Difference, Reexecution};
use crate::exec::sandbox::Rehearsal;
use crate::exec::sealed::SealedBlock;
use crate::exec::{BlockFailure, BlockReader, Clock, Executor, Watch};
use crate::plan::BatchSize;
use crate::state::{ChangeSet, StateDigest};
use crate::store::{Batch, BlockWrite, SandboxBase, Staged, Store, StoreError};
use crate::types::{Digest, Height};

/// How phase 2 gets the effects that it commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitMode {
    /// From the rehearsal.
    #[default]
    Restore,
    /// By executing again; every result must be that of the rehearsal.
    Reexecute,
}

/// Why a commit stopped; batches before it are committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Block(#[from] BlockFailure),
    #[error(transparent)]
    Differs(#[from] Box<Difference>),
}

/// What a committer is made of.
pub(crate) struct CommitParts {
    pub(crate) store: Arc<Store>,
    pub(crate) executor: Executor,
    pub(crate) mode: CommitMode,
    pub(crate) pacer: Pacer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Bus<Committed>,
    pub(crate) brake: Arc<Brake>,
    pub(crate) memory_bytes: usize,
    /// Whether blocks that are executed again are read on a thread of their own.
    pub(crate) works_apart: bool,
}

/// What was committed so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitTotals {
    pub(crate) first: Option<Height>,
    pub(crate) last: Option<Height>,
    pub(crate) blocks: u64,
    pub(crate) batches: u64,
    pub(crate) counts: Counts,
}

/// Changes of a batch from which on its state digest is computed on a thread of its own: below, that costs more.
const THREAD_CHANGES_MIN: usize = 256;

/// Commits rehearsals one after the other.
pub(crate) struct Committer {
    store: Arc<Store>,
    pacer: Pacer,
    /// What was done for the next batch before it was handed over.
    spent: Duration,
    clock: Arc<dyn Clock>,
    bus: Bus<Committed>,
    brake: Arc<Brake>,
    machine_version: u32,
    checkpoint: Option<BlockRow>,
    lanes: StateDigest,
    reexecution: Option<Reexecution>,
    /// The watch over those who read the state while a batch is committed.
    readers: Option<Arc<Watch>>,
    totals: CommitTotals,
}

impl Committer {
    /// Starts at the checkpoint. `reader` gives the blocks after it, where they are to be executed again.
    pub(crate) fn new(
        parts: CommitParts,
        checkpoint: Option<BlockRow>,
        reader: impl FnOnce() -> BlockReader,
    ) -> Result<Self, StoreError> {
        let CommitParts {
            store,
            executor,
            mode,
            pacer,
            clock,
            bus,
            brake,
            memory_bytes,
            works_apart,
        } = parts;
        let parent = checkpoint.as_ref().map_or(Digest::ZERO, BlockRow::digest);
        let lanes = store.main().lanes()?;
        let machine = executor.machine().version();
        let machine_version = machine.version;
        let reexecution = (mode == CommitMode::Reexecute).then(|| {
            let spill = Spill::new(Arc::clone(&store), SandboxBase { machine, parent }, None);
            let state = AboveCheckpoint::new(Arc::clone(&store), Arc::new(spill), memory_bytes);
            Reexecution::new(executor, reader(), state.without_spilling(), works_apart)
        });
        let totals = CommitTotals::default();
        Ok(Self {
            store,
            pacer,
            spent: Duration::ZERO,
            clock,
            bus,
            brake,
            machine_version,
            checkpoint,
            lanes,
            reexecution,
            readers: None,
            totals,
        })
    }

    /// Returns what was committed so far.
    pub(crate) const fn totals(&self) -> &CommitTotals {
        &self.totals
    }

    /// Returns the last block that is committed.
    pub(crate) const fn checkpoint(&self) -> Option<&BlockRow> {
        self.checkpoint.as_ref()
    }

    /// Returns the digest of the state after it.
    pub(crate) fn state_digest(&self) -> Digest {
        self.lanes.digest()
    }

    /// Returns how large batches are, and why.
    pub(crate) const fn pacer(&self) -> &Pacer {
        &self.pacer
    }

    /// Counts work that was done for the next batch alone, and that a crash would repeat with it.
    pub(crate) fn charge(&mut self, time: Duration) {
        self.spent = self.spent.saturating_add(time);
    }

    /// Takes note of what was rehearsed before anything is committed.
    pub(crate) fn rehearsed(&mut self, txs: u64, time: Duration) {
        self.pacer.rehearsed(txs, time);
    }

    /// Returns the watch over the blocks that are executed again, where they are.
    pub(crate) fn watch(&self) -> Option<Arc<Watch>> {
        self.reexecution.as_ref().map(|again| Arc::clone(again.watch()))
    }

    /// Takes note of who reads the state while batches are committed: nobody, or those that a watch is over.
    pub(crate) fn is_read_by(&mut self, readers: Option<Arc<Watch>>) {
        self.readers = readers;
    }

    /// Commits a rehearsal, batch by batch. Where the recovery has to end, what is left stays in the rehearsal.
    pub(crate) fn commit(&mut self, rehearsal: &mut Rehearsal) -> Result<(), CommitError> {
        let mut batch = Vec::new();
        let mut begun = Instant::now();
        let mut size = BatchSize::default();
        while !self.brake.is_pulled() {
            let Some(block) = rehearsal.next_block()? else { break };
            match self.reexecution.as_mut().map_or(Ok(()), |again| again.repeat(&block)) {
                Ok(()) => {}
                Err(CommitError::Block(BlockFailure::Poison { .. })) if self.brake.is_pulled() => {
                    // A step that had to end with the recovery says nothing about its block.
                    rehearsal.put_back(block);
                    break;
                }
                Err(error) => {
                    // What was verified until here is committed all the same.
                    self.write(batch, rehearsal)?;
                    return Err(error);
                }
            }
            let memory = match self.reexecution {
                // What the second execution of a batch writes stays in memory until its end.
                Some(_) => block.opened_memory(),
                None => rehearsal.commit_memory(&block),
            };
            size.add(block.counts.txs, memory);
            batch.push(block);
            if self.pacer.batch().is_full(size) {
                if planted!("batch_loses_its_last_block") {
                    batch.pop();
                }
                self.write_timed(std::mem::take(&mut batch), rehearsal, size, begun)?;
                (begun, size) = (Instant::now(), BatchSize::default());
            }
        }
        self.write_timed(batch, rehearsal, size, begun)
    }

    /// Writes a batch for which work began at a time, and has the next ones be as large as that was fast.
    fn write_timed(
        &mut self,
        batch: Vec<SealedBlock>,
        rehearsal: &mut Rehearsal,
        size: BatchSize,
        begun: Instant,
    ) -> Result<(), CommitError> {
        let Some(last) = batch.last().map(|block| block.order.height) else { return Ok(()) };
        self.write(batch, rehearsal)?;
        let time = begun.elapsed().saturating_add(std::mem::take(&mut self.spent));
        self.pacer.committed(last, size.txs, time);
        Ok(())
    }

    fn write(
        &mut self,
        blocks: Vec<SealedBlock>,
        rehearsal: &mut Rehearsal,
    ) -> Result<(), CommitError> {
        let height = |block: &SealedBlock| block.order.height;
        let ends = blocks.first().map(height).zip(blocks.last().map(height));
        let Some((first, last)) = ends else { return Ok(()) };
        let net = net_changes(&blocks, rehearsal.nets_to(last))
            .map_err(|error| self.store.main().codec(first, error))?;
        let batch = self.assemble(blocks, net);
        let lanes = self.write_with(&batch)?;
        let last = batch.blocks.last().map(|block| block.row.clone());
        self.checkpoint = last.map(|row| BlockRow { state_digest: Some(lanes.digest()), ..row });
        self.lanes = lanes;
        self.brake.progress();
        if let Some(reexecution) = &mut self.reexecution {
            reexecution.committed()?;
        }
        self.totals.batches += 1;
        for block in &batch.blocks {
            let (height, counts) = (block.row.order.height, block.row.counts);
            self.totals.first = self.totals.first.or(Some(height));
            self.totals.last = Some(height);
            self.totals.blocks += 1;
            self.totals.counts.add(counts);
            self.bus.publish(&Committed { height, counts });
        }
        Ok(())
    }

    /// Writes a batch while the state digest after it is computed beside, where that is worth a thread.
    fn write_with(&self, batch: &Batch) -> Result<StateDigest, StoreError> {
        let (mut lanes, net) = (self.lanes.clone(), &batch.net);
        if net.changes().len() < THREAD_CHANGES_MIN {
            lanes.apply(net);
            if planted!("changes_digested_twice") {
                lanes.apply(net);
            }
            self.commit_staged(self.store.stage(batch)?, &lanes)?;
            return Ok(lanes);
        }
        std::thread::scope(|scope| {
            let digesting = scope.spawn(|| {
                lanes.apply(net);
                lanes
            });
            let staged = self.store.stage(batch)?;
            let lanes = digesting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.commit_staged(staged, &lanes)?;
            Ok(lanes)
        })
    }

    fn commit_staged(&self, staged: Staged<'_>, lanes: &StateDigest) -> Result<(), StoreError> {
        // What waits for this is not to be taken for a step that does not end.
        let _still = self.readers.as_ref().map(|watch| watch.stand_still());
        // CRASH: before this commit the checkpoint is the last block of the batch before; after it, of this one.
        staged.commit(lanes)
    }

    fn assemble(&self, blocks: Vec<SealedBlock>, net: ChangeSet) -> Batch {
        let committed = self.clock.now();
        let (received, ordered) = mempool_moves(&blocks);
        let quarantined = blocks.iter().flat_map(|block| block.quarantined.clone()).collect();
        let settled = blocks.iter().flat_map(|block| block.settled.clone()).collect();
        let mut parent = self.checkpoint.as_ref().map_or(Digest::ZERO, BlockRow::digest);
        let written = blocks.into_iter().map(|block| {
            let row = BlockRow {
                order: block.order,
                parent,
                header: block.header,
                counts: block.counts,
                receipts_digest: block.effects.receipts,
                changes_digest: block.effects.changes,
                committed,
                state_digest: None,
            };
            parent = row.digest();
            BlockWrite { row, body: block.body }
        });
        Batch {
            blocks: written.collect(),
            net,
            received,
            ordered,
            quarantined,
            settled,
            machine_version: self.machine_version,
        }
    }
}
