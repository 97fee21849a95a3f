//! The estimate: what a recovery may cost, said before it begins.

use serde::{Deserialize, Serialize};

use crate::block::BlockRow;
use crate::exec::{CommitMode, Examined, Gate, RecoveryOptions};
use crate::plan::Work;
use crate::store::{Store, StoreError};
use crate::types::{Height, UnixMillis};

/// Confirmed blocks that are looked at for the pace.
const PACE_BLOCKS_MAX: usize = 64;

// What a recovery writes, at most. By measurement main.db grows by 41 bytes for each ledger transfer in blocks of 100, by
// 371 in blocks of one, and by 0.7 bytes for each byte of events of Ethereum blocks; by 92, 371 and 1.8 where nothing can be
// compressed. The sums of these lie above them all.
/// Bytes by which main.db grows for each byte of the pending events.
const GROWTH_BY_EVENT_BYTE: u64 = 3;
/// Bytes by which it grows for each transaction.
const GROWTH_BY_TX: u64 = 256;
/// Bytes by which it grows for each block.
const GROWTH_BY_BLOCK: u64 = 1024;
/// The sandbox holds each block as main.db does, and what the blocks wrote once more as state.
const SANDBOX_BY_GROWTH: u64 = 2;
/// Bytes of the pages that a transaction changes: keys that lie anywhere in the state.
const PAGES_BY_TX: u64 = 4 * 4096;
/// Bytes of the pages that a block changes besides.
const PAGES_BY_BLOCK: u64 = 8 * 4096;
/// Bytes at which a write-ahead log is moved into its database, after the transaction that brought it there.
const WAL_BYTES: u64 = 64 << 20;
/// Memory that does not depend on the options: the program, pages of the three databases, events that are read ahead.
const MEMORY_BYTES: u64 = 160 << 20;
/// Memory of a second execution that does not depend on them: events that are read ahead for it, keys that it named.
const AGAIN_BYTES: u64 = 32 << 20;

/// What a recovery may cost. Sizes are upper estimates, the time is a guess; none of it limits anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Blocks and transactions to be replayed.
    pub work: Work,
    /// Bytes of the events that they are made of, those of waiting transactions among them.
    pub event_bytes: u64,
    /// Bytes of memory that it may take.
    pub memory_bytes: u64,
    /// Bytes of disk space that it may take, most of which it gives back at its end.
    pub disk_bytes: u64,
    /// Bytes of disk space that are free; `None` where the system does not tell.
    pub disk_free_bytes: Option<u64>,
    /// Transactions a second in the fastest stretch of recent commits; `None` where nothing is known.
    pub pace: Option<u64>,
    /// Milliseconds that the work takes at that pace.
    pub time_ms: Option<u64>,
}

impl Estimate {
    /// Estimates the recovery of an examined node. Reads at most 64 rows beyond what was read already.
    ///
    /// # Errors
    /// [`StoreError`] where a row cannot be read or does not match its own digest.
    pub fn of(node: &Examined, options: &RecoveryOptions) -> Result<Self, StoreError> {
        let backlog = &node.backlog;
        let work = Work { blocks: backlog.blocks, txs: backlog.txs };
        let nothing = work.blocks == 0;
        let event_bytes = if nothing { 0 } else { node.event_bytes };
        let pace = pace(&recent(&node.store, node.checkpoint.as_ref())?);
        Ok(Self {
            work,
            event_bytes,
            memory_bytes: if nothing { 0 } else { memory(options) },
            disk_bytes: if nothing {
                0
            } else {
                disk(work, event_bytes, size(&node.store), options)
            },
            disk_free_bytes: free_bytes(&node.store),
            pace,
            time_ms: pace.map(|pace| work.txs.saturating_mul(1000) / pace),
        })
    }

    /// Returns the bytes of disk space that may be missing; `None` where there is enough or nobody knows.
    #[must_use]
    pub fn disk_missing_bytes(&self) -> Option<u64> {
        let missing = self.disk_bytes.checked_sub(self.disk_free_bytes?)?;
        (missing > 0).then_some(missing)
    }
}

/// Rehearsed blocks with the changes that are joined of them, the state above the checkpoint and a cache of what lies below
/// have the budget each; a batch is held as bytes, counted as if none were compressed where its blocks are opened, and as
/// net changes, which take seven times as much where every change is of a key of its own.
fn memory(options: &RecoveryOptions) -> u64 {
    let budget = crate::codec::count(options.memory_bytes);
    let (shares, again) = match options.commit {
        CommitMode::Restore => (3, 0),
        CommitMode::Reexecute => (4, AGAIN_BYTES),
    };
    let batch = options.batch_bytes_max().saturating_mul(8);
    budget.saturating_mul(shares).saturating_add(batch).saturating_add(MEMORY_BYTES + again)
}

/// Adds up what main.db grows by, its write-ahead log, and the sandbox with its own where memory may not suffice.
fn disk(work: Work, event_bytes: u64, main_bytes: u64, options: &RecoveryOptions) -> u64 {
    let growth = event_bytes
        .saturating_mul(GROWTH_BY_EVENT_BYTE)
        .saturating_add(work.txs.saturating_mul(GROWTH_BY_TX))
        .saturating_add(work.blocks.saturating_mul(GROWTH_BY_BLOCK));
    let pages = growth
        .saturating_add(work.txs.saturating_mul(PAGES_BY_TX))
        .saturating_add(work.blocks.saturating_mul(PAGES_BY_BLOCK));
    // A transaction writes each page once, so never more than there are.
    let batch = main_bytes.saturating_add(growth);
    let wal = pages.min(WAL_BYTES.saturating_add(batch));
    growth.saturating_add(wal).saturating_add(sandbox(growth, pages, options))
}

fn sandbox(growth: u64, pages: u64, options: &RecoveryOptions) -> u64 {
    let budget = crate::codec::count(options.memory_bytes);
    let kept = growth.saturating_mul(SANDBOX_BY_GROWTH);
    let at_once = match options.gate {
        Gate::All => kept,
        // One batch is rehearsed while another is committed.
        Gate::Batch => kept.min(options.batch_bytes_max().saturating_mul(2)),
    };
    // What takes long to rehearse is set aside, however little it is.
    if at_once <= budget && (options.gate == Gate::Batch || options.pace.is_none()) {
        return 0;
    }
    let wal = pages.min(WAL_BYTES.saturating_add(budget.saturating_mul(2)));
    kept.saturating_add(wal)
}

/// Returns the size of main.db.
fn size(store: &Store) -> u64 {
    std::fs::metadata(store.dir().file(crate::store::MAIN)).map_or(0, |data| data.len())
}

fn free_bytes(store: &Store) -> Option<u64> {
    let found = rustix::fs::statvfs(store.dir().path()).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A confirmed block as the pace sees it: when it was committed, and its transactions.
type Committed = (UnixMillis, u64);

/// Reads the last confirmed blocks, the newest first.
fn recent(store: &Store, checkpoint: Option<&BlockRow>) -> Result<Vec<Committed>, StoreError> {
    let mut rows = Vec::new();
    let mut next = checkpoint.cloned();
    while let Some(row) = next {
        rows.push((row.committed, row.counts.txs));
        let below = row.order.height.get().checked_sub(1);
        next = match below.filter(|_| rows.len() < PACE_BLOCKS_MAX) {
            Some(height) => store.main().block_to(Height(height))?,
            None => None,
        };
    }
    Ok(rows)
}

/// Returns the transactions a second of the fastest stretch, a stretch being what was committed since the commit before.
///
/// Blocks of one batch bear one time, so those of the oldest have no beginning and tell nothing.
fn pace(newest_first: &[Committed]) -> Option<u64> {
    let stretches = newest_first.chunk_by(|(one, _), (other, _)| one == other);
    let batches: Vec<_> = stretches
        .filter_map(|batch| Some((batch.first()?.0.0, batch.iter().map(|(_, txs)| txs).sum())))
        .collect();
    let rates = batches.windows(2).filter_map(|pair| match pair {
        [(time, txs), (before, _)] => {
            let time_ms = time.checked_sub(*before).filter(|time| *time > 0)?;
            Some(u64::saturating_mul(*txs, 1000) / time_ms)
        }
        _ => None,
    });
    rates.max().filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_fastest_stretch() {
        let at = |time, txs| (UnixMillis(time), txs);
        for (newest_first, expected) in [
            (vec![], None),
            (vec![at(5_000, 10)], None),
            (vec![at(5_000, 10), at(5_000, 10)], None),
            (vec![at(5_000, 10), at(3_000, 99)], Some(5)),
            (vec![at(5_000, 10), at(5_000, 10), at(3_000, 99)], Some(10)),
            (vec![at(5_000, 10), at(3_000, 99), at(2_000, 7)], Some(99)),
            (vec![at(5_000, 10), at(6_000, 10)], None),
            (vec![at(5_000, 0), at(3_000, 0)], None),
        ] {
            assert_eq!(pace(&newest_first), expected, "{newest_first:?}");
        }
    }

    #[test]
    fn what_may_be_missing_is_what_is_not_free() {
        let estimate = |disk_bytes, disk_free_bytes| Estimate {
            work: Work::default(),
            event_bytes: 0,
            memory_bytes: 0,
            disk_bytes,
            disk_free_bytes,
            pace: None,
            time_ms: None,
        };
        for (need, free, missing) in
            [(5, Some(3), Some(2)), (5, Some(5), None), (5, Some(9), None), (5, None, None)]
        {
            assert_eq!(estimate(need, free).disk_missing_bytes(), missing, "{need} {free:?}");
        }
    }

    #[test]
    fn disk_space_grows_with_the_backlog_and_the_sandbox_with_what_memory_does_not_hold() {
        let work = |txs| Work { blocks: txs / 100, txs };
        let options = |gate, memory_bytes| RecoveryOptions {
            gate,
            memory_bytes,
            pace: None,
            ..RecoveryOptions::default()
        };
        let need = |txs: u64, options| disk(work(txs), txs * 150, 1 << 20, &options);
        let in_memory = need(1_000, options(Gate::All, 64 << 20));
        assert!(in_memory < need(1_000, options(Gate::All, 0)), "the sandbox takes its share");
        let paced = need(1_000, RecoveryOptions::default());
        assert!(in_memory < paced, "a slow rehearsal is set aside as it goes");
        let large = need(5_000_000, options(Gate::All, 64 << 20));
        let batch = need(5_000_000, options(Gate::Batch, 64 << 20));
        assert!(large > batch, "a batch at a time stays in memory");
        assert!(large < need(10_000_000, options(Gate::All, 64 << 20)));
    }
}
