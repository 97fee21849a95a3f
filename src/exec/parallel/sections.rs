//! Parts a block of which nobody knows what touches what into sections, and executes each on a thread of its own.
//!
//! The first section is executed at its turn. The others are executed meanwhile, each in order above the state before the
//! first, as if those before it were not; at their turn they are taken over (`speculation`). That costs far less than
//! executing each transaction on what those before it have written so far (`ahead`), and is of use where few depend on
//! others.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::attempt::Ahead;
use super::in_order;
use super::pool::SetAtEnd;
use super::speculation::{Base, Speculation, take_over};
use crate::exec::BlockFailure;
use crate::exec::steps::Run;
use crate::machine::OpenBlock;
use crate::state::BlockOverlay;

/// Executes the transactions that are left.
pub(super) fn execute(run: &mut Run<'_>, block: &dyn OpenBlock) -> Result<(), BlockFailure> {
    let (job, began, has_ended) = (run.job, Instant::now(), AtomicBool::new(false));
    let sections = part(run.next()..job.input.txs.len(), job.threads);
    let done: Vec<Mutex<Vec<Option<Ahead>>>> = sections.iter().map(|_| Mutex::default()).collect();
    let (above, time) = {
        let mut above = run.above(None);
        let help = |thread: usize| {
            let (Some(txs), Some(done)) = (sections.get(thread), done.get(thread)) else { return };
            let must_stop = || has_ended.load(Ordering::Relaxed);
            let speculation = Speculation { job, block, thread, must_stop: &must_stop };
            let (mut overlay, mut results) = (BlockOverlay::new(&run.overlay), Vec::new());
            // A state that cannot be read is found out, and attributed, at the turn.
            let _ = speculation.execute(txs.clone(), &mut overlay, &mut results);
            *done.lock().unwrap_or_else(PoisonError::into_inner) = results;
        };
        let first = job.executor.pool().run(job.threads, help, || {
            let _end = SetAtEnd(&has_ended);
            let end = sections.first().map_or(0, |txs| txs.end);
            in_order(&mut above, block, end)
        });
        first?;
        let mut time = began.elapsed();
        for (txs, done) in sections.into_iter().zip(done).skip(1) {
            in_order(&mut above, block, txs.start)?;
            let results = done.into_inner().unwrap_or_else(PoisonError::into_inner);
            time += take_over(&mut above, block, results, Base::OfRun)?.time;
        }
        (above.into_above(), time)
    };
    run.adopt(above);
    job.executor.costs().compared(began.elapsed(), time);
    Ok(())
}

/// Parts transactions into so many sections of about the same length, the longest first.
fn part(txs: Range<usize>, sections: usize) -> Vec<Range<usize>> {
    let mut start = txs.start;
    let section = |left: usize| {
        let end = start + txs.end.saturating_sub(start).div_ceil(left);
        std::mem::replace(&mut start, end)..end
    };
    (1..=sections).rev().map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_about_equal_and_hold_everything() {
        assert_eq!(part(4..11, 3), [4..7, 7..9, 9..11]);
        assert_eq!(part(0..2, 4), [0..1, 1..2, 2..2, 2..2]);
        assert_eq!(part(5..5, 2), [5..5, 5..5]);
    }
}
