//! Recovery: rehearse, then commit; one bad transaction never stops the rest, and a crash in between resumes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::block::BlockRow;
use crate::diff::Verdicts;
use crate::exec::above::Spill;
use crate::exec::brake::Brake;
use crate::exec::commit::{CommitError, CommitParts, Committer};
use crate::exec::commits::{Commits, Done};
use crate::exec::isolate::halt;
use crate::exec::pacer::Pacer;
use crate::exec::report::{Halt, HaltCause, Outcome, Report, peak_rss_bytes};
use crate::exec::sandbox::{Extent, Rehearsal, Sandbox, lock};
use crate::exec::{BlockFailure, BlockReader, Examined, Executor, Gate, RecoveryOptions};
use crate::recovery::Label;
use crate::store::StoreError;
use crate::types::{Digest, Height};

/// Pending transactions from which on their blocks are read and sealed on threads of their own: starting those takes
/// about as long as a hundred transactions.
const APART_TXS_MIN: u64 = 4_096;

/// A failure of the store during recovery. What was committed before it stays; the next recovery goes on from there.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RecoverError(#[from] pub StoreError);

/// A recovery of an examined node.
pub struct Recovery {
    pub(super) node: Examined,
    pub(super) options: RecoveryOptions,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) executor: Executor,
    pub(super) brake: Arc<Brake>,
    pub(super) tally: Tally,
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) rehearse: Duration,
    commit: Duration,
    resumed: u64,
    /// Rehearsed blocks that are set aside for the next recovery.
    left: u64,
    pub(super) bundles: Vec<PathBuf>,
}

/// Why recovery does not go on.
pub(super) enum Stop {
    Store(StoreError),
    Halt(Halt),
    /// It was asked to end, or took too long.
    Brake,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Recovery {
    /// Prepares the recovery of a node that was examined; the limits on its time count from here.
    #[must_use]
    pub fn new(node: Examined, options: RecoveryOptions) -> Self {
        let verdicts = Arc::new(node.backlog.verdicts.clone());
        let executor = Executor::new(Arc::clone(&node.machine), options.executor.clone());
        // Where a step had to be given up on, each further thread is one more that may have to be.
        let executor = if node.abandoned == 0 { executor } else { executor.on_one_thread() };
        let brake = Arc::new(Brake::new(options.stop.clone(), options.limits));
        Self { node, options, verdicts, executor, brake, tally: Tally::default() }
    }

    /// Brings the block table up to the log and every file into its final place; for a start or an offline recovery.
    ///
    /// # Errors
    /// [`RecoverError`] where the store fails. A block that cannot be executed or verified is no error but a report
    /// with [`Outcome::Halted`], and so are a stop and a time limit.
    ///
    /// # Panics
    /// On a worker of rayon's global pool: recovery waits for work that those workers do, so it could wait for ever.
    pub fn run(self) -> Result<(Examined, Report), RecoverError> {
        let started = Instant::now();
        let (node, mut report) = self.advance()?;
        if report.halt.is_none() {
            // What a crash left in the making is deleted as well.
            node.store.drop_sandbox()?;
        }
        node.store.settle()?;
        report.wall_ms = millis(started.elapsed());
        Ok((node, report))
    }

    /// Brings the block table up to the log and leaves the write-ahead logs as they are: for a node that goes on.
    ///
    /// # Errors
    /// As [`Recovery::run`].
    ///
    /// # Panics
    /// As [`Recovery::run`].
    pub fn advance(mut self) -> Result<(Examined, Report), RecoverError> {
        let on_worker = rayon::current_thread_index().is_some();
        assert!(!on_worker, "recovery waits for rayon and must not run on one of its workers");
        let started = Instant::now();
        let committer = self.committer()?;
        let brake = Arc::clone(&self.brake);
        let mut commits = Commits::new(committer, self.options.step_time_max, brake);
        let ended = if self.node.label == Label::InSync {
            self.drop_leftover().map_err(Stop::Store)
        } else {
            self.replay(&mut commits)
        };
        let committer = commits.committer();
        let halt = match ended {
            Ok(()) => None,
            Err(Stop::Halt(halt)) => Some(halt),
            Err(Stop::Brake) => Some(self.braked(&committer)),
            Err(Stop::Store(error)) => return Err(error.into()),
        };
        let report = self.report(&committer, halt, started);
        self.take_note(&report)?;
        Ok((self.node, report))
    }

    /// Deletes a sandbox of an earlier process, all of which has been committed.
    fn drop_leftover(&self) -> Result<(), StoreError> {
        match self.node.store.sandbox()? {
            Some(_) => self.node.store.drop_sandbox(),
            None => Ok(()),
        }
    }

    fn replay(&mut self, commits: &mut Commits) -> Result<(), Stop> {
        // A file that is no sandbox is refused before anything is written.
        let found = self.node.store.sandbox()?;
        self.node.store.log().arm()?;
        let mut sandbox = self.open_sandbox(found)?;
        self.tally.resumed = sandbox.resumed();
        loop {
            let extent = match self.options.gate {
                Gate::All => Extent::All,
                Gate::Batch => Extent::Batch(commits.batch()),
            };
            let clock = Instant::now();
            let (next, rehearsed) = self.rehearse(sandbox, extent, commits);
            sandbox = next?;
            self.settle_before(commits, &mut sandbox)?;
            match self.options.gate {
                Gate::Batch => commits.committer().charge(clock.elapsed()),
                // What an earlier process had rehearsed took no time in this one.
                Gate::All if sandbox.resumed() == 0 => {
                    commits.committer().rehearsed(sandbox.txs(), clock.elapsed());
                }
                Gate::All => {}
            }
            let commits_it = match &rehearsed {
                Ok(()) | Err(Stop::Halt(_)) => true,
                Err(Stop::Store(_)) => self.options.gate == Gate::Batch,
                Err(Stop::Brake) => {
                    self.set_aside(sandbox.rehearsal())?;
                    false
                }
            };
            if !commits_it {
                return rehearsed;
            }
            if self.works_apart() && rehearsed.is_ok() && !sandbox.is_at_end() {
                commits.start(sandbox.take(), sandbox.watch());
                continue;
            }
            commits.run(sandbox.take());
            self.settle_before(commits, &mut sandbox)?;
            rehearsed?;
            if sandbox.is_at_end() {
                break;
            }
        }
        sandbox.spill().remove()?;
        Ok(())
    }

    /// Waits for the commit that was begun, before a sandbox goes on.
    fn settle_before(&mut self, commits: &mut Commits, sandbox: &mut Sandbox) -> Result<(), Stop> {
        self.settle(commits, sandbox.spill(), sandbox.rehearsal())?;
        Ok(sandbox.committed()?)
    }

    /// Waits for the commit that was begun, and takes note of what it came to; `rehearsal` goes on above it.
    pub(super) fn settle(
        &mut self,
        commits: &mut Commits,
        spill: &Spill,
        rehearsal: &Mutex<Rehearsal>,
    ) -> Result<(), Stop> {
        let Some(Done { result, left, time }) = commits.finish() else { return Ok(()) };
        self.tally.commit += time;
        self.node.checkpoint = commits.committer().checkpoint().cloned();
        spill.stand_on(self.node.checkpoint.as_ref().map_or(Digest::ZERO, BlockRow::digest));
        if matches!(result, Err(CommitError::Differs(_)))
            && !planted!("next_batch_kept_after_a_difference")
        {
            // One of the two executions is wrong, and nobody knows which: neither is to be gone on with.
            spill.remove()?;
        }
        result.map_err(commit_stop)?;
        if lock(&left).is_empty() || planted!("batch_left_by_a_stop_forgotten") {
            return Ok(());
        }
        self.set_aside(&left)?;
        self.set_aside(rehearsal)?;
        Err(Stop::Brake)
    }

    /// Keeps what was rehearsed for the next recovery.
    pub(super) fn set_aside(&mut self, rehearsal: &Mutex<Rehearsal>) -> Result<(), StoreError> {
        let blocks = lock(rehearsal).set_aside()?;
        self.tally.left = self.tally.left.saturating_add(blocks);
        Ok(())
    }

    fn committer(&self) -> Result<Committer, StoreError> {
        let parts = CommitParts {
            store: Arc::clone(&self.node.store),
            executor: self.executor.apart(),
            mode: self.options.commit,
            pacer: Pacer::new(self.options.batch, self.options.pace),
            clock: Arc::clone(&self.options.executor.clock),
            bus: self.options.committed.clone(),
            brake: Arc::clone(&self.brake),
            memory_bytes: self.options.memory_bytes,
            works_apart: self.works_apart(),
        };
        Committer::new(parts, self.node.checkpoint.clone(), || self.reader())
    }

    /// Says whether there is enough to do for threads of their own.
    pub(super) fn works_apart(&self) -> bool {
        let is_enough = self.node.backlog.txs >= APART_TXS_MIN || self.executor.is_forced();
        is_enough && self.executor.threads() > 1
    }

    fn reader(&self) -> BlockReader {
        let after = self.node.checkpoint.as_ref().map(|row| row.order.seq);
        BlockReader::new(Arc::clone(&self.node.store), after, Arc::clone(&self.verdicts))
            .until(self.node.log_head.seq)
    }

    fn braked(&self, committer: &Committer) -> Halt {
        let (total, committed) = (self.node.backlog.blocks, committer.totals().blocks);
        let rehearsed = committed.saturating_add(self.tally.left);
        let (cause, why) = self.brake.reason();
        let reason = format!(
            "{why}: of {total} blocks {rehearsed} are rehearsed and {committed} committed; the next recovery goes on from there"
        );
        Halt { cause, height: None, reason }
    }

    fn report(&self, committer: &Committer, halt: Option<Halt>, started: Instant) -> Report {
        let totals = committer.totals();
        let outcome = match (&halt, totals.counts.quarantined, self.node.label) {
            (Some(_), ..) => Outcome::Halted,
            (None, _, Label::InSync) => Outcome::InSync,
            (None, 0, _) => Outcome::Recovered,
            (None, ..) => Outcome::RecoveredWithQuarantine,
        };
        Report {
            outcome,
            decision: self.node.label,
            from_height: totals.first,
            to_height: totals.last,
            blocks: totals.blocks,
            counts: totals.counts,
            mempool: self.node.backlog.mempool.len(),
            state_digest: committer.state_digest(),
            log_head_seq: self.node.store.log().head().seq,
            batches: totals.batches,
            paces: committer.pacer().changes().to_vec(),
            workers: self.executor.workers_changes(),
            resumed_blocks: self.tally.resumed,
            retries: self.executor.retries(),
            commit_mode: self.options.commit,
            gate: self.options.gate,
            rehearse_ms: millis(self.tally.rehearse),
            commit_ms: millis(self.tally.commit),
            wall_ms: millis(started.elapsed()),
            peak_rss_bytes: peak_rss_bytes(),
            halt,
            bundles: self.tally.bundles.clone(),
        }
    }

    /// Brings what was observed of the node up to what this recovery did.
    fn take_note(&mut self, report: &Report) -> Result<(), StoreError> {
        let backlog = &mut self.node.backlog;
        backlog.blocks = backlog.blocks.saturating_sub(report.blocks);
        backlog.txs = backlog.txs.saturating_sub(report.counts.txs);
        if backlog.blocks == 0 {
            self.node.event_bytes = 0;
        }
        self.node.backlog.first = self.first_pending(report)?;
        // The verdicts of this recovery, and whatever else was logged beside it.
        self.node.catch_up()
    }

    fn first_pending(&self, report: &Report) -> Result<Option<Height>, StoreError> {
        match &report.halt {
            None => Ok(None),
            Some(Halt { height: Some(height), .. }) => Ok(Some(*height)),
            Some(_) if report.blocks == 0 => Ok(self.node.backlog.first),
            Some(_) => Ok(self.reader().next_block()?.map(|block| block.order.height)),
        }
    }
}

fn commit_stop(error: CommitError) -> Stop {
    match error {
        CommitError::Store(error) => Stop::Store(error),
        CommitError::Block(BlockFailure::State(error)) => Stop::Store(StoreError::of_state(&error)),
        CommitError::Block(failure) => Stop::Halt(halt(&failure)),
        CommitError::Differs(difference) => Stop::Halt(Halt {
            cause: HaltCause::Difference,
            height: Some(difference.height),
            reason: difference.to_string(),
        }),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
