//! Phase 1 of a recovery: rehearses, and keeps a transaction that cannot be executed from stopping the rest.

use std::sync::Arc;
use std::time::Instant;

use crate::event::{EventBody, Ruling, Verdict};
use crate::exec::apart::{Failure, GivenUp, rehearse_apart};
use crate::exec::commits::Commits;
use crate::exec::recover::{Recovery, Stop};
use crate::exec::report::{Halt, HaltCause};
use crate::exec::sandbox::{Extent, RehearseError, Sandbox, SandboxParts};
use crate::exec::{BlockFailure, Gate, Running};
use crate::machine::PoisonPolicy;
use crate::store::{SandboxDb, StoreError};
use crate::types::{Height, Seq};

/// Threads that may be given up on before recovery halts.
const ABANDONED_MAX: u32 = 8;

/// The block at which recovery halts, where it does, and why.
type HaltsAt = Option<(Height, Halt)>;

impl Recovery {
    /// Rehearses an extent; a transaction that cannot be executed is dealt with by the machine's policy.
    ///
    /// The sandbox comes back even where the rehearsal stopped, since what it verified is to be committed. Where it does
    /// not, no commit is going on any more.
    pub(super) fn rehearse(
        &mut self,
        sandbox: Sandbox,
        extent: Extent,
        commits: &mut Commits,
    ) -> (Result<Sandbox, Stop>, Result<(), Stop>) {
        let clock = Instant::now();
        let ended = self.rehearse_on(sandbox, extent, commits);
        self.tally.rehearse += clock.elapsed();
        ended
    }

    fn rehearse_on(
        &mut self,
        mut sandbox: Sandbox,
        mut extent: Extent,
        commits: &mut Commits,
    ) -> (Result<Sandbox, Stop>, Result<(), Stop>) {
        let mut halted = None;
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
                Err(given_up) => match self.start_over(given_up, commits) {
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
        (Ok(sandbox), stopped)
    }

    fn deal_with(&mut self, sandbox: &mut Sandbox, error: RehearseError) -> Result<(), Stop> {
        let failure = match error {
            RehearseError::Store(error) => return Err(error.into()),
            RehearseError::Block(BlockFailure::State(error)) => {
                return Err(StoreError::of_state(&error).into());
            }
            // Where the recovery has to end, its steps are made to fail: that says nothing about their block.
            RehearseError::Block(_) if self.brake.is_pulled() => return Err(Stop::Brake),
            RehearseError::Stopped => return Err(Stop::Brake),
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
    fn start_over(
        &mut self,
        given_up: GivenUp,
        commits: &mut Commits,
    ) -> Result<(Sandbox, HaltsAt), Stop> {
        let GivenUp { failure, rehearsal, spill } = given_up;
        // What comes now stands on the checkpoint, and a commit may read what is in the sandbox database.
        let mut settled = self.settle(commits, &spill, &rehearsal);
        if settled.is_ok() && failure.is_none() {
            settled = self.set_aside(&rehearsal).map_err(Stop::Store);
        }
        let database = spill.abandon();
        settled?;
        let Some(Failure { running, reason }) = failure else { return Err(Stop::Brake) };
        self.node.abandoned += 1;
        if running.is_some_and(|running| running.is_ahead) {
            // It had not come to its turn, so that nothing is known of the transaction: what comes now is in order.
            self.executor = self.executor.on_one_thread();
            return Ok((self.open_sandbox(database)?, None));
        }
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
            Some(_) if self.node.abandoned > ABANDONED_MAX => {
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
        if planted!("verdict_not_logged") {
            return Ok(tx);
        }
        let appended = self.node.store.log().append(now, &[event])?;
        Arc::make_mut(&mut self.verdicts).add(appended.first, tx, ruling);
        self.brake.progress();
        tracing::warn!(seq = tx.get(), reason, "transaction quarantined");
        Ok(appended.first)
    }

    pub(super) fn open_sandbox(&self, found: Option<SandboxDb>) -> Result<Sandbox, StoreError> {
        let parts = SandboxParts {
            store: Arc::clone(&self.node.store),
            executor: self.executor.apart(),
            checkpoint: self.node.checkpoint.clone(),
            verdicts: Arc::clone(&self.verdicts),
            end: self.node.log_head.seq,
            bus: self.options.rehearsed.clone(),
            brake: Arc::clone(&self.brake),
            memory_bytes: self.options.memory_bytes,
            is_read_amid_commits: self.options.gate == Gate::Batch,
            rehearsed_bytes: self.rehearsed_bytes(),
            // With a gate for each batch, what is not committed is no more than a batch.
            unsaved_max: self
                .options
                .pace
                .filter(|_| self.options.gate == Gate::All)
                .map(|pace| pace.repeat_max),
            works_apart: self.works_apart(),
        };
        Sandbox::open(parts, found)
    }

    /// Returns the bytes of rehearsed blocks that one rehearsal may keep in memory: half, where another is committed
    /// meanwhile.
    fn rehearsed_bytes(&self) -> usize {
        let are_two = self.options.gate == Gate::Batch && self.works_apart();
        if are_two { self.options.memory_bytes / 2 } else { self.options.memory_bytes }
    }
}

/// Says how a failure of a block halts a recovery.
pub(super) fn halt(failure: &BlockFailure) -> Halt {
    let (cause, height) = match failure {
        BlockFailure::Check { height, .. } => (HaltCause::Check, Some(*height)),
        BlockFailure::Poison { height, .. } => (HaltCause::Poison, Some(*height)),
        BlockFailure::State(_) => (HaltCause::Poison, None),
    };
    Halt { cause, height, reason: failure.to_string() }
}
