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
            in_order(&mut above, block, sections.first().map_or(0, |txs| txs.end))
        });
        let mut time = first?;
        for (txs, done) in sections.into_iter().zip(done).skip(1) {
            time += in_order(&mut above, block, txs.start)?;
            let results = done.into_inner().unwrap_or_else(PoisonError::into_inner);
            time += take_over(&mut above, block, results, Base::OfRun)?.time;
        }
        (above.into_above(), time)
    };
    run.adopt(above);
    job.executor.costs().compared(began.elapsed(), time, job.input.txs.len());
    Ok(())
}

/// What the thread of the first section executes in the time in which another one, which begins later and keeps what it
/// read besides, executes `OTHER`.
const FIRST: usize = 4;
const OTHER: usize = 3;

/// Parts transactions into so many sections that take about the same time.
fn part(txs: Range<usize>, sections: usize) -> Vec<Range<usize>> {
    let mut start = txs.start;
    let section = |left: usize| {
        let weight = if left == sections { FIRST } else { OTHER };
        let all = OTHER.saturating_mul(left - 1).saturating_add(weight);
        let left = txs.end.saturating_sub(start);
        let length = left.saturating_mul(weight).checked_div(all).unwrap_or(left).max(1).min(left);
        let end = start.saturating_add(length);
        std::mem::replace(&mut start, end)..end
    };
    (1..=sections).rev().map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_hold_everything_and_the_first_is_longest() {
        assert_eq!(part(0..700, 2), [0..400, 400..700]);
        assert_eq!(part(4..14, 3), [4..8, 8..11, 11..14]);
        assert_eq!(part(0..4, 2), [0..2, 2..4]);
        assert_eq!(part(0..2, 4), [0..1, 1..2, 2..2, 2..2]);
        assert_eq!(part(5..5, 2), [5..5, 5..5]);
    }
}
