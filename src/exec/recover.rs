//! Recovery: rehearse, then commit; one bad transaction never stops the rest, and a crash in between resumes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::diff::Verdicts;
use crate::event::{EventBody, Ruling, Verdict};
use crate::exec::apart::{Abandoned, rehearse_apart};
use crate::exec::commit::{CommitError, CommitParts, Committer};
use crate::exec::report::{Halt, HaltCause, Outcome, Report, peak_rss_bytes};
use crate::exec::sandbox::{Extent, RehearseError, Sandbox, SandboxParts};
use crate::exec::{
    BlockFailure, BlockReader, Examined, Executor, Gate, RecoveryOptions, Running, watched,
};
use crate::machine::PoisonPolicy;
use crate::recovery::Label;
use crate::store::{Problem, SandboxDb, StoreError};
use crate::types::{Height, Seq};

/// Threads that may be given up on before recovery halts.
const ABANDONED_MAX: u32 = 8;

/// A failure of the store during recovery. What was committed before it stays; the next recovery goes on from there.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RecoverError(#[from] pub StoreError);

/// A recovery of an examined node.
pub struct Recovery {
    node: Examined,
    options: RecoveryOptions,
    verdicts: Arc<Verdicts>,
    abandoned: u32,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    rehearse: Duration,
    commit: Duration,
    resumed: u64,
    retries: u64,
    bundles: Vec<PathBuf>,
}

/// Why recovery does not go on.
enum Stop {
    Store(StoreError),
    Halt(Halt),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Recovery {
    /// Prepares the recovery of a node that was examined.
    #[must_use]
    pub fn new(node: Examined, options: RecoveryOptions) -> Self {
        let verdicts = Arc::new(node.backlog.verdicts.clone());
        Self { node, options, verdicts, abandoned: 0, tally: Tally::default() }
    }

    /// Brings the block table up to the log.
    ///
    /// # Errors
    /// [`RecoverError`] where the store fails. A block that cannot be executed or verified is no error but a report
    /// with [`Outcome::Halted`].
    ///
    /// # Panics
    /// On a worker of rayon's global pool: recovery waits for work that those workers do, so it could wait for ever.
    pub fn run(mut self) -> Result<(Examined, Report), RecoverError> {
        let on_worker = rayon::current_thread_index().is_some();
        assert!(!on_worker, "recovery waits for rayon and must not run on one of its workers");
        let started = Instant::now();
        let reader = self.reader();
        let parts = CommitParts {
            store: Arc::clone(&self.node.store),
            executor: self.executor(),
            mode: self.options.commit,
            limits: self.options.batch,
            clock: Arc::clone(&self.options.executor.clock),
            bus: self.options.committed.clone(),
            memory_bytes: self.options.memory_bytes,
        };
        let mut committer = Committer::new(parts, self.node.checkpoint.as_ref(), || reader)?;
        let halt = if self.node.label == Label::InSync {
            // Whatever an earlier process left there has been committed.
            if self.node.store.sandbox()?.is_some() {
                self.node.store.drop_sandbox()?;
            }
            None
        } else {
            match self.replay(&mut committer) {
                Ok(()) => None,
                Err(Stop::Halt(halt)) => Some(halt),
                Err(Stop::Store(error)) => return Err(error.into()),
            }
        };
        let report = self.report(&committer, halt, started)?;
        self.node.checkpoint = self.node.store.main().head()?;
        let backlog = &mut self.node.backlog;
        backlog.blocks = backlog.blocks.saturating_sub(report.blocks);
        backlog.txs = backlog.txs.saturating_sub(report.counts.txs);
        backlog.first = report.halt.as_ref().and_then(|halt| halt.height);
        // The verdicts of this recovery, and whatever else was logged beside it.
        self.node.catch_up()?;
        Ok((self.node, report))
    }

    fn replay(&mut self, committer: &mut Committer) -> Result<(), Stop> {
        // A file that is no sandbox is refused before anything is written.
        let found = self.node.store.sandbox()?;
        self.node.store.log().arm()?;
        let mut sandbox = self.open_sandbox(found)?;
        self.tally.resumed = sandbox.resumed();
        let extent = match self.options.gate {
            Gate::All => Extent::All,
            Gate::Batch => Extent::Batch(self.options.batch),
        };
        loop {
            let (next, rehearsed) = self.rehearse(sandbox, extent);
            sandbox = next?;
            let rehearsal = sandbox.take();
            let done = rehearsal.is_empty();
            let clock = Instant::now();
            let committed = match committer.watch() {
                Some(watch) => {
                    watched(&watch, self.options.step_time_max, || committer.commit(rehearsal))
                }
                None => committer.commit(rehearsal),
            };
            self.tally.commit += clock.elapsed();
            if matches!(committed, Err(CommitError::Differs(_))) {
                // One of the two executions is wrong, and nobody knows which: neither is to be gone on with.
                sandbox.spill().remove()?;
            }
            committed.map_err(commit_stop)?;
            sandbox.committed()?;
            rehearsed?;
            if done || self.options.gate == Gate::All {
                break;
            }
        }
        sandbox.spill().remove()?;
        Ok(())
    }

    /// Rehearses an extent; a transaction that cannot be executed is dealt with by the machine's policy.
    ///
    /// The sandbox comes back even where the rehearsal stopped, since what it verified is to be committed.
    fn rehearse(
        &mut self,
        mut sandbox: Sandbox,
        extent: Extent,
    ) -> (Result<Sandbox, Stop>, Result<(), Stop>) {
        let clock = Instant::now();
        let (mut extent, mut halted) = (extent, None);
        let stopped = loop {
            match rehearse_apart(sandbox, extent, self.options.step_time_max) {
                Ok((back, Ok(()))) => {
                    sandbox = back;
                    break halted.map_or(Ok(()), |halt| Err(Stop::Halt(halt)));
                }
                Ok((back, Err(error))) => {
                    sandbox = back;
                    if let Err(stop) = self.deal_with(&mut sandbox, error) {
                        break Err(stop);
                    }
                }
                Err(abandoned) => match self.start_over(*abandoned) {
                    Ok((fresh, None)) => sandbox = fresh,
                    Ok((fresh, Some((height, halt)))) => {
                        // The thread took what it had verified along: it is rehearsed again, up to there.
                        sandbox = fresh;
                        (extent, halted) = (Extent::Below(height), Some(halt));
                    }
                    Err(stop) => return (Err(stop), Ok(())),
                },
            }
        };
        self.tally.rehearse += clock.elapsed();
        self.tally.retries = sandbox.retries();
        (Ok(sandbox), stopped)
    }

    fn deal_with(&mut self, sandbox: &mut Sandbox, error: RehearseError) -> Result<(), Stop> {
        let failure = match error {
            RehearseError::Store(error) => return Err(error.into()),
            RehearseError::Block(BlockFailure::State(error)) => {
                return Err(store_error(&error).into());
            }
            RehearseError::Block(failure) => failure,
        };
        if let Some(hook) = &self.options.on_failure
            && let Some(failed) = sandbox.failed(&failure, self.options.step_time_max)
        {
            self.tally.bundles.extend(hook(&failed));
        }
        let BlockFailure::Poison { seq: Some(seq), reason, attempts, .. } = &failure else {
            return Err(Stop::Halt(halt(&failure)));
        };
        if self.node.machine.poison_policy() == PoisonPolicy::Halt {
            return Err(Stop::Halt(halt(&failure)));
        }
        let verdict = self.log_verdict(*seq, reason, *attempts)?;
        sandbox.rule(*seq, verdict, reason.clone());
        Ok(())
    }

    /// Goes on with a fresh sandbox after a step that did not end: the transaction is kept out by a verdict, or
    /// recovery halts at its block.
    fn start_over(&mut self, abandoned: Abandoned) -> Result<(Sandbox, HaltsAt), Stop> {
        let Abandoned { running, database, reason } = abandoned;
        self.abandoned += 1;
        let height = running.map(|running| running.height);
        let halt = |reason| Halt { cause: HaltCause::Poison, height, reason };
        let Some(Running { height, seq, .. }) = running else {
            return Err(Stop::Halt(halt(reason)));
        };
        let halts = match seq {
            None => Some(halt(format!("block {}: {reason}", height.get()))),
            Some(seq) if self.node.machine.poison_policy() == PoisonPolicy::Halt => {
                Some(halt(format!("transaction at event {}: {reason}", seq.get())))
            }
            Some(_) if self.abandoned > ABANDONED_MAX => {
                Some(halt(format!("more than {ABANDONED_MAX} transactions did not end")))
            }
            Some(seq) => {
                self.log_verdict(seq, &reason, 1)?;
                None
            }
        };
        Ok((self.open_sandbox(database)?, halts.map(|halt| (height, halt))))
    }

    fn log_verdict(&mut self, tx: Seq, reason: &str, attempts: u32) -> Result<Seq, StoreError> {
        let ruling = Ruling::Quarantine { reason: reason.to_owned(), attempts };
        let event = EventBody::Verdict(Verdict { tx, ruling: ruling.clone() });
        let now = self.options.executor.clock.now();
        // CRASH: from here on every replay keeps the transaction out, whatever its execution would give then.
        let appended = self.node.store.log().append(now, &[event])?;
        Arc::make_mut(&mut self.verdicts).add(appended.first, tx, ruling);
        tracing::warn!(seq = tx.get(), reason, "transaction quarantined");
        Ok(appended.first)
    }

    fn open_sandbox(&self, found: Option<SandboxDb>) -> Result<Sandbox, StoreError> {
        let parts = SandboxParts {
            store: Arc::clone(&self.node.store),
            executor: self.executor(),
            checkpoint: self.node.store.main().head()?,
            verdicts: Arc::clone(&self.verdicts),
            end: self.node.log_head.seq,
            bus: self.options.rehearsed.clone(),
            memory_bytes: self.options.memory_bytes,
        };
        Sandbox::open(parts, found)
    }

    fn executor(&self) -> Executor {
        Executor::new(Arc::clone(&self.node.machine), self.options.executor.clone())
    }

    fn reader(&self) -> BlockReader {
        let after = self.node.checkpoint.as_ref().map(|row| row.order.seq);
        BlockReader::new(Arc::clone(&self.node.store), after, Arc::clone(&self.verdicts))
            .until(self.node.log_head.seq)
    }

    fn report(
        &self,
        committer: &Committer,
        halt: Option<Halt>,
        started: Instant,
    ) -> Result<Report, StoreError> {
        let totals = committer.totals();
        let outcome = match (&halt, totals.counts.quarantined, self.node.label) {
            (Some(_), ..) => Outcome::Halted,
            (None, _, Label::InSync) => Outcome::InSync,
            (None, 0, _) => Outcome::Recovered,
            (None, ..) => Outcome::RecoveredWithQuarantine,
        };
        self.node.store.settle()?;
        Ok(Report {
            outcome,
            decision: self.node.label,
            from_height: totals.first,
            to_height: totals.last,
            blocks: totals.blocks,
            counts: totals.counts,
            mempool: self.node.backlog.mempool.len(),
            state_digest: self.node.store.main().lanes()?.digest(),
            log_head_seq: self.node.store.log().head().seq,
            batches: totals.batches,
            resumed_blocks: self.tally.resumed,
            retries: self.tally.retries,
            commit_mode: self.options.commit,
            gate: self.options.gate,
            rehearse_ms: millis(self.tally.rehearse),
            commit_ms: millis(self.tally.commit),
            wall_ms: millis(started.elapsed()),
            peak_rss_bytes: peak_rss_bytes(),
            halt,
            bundles: self.tally.bundles.clone(),
        })
    }
}

/// The block at which recovery halts, where it does, and why.
type HaltsAt = Option<(Height, Halt)>;

fn halt(failure: &BlockFailure) -> Halt {
    let (cause, height) = match failure {
        BlockFailure::Check { height, .. } => (HaltCause::Check, Some(*height)),
        BlockFailure::Poison { height, .. } => (HaltCause::Poison, Some(*height)),
        BlockFailure::State(_) => (HaltCause::Poison, None),
    };
    Halt { cause, height, reason: failure.to_string() }
}

fn commit_stop(error: CommitError) -> Stop {
    match error {
        CommitError::Store(error) => Stop::Store(error),
        CommitError::Block(BlockFailure::State(error)) => Stop::Store(store_error(&error)),
        CommitError::Block(failure) => Stop::Halt(halt(&failure)),
        CommitError::Differs(difference) => Stop::Halt(Halt {
            cause: HaltCause::Difference,
            height: Some(difference.height),
            reason: difference.to_string(),
        }),
    }
}

/// Gets the store's error back out of the machine's view of it.
fn store_error(error: &crate::state::StateError) -> StoreError {
    let unexpected =
        || StoreError { file: crate::store::MAIN.into(), problem: Problem::Sql(error.to_string()) };
    error.0.downcast_ref::<StoreError>().cloned().unwrap_or_else(unexpected)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
