//! Executes transactions of the next block while the present one is executed: a window across the blocks' boundary.
//!
//! The next block is executed in order above the state before the present one, its patches and its opening included, as
//! far as time goes. At its turn each of its transactions is taken over if all that it read has the same value then,
//! whoever wrote it: what comes between the two executions (the rest of the present block, its closing, patches) needs
//! no account of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use super::attempt::{Ahead, Attempt, guarded};
use crate::exec::BlockFailure;
use crate::exec::steps::{Job, Run, number};
use crate::machine::{Context, OpenBlock};
use crate::state::{BlockOverlay, StateError, StateRead, Touched, Writer};
use crate::types::Height;

/// Transactions in vain from which on it is asked whether to go on.
const IN_VAIN_MIN: usize = 12;

/// What transactions of a block gave before its turn.
#[derive(Debug, Default)]
pub struct Foreseen {
    height: Height,
    /// From the first one on; `None` for one that is to be executed at its turn.
    results: Vec<Option<Ahead>>,
}

impl Foreseen {
    /// Executes a block on a thread until it is told to end.
    pub(in crate::exec) fn of(
        job: Job<'_>,
        below: &(dyn StateRead + Sync),
        thread: usize,
        has_ended: &AtomicBool,
    ) -> Self {
        let ends = || has_ended.load(Ordering::Relaxed);
        // Whatever is wrong with the block is found out, and attributed, at its turn.
        let opened = guarded(job, thread, None, || {
            let machine = job.executor.machine();
            if let Some(prepare) = machine.prepare(job.input) {
                prepare(&ends);
            }
            // Opening what is not prepared takes several threads, which are there at its turn.
            (!ends()).then(|| machine.open_block(job.input).ok()).flatten()
        });
        let (mut results, height) = (Vec::new(), job.input.height);
        if let Some(block) = opened {
            let step = Foresight { job, block: &*block, thread, ends: &ends };
            // So is a state that cannot be read.
            let _ = step.execute(below, &mut results);
        }
        while results.last().is_some_and(Option::is_none) {
            results.pop();
        }
        Self { height, results }
    }

    /// Returns the results, if they are those of this block.
    pub(in crate::exec) fn at(self, height: Height) -> Vec<Option<Ahead>> {
        if self.height == height { self.results } else { Vec::new() }
    }
}

/// A block that is executed before its turn.
struct Foresight<'a> {
    job: Job<'a>,
    block: &'a dyn OpenBlock,
    thread: usize,
    ends: &'a dyn Fn() -> bool,
}

impl Foresight<'_> {
    fn execute(
        &self,
        below: &(dyn StateRead + Sync),
        results: &mut Vec<Option<Ahead>>,
    ) -> Result<(), StateError> {
        let Self { job, block, thread, ends } = *self;
        let mut overlay = BlockOverlay::new(below);
        for patch in &job.input.patches {
            overlay.patch(patch)?;
        }
        let Some(opening) = self.begin(&overlay) else { return Ok(()) };
        overlay.take_over(Writer::Begin, opening)?;
        for (index, tx) in job.input.txs.iter().enumerate() {
            if ends() {
                break;
            }
            let is_ruled = job.rulings.contains_key(&tx.seq);
            let attempt = || Attempt { job, block, thread, index }.run(&overlay, ends);
            let mut ahead = if is_ruled { None } else { attempt() };
            if let Some(Ahead { touched, .. }) = &ahead {
                // What is taken over at the turn stays as it is: sums are made there.
                let mut touched = touched.clone();
                if overlay.settle_additions(&mut touched)? {
                    overlay.take_over(Writer::Tx(number(index)), touched)?;
                } else {
                    ahead = None;
                }
            }
            results.push(ahead);
        }
        Ok(())
    }

    fn begin(&self, overlay: &BlockOverlay<'_>) -> Option<Touched> {
        let Self { job, block, thread, ends } = *self;
        guarded(job, thread, None, || {
            let stops = || job.executor.watch().must_stop_on(thread) || ends();
            let mut context = Context::new(overlay, job.executor.settings.limits, &stops);
            block.begin(&mut context).ok()?;
            (!context.has_failed()).then(|| context.finish())
        })
    }
}

/// Takes over what was foreseen of the present block, or executes it, until too much was in vain; says whether more was
/// taken over than was in vain.
pub(super) fn take_over(
    run: &mut Run<'_>,
    block: &dyn OpenBlock,
    results: Vec<Option<Ahead>>,
) -> Result<bool, BlockFailure> {
    let (mut taken, mut in_vain) = (0, 0usize);
    for result in results {
        let Some(tx) = run.job.input.txs.get(run.next()) else { break };
        let is_ruled = run.job.rulings.contains_key(&tx.seq);
        let Some(Ahead { receipt, mut touched, .. }) = result.filter(|_| !is_ruled) else {
            run.tx(block)?;
            continue;
        };
        if is_sound(&touched, &run.overlay)? && run.overlay.settle_additions(&mut touched)? {
            taken += 1;
            run.take_over(receipt, touched)?;
            continue;
        }
        in_vain += 1;
        run.tx(block)?;
        if in_vain >= IN_VAIN_MIN && in_vain > taken {
            break;
        }
    }
    Ok(taken >= in_vain)
}

/// Says whether what a transaction has read is what it would read now.
fn is_sound(touched: &Touched, overlay: &BlockOverlay<'_>) -> Result<bool, StateError> {
    for key in touched.keys() {
        let Some(read) = &key.read else { continue };
        if overlay.get(&key.key)? != *read && !planted!("foreseen_not_verified") {
            return Ok(false);
        }
    }
    Ok(true)
}
