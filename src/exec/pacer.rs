//! The pacer of a recovery: measures each batch, asks how large the next may be, and remembers what was decided.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exec::host_load::Meter;
use crate::exec::report::CHANGES_MAX;
use crate::pace::{HostLoad, PaceLimits, Seen, Why, batch_after, first_batch};
use crate::plan::BatchLimits;
use crate::types::Height;

/// A size of batches that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceChange {
    /// The last block that was committed before; `None` before the first batch.
    pub after: Option<Height>,
    /// When a batch is full from there on.
    pub batch: BatchLimits,
    /// Why that is another size than before.
    pub why: Why,
    /// What the machine did besides, in the batch before.
    pub load: HostLoad,
}

/// What is over sooner says nothing about the next batch, and is not worth reading counters for.
const BATCH_TIME_MIN: Duration = Duration::from_millis(50);

/// Chooses how large the next batch may be.
pub(crate) struct Pacer {
    limits: Option<PaceLimits>,
    batch: BatchLimits,
    /// Looks after each batch that is measured.
    meter: Meter,
    changes: Vec<PaceChange>,
}

impl Pacer {
    /// Starts with a size, which stays as it is where there are no limits within which it could change.
    pub(crate) fn new(batch: BatchLimits, limits: Option<PaceLimits>) -> Self {
        Self { limits, batch, meter: Meter::default(), changes: Vec::new() }
    }

    /// Returns when the next batch is full.
    pub(crate) const fn batch(&self) -> BatchLimits {
        self.batch
    }

    /// Returns the first changes, in order.
    pub(crate) fn changes(&self) -> &[PaceChange] {
        &self.changes
    }

    /// Takes note of what was rehearsed before the first batch.
    pub(crate) fn rehearsed(&mut self, txs: u64, time: Duration) {
        self.choose(None, txs, time, first_batch);
    }

    /// Takes note of a batch that was committed, up to a block.
    pub(crate) fn committed(&mut self, after: Height, txs: u64, time: Duration) {
        self.choose(Some(after), txs, time, batch_after);
    }

    fn choose(&mut self, after: Option<Height>, txs: u64, time: Duration, by: Choice) {
        let Some(limits) = self.limits.filter(|_| time >= BATCH_TIME_MIN) else { return };
        let load = self.meter.look().unwrap_or_default();
        let (batch, why) = by(self.batch, &limits, &Seen { txs, time, load });
        self.batch = batch;
        let Some(why) = why else { return };
        tracing::debug!(?after, ?why, ?batch, ?load, "batches of another size");
        if self.changes.len() < CHANGES_MAX {
            self.changes.push(PaceChange { after, batch, why, load });
        }
    }
}

/// What chooses the size of the next batch by what was seen.
type Choice = fn(BatchLimits, &PaceLimits, &Seen) -> (BatchLimits, Option<Why>);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pacer(limits: Option<PaceLimits>) -> Pacer {
        let batch = BatchLimits { txs_max: 10_000, ..BatchLimits::default() };
        Pacer::new(batch, limits)
    }

    #[test]
    fn a_pace_without_limits_stays_and_a_short_batch_says_nothing() {
        let limits = PaceLimits::default();
        for (limits, time) in [(None, SECOND), (Some(limits), BATCH_TIME_MIN / 2)] {
            let mut pacer = pacer(limits);
            pacer.committed(Height(1), 10_000, time);
            assert_eq!((pacer.batch().txs_max, pacer.changes()), (10_000, &[][..]));
        }
    }

    #[test]
    fn what_was_rehearsed_chooses_the_first_batch() {
        let mut pacer = pacer(Some(PaceLimits::default()));
        pacer.rehearsed(1_000_000, BATCH_TIME_MIN / 2);
        assert_eq!((pacer.batch().txs_max, pacer.changes().len()), (10_000, 0));
        // Two and a half seconds for what may take five with its commit.
        pacer.rehearsed(1_000_000, 10 * SECOND);
        let [change] = pacer.changes() else { panic!("one change: {:?}", pacer.changes()) };
        assert_eq!((change.after, pacer.batch().txs_max), (None, 250_000));
    }

    #[test]
    fn changes_are_remembered_with_the_block_before_them_and_no_more_than_a_report_shows() {
        let mut pacer = pacer(Some(PaceLimits::default()));
        pacer.committed(Height(7), 10_000, SECOND);
        let [change] = pacer.changes() else { panic!("one change: {:?}", pacer.changes()) };
        assert_eq!((change.after, change.batch), (Some(Height(7)), pacer.batch()));
        assert_eq!((change.why, pacer.batch().txs_max), (Why::RoomForMore, 20_000));
        for height in 0..80 {
            let time = if height % 2 == 0 { 60 * SECOND } else { SECOND };
            pacer.committed(Height(height), 10_000, time);
        }
        assert_eq!(pacer.changes().len(), CHANGES_MAX);
    }
}
