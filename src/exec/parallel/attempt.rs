//! One attempt at a transaction ahead of its turn, on a state that need not be the one before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::block::Receipt;
use crate::exec::panic_guard;
use crate::exec::steps::Job;
use crate::machine::{Context, OpenBlock};
use crate::state::{StateRead, Touched};
use crate::types::Seq;

/// Executions in vain from which on it is asked whether to go on.
const IN_VAIN_MIN: usize = 12;

/// A transaction that is executed ahead of its turn.
pub(super) struct Attempt<'a> {
    pub(super) job: Job<'a>,
    pub(super) block: &'a dyn OpenBlock,
    /// Number of the thread.
    pub(super) thread: usize,
    /// Index of the transaction.
    pub(super) index: usize,
}

/// A transaction that was executed ahead of its turn.
#[derive(Debug)]
pub(in crate::exec) struct Ahead {
    pub(super) receipt: Receipt,
    pub(super) touched: Touched,
    /// What that took.
    pub(super) time: Duration,
}

/// What became of transactions that were executed ahead of their turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) taken: usize,
    pub(super) in_vain: usize,
    /// What the executions took that count: about what all would have taken in order.
    pub(super) time: Duration,
}

impl Tally {
    /// Says whether so much was in vain that order is faster: for each such execution, fewer than so many were taken over.
    pub(super) const fn is_hopeless(self, taken_min: usize) -> bool {
        self.in_vain >= IN_VAIN_MIN && self.in_vain.saturating_mul(taken_min) > self.taken
    }
}

impl Attempt<'_> {
    /// Executes it; `None` where anything failed, which says nothing about the transaction.
    pub(super) fn run(&self, state: &dyn StateRead, must_stop: &dyn Fn() -> bool) -> Option<Ahead> {
        let began = Instant::now();
        let executor = self.job.executor;
        let (watch, limits) = (executor.watch(), executor.settings.limits);
        let seq = self.job.input.txs.get(self.index)?.seq;
        let stops = || watch.must_stop_on(self.thread) || must_stop();
        let ahead = guarded(self.job, self.thread, Some(seq), || {
            let mut context = Context::new(state, limits, &stops).deferring_additions();
            let receipt = self.block.execute(self.index, &mut context).ok()?;
            let is_whole = !context.has_failed() && !context.has_forgotten();
            is_whole.then(|| Ahead { receipt, touched: context.finish(), time: Duration::ZERO })
        });
        ahead.map(|ahead| Ahead { time: began.elapsed(), ..ahead })
    }
}

/// Runs a step ahead of its turn on a thread, seen by the watch; `None` where it failed or panicked.
pub(super) fn guarded<R>(
    job: Job<'_>,
    thread: usize,
    seq: Option<Seq>,
    body: impl FnOnce() -> Option<R>,
) -> Option<R> {
    let watch = job.executor.watch();
    watch.begin_on(thread, job.input.height, seq, true);
    let result = panic_guard::run(|| catch_unwind(AssertUnwindSafe(body)));
    watch.end_on(thread);
    result.ok().flatten()
}

/// Why a state answers no more.
#[derive(Debug, thiserror::Error)]
#[error("the transaction is to be executed at its turn")]
pub(super) struct AtItsTurn;

impl AtItsTurn {
    /// Returns it as a failure to read, which ends the attempt.
    pub(super) fn error() -> crate::state::StateError {
        crate::state::StateError(std::sync::Arc::new(Self))
    }
}
