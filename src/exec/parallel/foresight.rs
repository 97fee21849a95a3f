//! Executes transactions of the next block while the present one is executed: a window across the blocks' boundary.
//!
//! The next block is executed in order above the state before the present one, its patches and its opening included, as
//! far as time goes. What comes between that and its turn (the rest of the present block, its closing, patches) needs no
//! account of its own: values are compared, whoever wrote them (`speculation`).

use std::sync::atomic::{AtomicBool, Ordering};

use super::attempt::{Ahead, guarded};
use super::speculation::Speculation;
use crate::exec::steps::Job;
use crate::machine::{Context, OpenBlock};
use crate::state::{BlockOverlay, StateError, StateRead, Touched, Writer};
use crate::types::Height;

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
        let speculation = Speculation { job, block, thread, must_stop: ends };
        speculation.execute(0..job.input.txs.len(), &mut overlay, results)
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
