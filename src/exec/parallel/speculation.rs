//! Transactions that are executed in order before their turn, above a state that need not be the one before them.
//!
//! At its turn each of them is taken over if all that it read has the same value then, whoever wrote it.

use std::ops::Range;
use std::time::Instant;

use super::attempt::{Ahead, Attempt, Tally};
use crate::exec::BlockFailure;
use crate::exec::steps::{Job, Run, number};
use crate::machine::OpenBlock;
use crate::state::{BlockOverlay, StateError, StateRead, Touched, Writer};

/// A thread that executes transactions before their turn.
pub(super) struct Speculation<'a> {
    pub(super) job: Job<'a>,
    pub(super) block: &'a dyn OpenBlock,
    pub(super) thread: usize,
    pub(super) must_stop: &'a dyn Fn() -> bool,
}

impl Speculation<'_> {
    /// Executes the transactions with these indices until it must stop; `None` for one that is left to its turn.
    pub(super) fn execute(
        &self,
        txs: Range<usize>,
        overlay: &mut BlockOverlay<'_>,
        results: &mut Vec<Option<Ahead>>,
    ) -> Result<(), StateError> {
        let Self { job, block, thread, must_stop } = *self;
        for (index, tx) in job.input.txs.iter().enumerate().take(txs.end).skip(txs.start) {
            if must_stop() {
                break;
            }
            let is_ruled = job.rulings.contains_key(&tx.seq);
            let attempt = || Attempt { job, block, thread, index }.run(overlay, must_stop);
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
}

/// Above which state transactions were executed before their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The one that the run is above: a key that nobody has written since is as it was.
    OfRun,
    /// Another one.
    Other,
}

/// Takes transactions over from the next one on, or executes them, until too much was in vain.
pub(super) fn take_over(
    run: &mut Run<'_>,
    block: &dyn OpenBlock,
    results: Vec<Option<Ahead>>,
    base: Base,
) -> Result<Tally, BlockFailure> {
    let mut tally = Tally::default();
    for result in results {
        let Some(tx) = run.job.input.txs.get(run.next()) else { break };
        let is_ruled = run.job.rulings.contains_key(&tx.seq);
        if let Some(Ahead { receipt, mut touched, time }) = result.filter(|_| !is_ruled) {
            // What was executed in vain has left values that nothing tells of, where it did not write them again.
            let is_clean = tally.in_vain == 0 || planted!("what_was_in_vain_trusted");
            let from_base = base == Base::OfRun && is_clean;
            if is_sound(&touched, &run.overlay, from_base)?
                && run.overlay.settle_additions(&mut touched)?
            {
                tally.taken += 1;
                tally.time += time;
                run.take_over(receipt, touched)?;
                continue;
            }
            tally.in_vain += 1;
        }
        let began = Instant::now();
        run.tx(block)?;
        tally.time += began.elapsed();
        if tally.is_hopeless(1) {
            break;
        }
    }
    Ok(tally)
}

/// Says whether what a transaction has read is what it would read now; `from_base` says that a key which is not written
/// in this overlay is as it was.
fn is_sound(
    touched: &Touched,
    overlay: &BlockOverlay<'_>,
    from_base: bool,
) -> Result<bool, StateError> {
    for key in touched.keys() {
        let Some(read) = &key.read else { continue };
        let is_same = match overlay.slot(&key.key) {
            Some(slot) => slot.after == *read,
            None => from_base || overlay.get(&key.key)? == *read,
        };
        if !is_same && !planted!("foreseen_not_verified") {
            return Ok(false);
        }
    }
    Ok(true)
}
