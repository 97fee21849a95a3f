//! Executes transactions ahead of their turn on several threads, and takes each over at its turn if it saw the state as
//! it is then.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::attempt::{Ahead, AtItsTurn, Attempt, Tally};
use super::queue::{Queue, State, Turn};
use super::versions::{Found, Versions};
use crate::exec::steps::{Job, Run, number};
use crate::exec::{BlockFailure, Dependencies, Scheduling};
use crate::machine::OpenBlock;
use crate::state::{BlockOverlay, StateError, StateRead, add_to};
use crate::types::Bytes;

/// Keys that one transaction may read ahead of its turn; one that reads more waits for it.
const SEEN_MAX: usize = 1 << 16;
/// Time after which the thread whose turn has come leaves what it executes ahead.
const AHEAD_MAX: Duration = Duration::from_millis(20);
/// As many as are taken over at least for each execution in vain, which keeps the thread whose turn it is from others.
const TAKEN_MIN: usize = 2;
/// Operations between two looks at the clock.
const LOOK_EVERY: u32 = 64;

/// Executes the transactions that are left.
pub(super) fn execute(
    run: &mut Run<'_>,
    block: &dyn OpenBlock,
    known: Option<&Dependencies>,
) -> Result<(), BlockFailure> {
    let versions = Versions::new();
    let above = {
        let board = Board::new(run, block, &versions, known);
        let mut above = run.above(Some(&versions));
        let began = Instant::now();
        let help = |thread| board.help(thread);
        let (pool, threads) = (run.job.executor.pool(), run.job.threads);
        let led = pool.run(threads, help, || board.lead(&mut above));
        let Tally { time, .. } = led?;
        let (costs, txs) = (run.job.executor.costs(), above.next().saturating_sub(run.next()));
        costs.took(time, txs);
        costs.compared(began.elapsed(), time, run.job.input.txs.len());
        above.into_above()
    };
    run.adopt(above);
    Ok(())
}

/// What the threads share.
struct Board<'a> {
    job: Job<'a>,
    block: &'a dyn OpenBlock,
    /// The state before the first of the transactions.
    base: &'a BlockOverlay<'a>,
    /// Index of that transaction.
    first: usize,
    versions: &'a Versions,
    steps: Vec<Step>,
    queue: Queue<'a>,
    has_ended: AtomicBool,
    /// Whether nobody asks what pays.
    goes_on: bool,
}

/// One transaction.
#[derive(Default)]
struct Step {
    /// What its execution ahead of its turn has read so far.
    seen: Mutex<Vec<Seen>>,
    /// Whether that execution is given up on.
    is_cancelled: AtomicBool,
}

/// A value that was read ahead of its turn.
struct Seen {
    key: Bytes,
    value: Option<Bytes>,
    /// Whether an earlier transaction had written it.
    is_above: bool,
}

impl<'a> Board<'a> {
    fn new(
        run: &'a Run<'a>,
        block: &'a dyn OpenBlock,
        versions: &'a Versions,
        known: Option<&'a Dependencies>,
    ) -> Self {
        let (job, first) = (run.job, run.next());
        let txs = job.input.txs.get(first..).unwrap_or_default();
        let is_ruled = |seq| job.rulings.contains_key(seq);
        let state = |is_ruled| if is_ruled { State::Taken } else { State::Idle };
        let states = txs.iter().map(|tx| state(is_ruled(&tx.seq)));
        let queue = Queue::new(states.collect(), first, known);
        let steps = std::iter::repeat_with(Step::default).take(txs.len()).collect();
        let has_ended = AtomicBool::new(false);
        let goes_on = job.executor.settings.scheduling == Scheduling::Parallel;
        Self { job, block, base: &run.overlay, first, versions, steps, queue, has_ended, goes_on }
    }

    /// Executes whatever is next ahead of its turn, until the block ends.
    fn help(&self, thread: usize) {
        while let Some(at) = self.queue.claim_or_wait() {
            self.ahead(at, thread, &|| false);
        }
    }

    /// Takes each transaction over, or executes it, at its turn; leaves the rest where next to all of them depend on
    /// each other.
    fn lead(&self, run: &mut Run<'_>) -> Result<Tally, BlockFailure> {
        let _end = End(self);
        let mut tally = Tally::default();
        for at in 0..self.steps.len() {
            self.turn(at, run, &mut tally)?;
            if tally.is_hopeless(TAKEN_MIN) && !self.goes_on {
                break;
            }
        }
        Ok(tally)
    }

    fn turn(&self, at: usize, run: &mut Run<'_>, tally: &mut Tally) -> Result<(), BlockFailure> {
        let mut is_looked_at = false;
        loop {
            match self.queue.take(at) {
                Turn::Now => return self.now(run, tally),
                Turn::Failed => {
                    tally.in_vain += 1;
                    return self.now(run, tally);
                }
                Turn::Done(ahead) => return self.take_over(at, ahead, run, tally),
                Turn::Running => {}
            }
            if let Some(later) = self.queue.claim() {
                self.ahead(later, 0, &|| !self.queue.is_running(at));
            } else if is_looked_at {
                self.queue.wait_for(at);
            } else if self.is_sound(at, run) {
                // All that it reads from now on is final, so that it is executed as if at its turn.
                is_looked_at = true;
            } else {
                self.cancel(at);
                tally.in_vain += 1;
                return self.now(run, tally);
            }
        }
    }

    fn now(&self, run: &mut Run<'_>, tally: &mut Tally) -> Result<(), BlockFailure> {
        let began = Instant::now();
        run.tx(self.block)?;
        tally.time += began.elapsed();
        Ok(())
    }

    fn cancel(&self, at: usize) {
        if let Some(step) = self.steps.get(at) {
            step.is_cancelled.store(true, Ordering::Relaxed);
        }
        if let Some(touched) = self.queue.cancel(at) {
            self.versions.retract(number(self.first + at), &touched);
        }
    }

    fn take_over(
        &self,
        at: usize,
        Ahead { receipt, mut touched, time }: Ahead,
        run: &mut Run<'_>,
        tally: &mut Tally,
    ) -> Result<(), BlockFailure> {
        if self.is_sound(at, run) && run.overlay.settle_additions(&mut touched)? {
            tally.taken += 1;
            tally.time += time;
            run.take_over(receipt, touched)?;
            return Ok(());
        }
        tally.in_vain += 1;
        self.versions.retract(number(self.first + at), &touched);
        self.now(run, tally)
    }

    /// Says whether what a transaction has read so far is what it would read at its turn, which has come.
    fn is_sound(&self, at: usize, run: &Run<'_>) -> bool {
        let Some(step) = self.steps.get(at) else { return false };
        lock(&step.seen).iter().all(|seen| match run.overlay.slot(&seen.key) {
            Some(slot) => slot.after == seen.value,
            None if seen.is_above => {
                self.base.get(&seen.key).is_ok_and(|value| value == seen.value)
            }
            None => true,
        })
    }

    /// Executes a transaction ahead of its turn; `is_due` says that the turn of this thread has come.
    fn ahead(&self, at: usize, thread: usize, is_due: &dyn Fn() -> bool) {
        let Some(step) = self.steps.get(at) else { return };
        let index = self.first.saturating_add(at);
        let (began, operations) = (Instant::now(), Cell::new(0u32));
        let must_stop = || {
            operations.set(operations.get().wrapping_add(1));
            self.has_ended.load(Ordering::Relaxed)
                || step.is_cancelled.load(Ordering::Relaxed)
                || (operations.get().is_multiple_of(LOOK_EVERY)
                    && began.elapsed() > AHEAD_MAX
                    && is_due())
        };
        let view = View { board: self, step, index: number(index) };
        let attempt = Attempt { job: self.job, block: self.block, thread, index };
        let result = attempt.run(&view, &must_stop);
        self.queue.finish(at, result, |touched| {
            self.versions.publish(number(index), touched);
        });
    }
}

/// Ends the work of every thread, however the first one leaves.
struct End<'a>(&'a Board<'a>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
        self.0.queue.end();
    }
}

/// The state as a transaction sees it ahead of its turn.
struct View<'a> {
    board: &'a Board<'a>,
    step: &'a Step,
    index: u32,
}

impl StateRead for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        // Held while the value is looked up: who looks at what was seen misses nothing that was read before.
        let mut seen = lock(&self.step.seen);
        if seen.len() >= SEEN_MAX {
            return Err(AtItsTurn::error());
        }
        let found = self.board.versions.before(self.index, key);
        let (value, is_above) = match found.map_err(|_| AtItsTurn::error())? {
            Found::Untouched => (self.board.base.get(key)?, false),
            Found::Written(value) => (value, true),
            Found::Added(delta) => {
                let before = self.board.base.get(key)?;
                let sum = add_to(before.as_ref(), delta).map_err(|_| AtItsTurn::error())?;
                (Some(sum), true)
            }
        };
        seen.push(Seen { key: key.into(), value: value.clone(), is_above });
        Ok(value)
    }

    fn scan(&self, _: &[u8], _: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        Err(AtItsTurn::error())
    }
}

fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
