//! The sandbox: rehearses the backlog above the checkpoint, and alone can make a [`Rehearsal`].

mod rehearsal;
mod sealing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::rehearsal::RehearsalLimits;
pub(crate) use self::rehearsal::{Rehearsal, lock};
use self::sealing::Sealing;
use crate::block::BlockRow;
use crate::codec::count;
use crate::diff::Verdicts;
use crate::exec::above::{AboveCheckpoint, Spill};
use crate::exec::ahead::{Ahead, NextBlock};
use crate::exec::brake::Brake;
use crate::exec::bus::{Bus, Rehearsed};
use crate::exec::preparation::Prepared;
use crate::exec::resume::{Resume, rehearsed_from};
use crate::exec::{
    BlockFailure, BlockReader, Executor, Foreseen, PendingBlock, RehearsedBlock, Rulings, Watch,
    Window, watched,
};
use crate::machine::BlockInput;
use crate::plan::{BatchLimits, BatchSize};
use crate::state::{MemoryState, RecordingState};
use crate::store::{QuarantineWrite, SandboxBase, SandboxDb, Store, StoreError};
use crate::types::{Digest, Height, Seq};

/// What a sandbox is made of.
pub(crate) struct SandboxParts {
    pub(crate) store: Arc<Store>,
    pub(crate) executor: Executor,
    pub(crate) checkpoint: Option<BlockRow>,
    pub(crate) verdicts: Arc<Verdicts>,
    /// Position of the last event that was examined: what is logged after it is not rehearsed.
    pub(crate) end: u64,
    pub(crate) bus: Bus<Rehearsed>,
    pub(crate) brake: Arc<Brake>,
    /// Bytes of memory for the state above the checkpoint, and as many for what is cached of the one below.
    pub(crate) memory_bytes: usize,
    /// Whether blocks are committed while those after them are rehearsed.
    pub(crate) is_read_amid_commits: bool,
    /// Bytes of memory for rehearsed blocks.
    pub(crate) rehearsed_bytes: usize,
    /// For how long rehearsed blocks may be in memory alone, where that matters.
    pub(crate) unsaved_max: Option<Duration>,
    /// Whether blocks are read before they are executed, and turned into bytes after, on threads of their own.
    pub(crate) works_apart: bool,
}

/// An isolated instance of the node's state in which blocks are executed before they are committed.
pub(crate) struct Sandbox {
    executor: Executor,
    blocks: Ahead,
    /// Whether the log was read to its end.
    is_at_end: bool,
    /// A block that was read and could not be executed yet.
    held: Option<PendingBlock>,
    /// The block after the present one, where it was read already.
    next: Option<Next>,
    /// What was executed of it with the present one.
    foreseen: Foreseen,
    state: AboveCheckpoint,
    spill: Arc<Spill>,
    /// Shared with the thread that may have to give up on this one.
    rehearsal: Arc<Mutex<Rehearsal>>,
    sealing: Sealing,
    /// What was executed and not handed out.
    size: BatchSize,
    bus: Bus<Rehearsed>,
    brake: Arc<Brake>,
    resumed: u64,
}

/// A block that was read before its turn.
struct Next {
    block: NextBlock,
    /// What is prepared for it, which ends when this is dropped.
    prepared: Option<Prepared>,
    /// Whether it is executed with the one before it, and prepared there.
    is_foreseen: bool,
}

impl Next {
    fn foreseen(&self) -> Option<(&BlockInput, &Rulings)> {
        let block = self.block.as_ref().ok()?.as_ref().filter(|_| self.is_foreseen)?;
        Some((&block.input, &block.rulings))
    }
}

/// How much is rehearsed before it is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// The whole backlog.
    All,
    /// One batch.
    Batch(BatchLimits),
    /// The blocks below a height.
    Below(Height),
}

/// Why a rehearsal stopped before its extent. What it has so far can be taken and committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RehearseError {
    #[error(transparent)]
    Block(BlockFailure),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("stopped")]
    Stopped,
}

/// A block that could not be executed, with all that is needed to try it elsewhere.
#[derive(Debug)]
pub struct FailedBlock {
    /// What was to be executed.
    pub block: PendingBlock,
    /// The entries of the state before it that it touched, as far as it went.
    pub touched: MemoryState,
    /// Why it failed.
    pub failure: BlockFailure,
}

impl Sandbox {
    /// Opens a sandbox, and goes on where an earlier one stopped if what it left still fits.
    pub(crate) fn open(parts: SandboxParts, found: Option<SandboxDb>) -> Result<Self, StoreError> {
        let machine = parts.executor.machine().version();
        let parent = parts.checkpoint.as_ref().map_or(Digest::ZERO, BlockRow::digest);
        let base = SandboxBase { machine, parent };
        let Some(database) = found else { return Self::assemble(parts, base, None) };
        let (checkpoint, verdicts) = (parts.checkpoint.as_ref(), &parts.verdicts);
        let resume = Resume::find(&parts.store, &database, &base, checkpoint, verdicts);
        let resume = match resume {
            Err(error) if error.problem.is_of_content() => None,
            found => found?,
        };
        if let Some(resume) = resume {
            return Self::assemble(parts, base, Some((database, resume)));
        }
        drop(database);
        parts.store.drop_sandbox()?;
        Self::assemble(parts, base, None)
    }

    fn assemble(
        parts: SandboxParts,
        base: SandboxBase,
        found: Option<(SandboxDb, Resume)>,
    ) -> Result<Self, StoreError> {
        let SandboxParts {
            store,
            executor,
            checkpoint,
            verdicts,
            end,
            bus,
            brake,
            memory_bytes,
            is_read_amid_commits,
            rehearsed_bytes,
            unsaved_max,
            works_apart,
        } = parts;
        let limits = RehearsalLimits { memory_bytes_max: rehearsed_bytes, unsaved_max };
        let (database, resume) = found.unzip();
        let spill = Arc::new(Spill::new(Arc::clone(&store), base, database));
        let mut state = AboveCheckpoint::new(Arc::clone(&store), Arc::clone(&spill), memory_bytes);
        if is_read_amid_commits {
            state = state.without_forgetting();
        }
        let mut rehearsal = Rehearsal::empty(Arc::clone(&spill));
        let mut after = checkpoint.map(|row| row.order.seq);
        let mut size = BatchSize::default();
        if let Some(Resume { first, last }) = resume {
            // The overlay table may hold later values than those of the last block that is gone on with.
            if !planted!("overlay_of_an_earlier_process_read") {
                spill.write(SandboxDb::clear_overlay)?;
            }
            let mut next = Some(first);
            while let Some(height) = next.filter(|height| *height <= last) {
                let found = spill.read(|database| rehearsed_from(database, height))?;
                let Some(block) = found.flatten() else { break };
                state.apply(&block.changes)?;
                count_block(&mut size, &block);
                after = Some(block.order.seq);
                next = Some(Height(block.order.height.get().saturating_add(1)));
            }
            rehearsal.resume(first, last, size.blocks);
        }
        let reader = BlockReader::new(store, after, verdicts).until(end);
        brake.progress();
        let blocks = Ahead::of(reader, &executor, &state, works_apart);
        let rehearsal = Arc::new(Mutex::new(rehearsal));
        let sealing = Sealing::new(Arc::clone(&rehearsal), limits, works_apart);
        Ok(Self {
            executor,
            blocks,
            is_at_end: false,
            held: None,
            next: None,
            foreseen: Foreseen::default(),
            state,
            spill,
            rehearsal,
            sealing,
            resumed: size.blocks,
            size,
            bus,
            brake,
        })
    }

    /// Returns what shares the sandbox database with this sandbox.
    pub(crate) const fn spill(&self) -> &Arc<Spill> {
        &self.spill
    }

    /// Returns the watch over the step that is being executed.
    pub(crate) const fn watch(&self) -> &Arc<Watch> {
        self.executor.watch()
    }

    /// Returns how many blocks an earlier process had rehearsed.
    pub(crate) const fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Returns how many transactions were rehearsed and not handed out.
    pub(crate) const fn txs(&self) -> u64 {
        self.size.txs
    }

    /// Says whether nothing is left to be rehearsed.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Returns what was rehearsed and not handed out.
    pub(crate) const fn rehearsal(&self) -> &Arc<Mutex<Rehearsal>> {
        &self.rehearsal
    }

    /// Returns the brake of the recovery.
    pub(crate) const fn brake(&self) -> &Arc<Brake> {
        &self.brake
    }

    /// Rehearses blocks until the extent or the end of the log is reached.
    pub(crate) fn rehearse(&mut self, extent: Extent) -> Result<(), RehearseError> {
        let ended = self.rehearse_until(extent);
        // Whatever ended it, what was executed is in the rehearsal then.
        self.sealing.finish()?;
        ended
    }

    fn rehearse_until(&mut self, extent: Extent) -> Result<(), RehearseError> {
        while !self.spill.is_abandoned() && !self.has_reached(extent) {
            let Some(block) = self.next_block()? else { break };
            if self.brake.is_pulled() {
                self.held = Some(block);
                return Err(RehearseError::Stopped);
            }
            if matches!(extent, Extent::Below(height) if block.order.height >= height) {
                self.held = Some(block);
                break;
            }
            let window = Window {
                foreseen: std::mem::take(&mut self.foreseen),
                next: self.next.as_ref().and_then(Next::foreseen),
                ..Window::default()
            };
            let (executor, PendingBlock { input, rulings, .. }) = (&self.executor, &block);
            match executor.execute_window(input, rulings, &self.state, window) {
                Ok((executed, foreseen)) => {
                    self.foreseen = foreseen;
                    self.keep(RehearsedBlock::new(block, executed))?;
                }
                Err(failure) => {
                    self.held = Some(block);
                    return Err(RehearseError::Block(failure));
                }
            }
        }
        Ok(())
    }

    /// Keeps a transaction of the block that could not be executed out of it, by a verdict that was logged.
    pub(crate) fn rule(&mut self, tx: Seq, verdict: Seq, reason: String) {
        if let Some(block) = &mut self.held {
            block.rulings.insert(tx, reason);
            let height = block.order.height;
            block.quarantined.push(QuarantineWrite { tx, height, verdict });
        }
    }

    /// Tries the block that could not be executed once more, and keeps what it reads of the state.
    pub(crate) fn failed(
        &self,
        failure: &BlockFailure,
        step_time_max: Duration,
    ) -> Option<FailedBlock> {
        let block = self.held.clone()?;
        let recording = RecordingState::new(&self.state);
        // The failure is known; this execution is for what it touches, in order and no more than that.
        let executor = self.executor.on_one_thread();
        let _again = watched(self.watch(), step_time_max, || {
            executor.execute(&block.input, &block.rulings, &recording)
        });
        Some(FailedBlock { block, touched: recording.touched(), failure: failure.clone() })
    }

    /// Hands out what was rehearsed; rehearsing goes on above it.
    pub(crate) fn take(&mut self) -> Rehearsal {
        self.size = BatchSize::default();
        self.state.hand_out();
        std::mem::replace(&mut *lock(&self.rehearsal), Rehearsal::empty(Arc::clone(&self.spill)))
    }

    /// Takes note that everything that was handed out is committed.
    pub(crate) fn committed(&mut self) -> Result<(), StoreError> {
        self.state.committed()
    }

    fn next_block(&mut self) -> Result<Option<PendingBlock>, StoreError> {
        if let Some(block) = self.held.take() {
            return Ok(Some(block));
        }
        let next = match self.next.take() {
            Some(Next { block, prepared, .. }) => {
                drop(prepared);
                block?
            }
            None => self.blocks.next_block()?,
        };
        self.is_at_end = next.is_none();
        if let Some(present) = &next
            && self.executor.looks_ahead()
        {
            let block = self.blocks.next_block();
            let read = block.as_ref().ok().and_then(Option::as_ref);
            let fewer = read.map(|next| next.input.txs.len().min(present.input.txs.len()));
            let is_foreseen = fewer.is_some_and(|txs| self.executor.foresees(txs));
            let machine = self.executor.machine().as_ref();
            let prepared = read.filter(|_| !is_foreseen);
            let prepared = prepared.and_then(|next| Prepared::start(machine, &next.input));
            self.next = Some(Next { block, prepared, is_foreseen });
        }
        Ok(next)
    }

    fn has_reached(&self, extent: Extent) -> bool {
        match extent {
            Extent::All | Extent::Below(_) => false,
            Extent::Batch(limits) => limits.is_full(self.size),
        }
    }

    fn keep(&mut self, block: RehearsedBlock) -> Result<(), StoreError> {
        if self.spill.is_abandoned() {
            return Ok(());
        }
        self.state.apply(&block.changes)?;
        count_block(&mut self.size, &block);
        let notice = Rehearsed { height: block.order.height, counts: block.receipts.counts() };
        self.sealing.keep(block)?;
        self.brake.progress();
        self.bus.publish(&notice);
        Ok(())
    }
}

fn count_block(size: &mut BatchSize, block: &RehearsedBlock) {
    size.add(count(block.txs.len()), count(block.memory()));
}
