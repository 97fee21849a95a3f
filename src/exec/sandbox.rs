//! The sandbox: rehearses the backlog above the checkpoint, and alone can make a [`Rehearsal`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::block::BlockRow;
use crate::codec::count;
use crate::diff::Verdicts;
use crate::exec::above::{AboveCheckpoint, Spill};
use crate::exec::brake::Brake;
use crate::exec::bus::{Bus, Rehearsed};
use crate::exec::preparation::Prepared;
use crate::exec::rehearsed::RehearsedBlock;
use crate::exec::resume::{Resume, rehearsed_from};
use crate::exec::{BlockFailure, BlockReader, Executor, PendingBlock, Watch, watched};
use crate::plan::{BatchLimits, BatchSize};
use crate::state::{MemoryState, RecordingState};
use crate::store::{QuarantineWrite, SandboxBase, SandboxDb, Store, StoreError};
use crate::types::{Digest, Height, Seq};

/// What reading a block gave; `None` at the end.
type NextBlock = Result<Option<PendingBlock>, StoreError>;

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
    /// Bytes of memory for rehearsed blocks, and as many for the state above the checkpoint.
    pub(crate) memory_bytes: usize,
}

/// An isolated instance of the node's state in which blocks are executed before they are committed.
pub(crate) struct Sandbox {
    executor: Executor,
    reader: BlockReader,
    /// Whether the log was read to its end.
    is_at_end: bool,
    /// A block that was read and could not be executed yet.
    held: Option<PendingBlock>,
    /// The block after the present one, where it was read already, and what is prepared for it.
    next: Option<(NextBlock, Option<Prepared>)>,
    state: AboveCheckpoint,
    spill: Arc<Spill>,
    /// Shared with the thread that may have to give up on this one.
    rehearsal: Arc<Mutex<Rehearsal>>,
    memory_bytes: usize,
    bus: Bus<Rehearsed>,
    brake: Arc<Brake>,
    resumed: u64,
}

/// Blocks that were executed in a sandbox, in order: what may be committed. Only a sandbox makes one.
pub(crate) struct Rehearsal {
    spill: Arc<Spill>,
    /// The first and the last block that are in the sandbox database.
    spilled: Option<(Height, Height)>,
    memory: VecDeque<RehearsedBlock>,
    memory_bytes: usize,
    size: BatchSize,
    /// Blocks that were handed out.
    taken: u64,
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
        let SandboxParts { store, executor, checkpoint, verdicts, end, bus, brake, memory_bytes } =
            parts;
        let (database, resume) = found.unzip();
        let spill = Arc::new(Spill::new(Arc::clone(&store), base, database));
        let mut state = AboveCheckpoint::new(Arc::clone(&store), Arc::clone(&spill), memory_bytes);
        let mut rehearsal = Rehearsal::empty(Arc::clone(&spill));
        let mut after = checkpoint.map(|row| row.order.seq);
        let mut resumed = 0;
        if let Some(Resume { first, last }) = resume {
            // The overlay table may hold later values than those of the last block that is gone on with.
            if !planted!("overlay_of_an_earlier_process_read") {
                spill.write(SandboxDb::clear_overlay)?;
            }
            rehearsal.spilled = Some((first, last));
            let mut next = Some(first);
            while let Some(height) = next.filter(|height| *height <= last) {
                let Some(block) = rehearsal.read_spilled(height)? else { break };
                state.apply(&block.changes)?;
                rehearsal.count(&block);
                after = Some(block.order.seq);
                next = Some(Height(block.order.height.get().saturating_add(1)));
                resumed += 1;
            }
        }
        let reader = BlockReader::new(store, after, verdicts).until(end);
        brake.progress();
        let (held, next, rehearsal) = (None, None, Arc::new(Mutex::new(rehearsal)));
        Ok(Self {
            executor,
            reader,
            is_at_end: false,
            held,
            next,
            state,
            spill,
            rehearsal,
            memory_bytes,
            bus,
            brake,
            resumed,
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
            match self.executor.execute(&block.input, &block.rulings, &self.state) {
                Ok(executed) => {
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
            Some((next, _)) => next?,
            None => self.reader.next_block()?,
        };
        self.is_at_end = next.is_none();
        if next.is_some() && self.executor.looks_ahead() {
            let after = self.reader.next_block();
            let block = after.as_ref().ok().and_then(Option::as_ref);
            let machine = self.executor.machine().as_ref();
            let prepared = block.and_then(|block| Prepared::start(machine, &block.input));
            self.next = Some((after, prepared));
        }
        Ok(next)
    }

    fn has_reached(&self, extent: Extent) -> bool {
        match extent {
            Extent::All | Extent::Below(_) => false,
            Extent::Batch(limits) => limits.is_full(lock(&self.rehearsal).size),
        }
    }

    fn keep(&mut self, block: RehearsedBlock) -> Result<(), StoreError> {
        if self.spill.is_abandoned() {
            return Ok(());
        }
        self.state.apply(&block.changes)?;
        let notice = Rehearsed { height: block.order.height, counts: block.receipts.counts() };
        let mut rehearsal = lock(&self.rehearsal);
        rehearsal.push(block);
        if rehearsal.memory_bytes > self.memory_bytes {
            rehearsal.spill_memory()?;
        }
        drop(rehearsal);
        self.brake.progress();
        self.bus.publish(&notice);
        Ok(())
    }
}

impl Rehearsal {
    fn empty(spill: Arc<Spill>) -> Self {
        let (memory, size) = (VecDeque::new(), BatchSize::default());
        Self { spill, spilled: None, memory, memory_bytes: 0, size, taken: 0 }
    }

    /// Says whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.spilled.is_none() && self.memory.is_empty()
    }

    /// Returns how many blocks were not handed out.
    pub(crate) const fn left(&self) -> u64 {
        self.size.blocks.saturating_sub(self.taken)
    }

    /// Moves what was not handed out to the sandbox database for the next recovery; says how many blocks that are.
    pub(crate) fn set_aside(&mut self) -> Result<u64, StoreError> {
        if !self.is_empty() {
            self.spill_memory()?;
            // CRASH: before this the blocks may be found not to fit, and are rehearsed again; after it they are gone on with.
            self.spill.write_base()?;
        }
        Ok(self.left())
    }

    /// Takes back the block that was handed out last.
    pub(crate) fn put_back(&mut self, block: RehearsedBlock) {
        self.taken = self.taken.saturating_sub(1);
        match &mut self.spilled {
            Some((first, _)) => *first = block.order.height,
            None => self.memory.push_front(block),
        }
    }

    /// Returns the next block to be committed.
    pub(crate) fn next_block(&mut self) -> Result<Option<RehearsedBlock>, StoreError> {
        if let Some((first, last)) = self.spilled {
            if let Some(block) = self.read_spilled(first)? {
                self.taken = self.taken.saturating_add(1);
                let next = Height(block.order.height.get().saturating_add(1));
                self.spilled = (next <= last).then_some((next, last));
                return Ok(Some(block));
            }
            self.spilled = None;
        }
        let block = self.memory.pop_front();
        self.taken = self.taken.saturating_add(u64::from(block.is_some()));
        Ok(block)
    }

    fn push(&mut self, block: RehearsedBlock) {
        let memory = self.count(&block);
        self.memory_bytes = self.memory_bytes.saturating_add(memory);
        self.memory.push_back(block);
    }

    fn count(&mut self, block: &RehearsedBlock) -> usize {
        let memory = block.memory();
        self.size.add(count(block.txs.len()), count(memory));
        memory
    }

    fn spill_memory(&mut self) -> Result<(), StoreError> {
        let (Some(front), Some(back)) = (self.memory.front(), self.memory.back()) else {
            return Ok(());
        };
        let first = self.spilled.map_or(front.order.height, |(first, _)| first);
        let last = back.order.height;
        let encoded: Vec<_> =
            self.memory.drain(..).map(|block| (block.order.height, block.encode())).collect();
        self.spill.write(|database| {
            // CRASH: what is written here is gone on with; what is not is rehearsed again.
            database.add_blocks(encoded.iter().map(|(height, body)| (*height, body.as_slice())))
        })?;
        self.spilled = Some((first, last));
        self.memory_bytes = 0;
        Ok(())
    }

    fn read_spilled(&self, from: Height) -> Result<Option<RehearsedBlock>, StoreError> {
        let found = self.spill.read(|database| rehearsed_from(database, from))?;
        Ok(found.flatten())
    }
}

/// Locks a rehearsal; a panic while it is held leaves it as the last block left it.
pub(crate) fn lock(rehearsal: &Mutex<Rehearsal>) -> MutexGuard<'_, Rehearsal> {
    rehearsal.lock().unwrap_or_else(PoisonError::into_inner)
}
