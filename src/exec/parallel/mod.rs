//! The transactions of a block, on one thread or on several.
//!
//! Two ways lead to the same effects. Where the machine declares what transactions touch, the block is parted into
//! shares that have no key in common (`shares`), which are executed side by side (`beside`). Where it does not,
//! threads execute long transactions ahead of their turn (`ahead`), as in Block-STM (`PPoPP` 2023), on what those before
//! them have written so far (`versions`), and short ones in sections of the block (`sections`), as if those of earlier
//! sections were not; each is taken over at its turn if it saw the state as it is then. Besides, one thread may execute
//! the block after this one meanwhile (`foresight`). Everything else is executed at its turn, as on one thread.
//!
//! INVARIANT: what is executed ahead of its turn can only succeed. A failure, a panic or a stop there says nothing; the
//! transaction is executed again at its turn, and only that execution is judged or tried again.

mod ahead;
mod attempt;
mod beside;
mod cost;
mod foresight;
mod pool;
mod queue;
mod rest;
mod sections;
mod shares;
mod speculation;
mod versions;

use std::time::{Duration, Instant};

use self::attempt::Tally;
use self::cost::{Advice, Outlook, SAMPLE_TXS, Way, advise};
use self::shares::Parting;
use self::speculation::Base;
use crate::exec::steps::Run;
use crate::exec::{BlockFailure, Dependencies};
use crate::machine::OpenBlock;

pub(super) use self::attempt::Ahead;
pub(super) use self::cost::Costs;
pub use self::foresight::Foreseen;
pub(super) use self::pool::{Pool, SetAtEnd};
pub(super) use self::versions::Versions;

/// Executes the transactions of a block, which has begun.
pub(super) fn transactions(
    run: &mut Run<'_>,
    block: &dyn OpenBlock,
    foreseen: Vec<Option<Ahead>>,
) -> Result<(), BlockFailure> {
    let txs = run.job.input.txs.len();
    if txs > 1 && !block.declared_access(0, &mut |_| {}) {
        run.learn();
    }
    if !foreseen.is_empty() {
        let results = foreseen.iter().flatten().count();
        let Tally { taken, in_vain, .. } =
            speculation::take_over(run, block, foreseen, Base::Other)?;
        let lost = results.saturating_sub(taken);
        run.job.executor.costs().foresight_paid(taken >= in_vain, lost);
    }
    let mut advice = advice(run);
    if advice == Advice::Sample {
        in_order(run, block, SAMPLE_TXS)?;
        advice = self::advice(run);
    }
    if advice == Advice::Parallel
        && (run.job.executor.is_forced() || !run.job.executor.costs().rests(txs))
    {
        in_parallel(run, block)?;
    }
    in_order(run, block, txs).map(drop)
}

fn advice(run: &Run<'_>) -> Advice {
    let executor = run.job.executor;
    let threads = if executor.settings.records_access { 1 } else { run.job.threads };
    let txs = run.job.input.txs.len().saturating_sub(run.next());
    let (nanos_per_tx, scheduling) =
        (executor.costs().nanos_per_tx(), executor.settings.scheduling);
    advise(Outlook { threads, txs, nanos_per_tx, scheduling })
}

/// Executes transactions in order, up to the index `end`; returns the time that they took.
fn in_order(
    run: &mut Run<'_>,
    block: &dyn OpenBlock,
    end: usize,
) -> Result<Duration, BlockFailure> {
    let (began, first) = (Instant::now(), run.next());
    while run.next() < end {
        run.tx(block)?;
    }
    let time = began.elapsed();
    run.job.executor.costs().took(time, run.next().saturating_sub(first));
    Ok(time)
}

/// Executes what is left on several threads; all of it, or nothing where that cannot be done or would not pay.
fn in_parallel(run: &mut Run<'_>, block: &dyn OpenBlock) -> Result<(), BlockFailure> {
    let costs = run.job.executor.costs();
    let txs = run.job.input.txs.len();
    match shares::part(block, run) {
        Parting::Undeclared => {
            let known = run.job.known.filter(|known| known.txs() == txs);
            let pays = |known: &Dependencies| cost::is_shorter(known.longest_chain(), txs);
            let way = match run.job.input.height.get() % 2 {
                // Whoever asks for threads whether they pay or not gets both ways, block by block.
                0 if run.job.executor.is_forced() => Way::Ahead,
                _ if run.job.executor.is_forced() => Way::Sections,
                _ if known.is_none_or(pays) => costs.way(txs.saturating_sub(run.next())),
                _ => Way::InOrder,
            };
            match way {
                Way::InOrder => {}
                Way::Ahead => ahead::execute(run, block, known)?,
                Way::Sections => sections::execute(run, block)?,
            }
        }
        Parting::Shares(shares) => {
            let sizes: Vec<_> = shares.iter().map(Vec::len).collect();
            let pays = run.job.executor.is_forced() || cost::pays(&sizes);
            costs.paid(pays && beside::execute(run, block, &shares)?, txs);
        }
    }
    Ok(())
}
