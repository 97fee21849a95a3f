//! The pacer of a recovery: measures each batch, asks for the pace of the next, and remembers what was decided.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exec::host_load::Counters;
use crate::pace::{HostLoad, Pace, PaceLimits, Seen, Why};
use crate::types::Height;

/// A pace that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceChange {
    /// The last block that was committed before.
    pub after: Height,
    /// The pace from there on.
    #[serde(flatten)]
    pub pace: Pace,
    /// Why it is another one than before.
    pub why: Why,
    /// What the machine did besides, in the batch before.
    pub load: HostLoad,
}

/// What is over sooner says nothing about the next batch, and is not worth reading counters for.
const BATCH_TIME_MIN: Duration = Duration::from_millis(50);

/// Changes that a report shows; what comes after them is still done.
const CHANGES_MAX: usize = 64;

/// Chooses how the next batch is worked on.
pub(crate) struct Pacer {
    limits: Option<PaceLimits>,
    pace: Pace,
    /// As they were after the last batch that was measured.
    counters: Option<Counters>,
    changes: Vec<PaceChange>,
}

impl Pacer {
    /// Starts with a pace, which stays as it is where there are no limits within which it could change.
    pub(crate) fn new(pace: Pace, limits: Option<PaceLimits>) -> Self {
        Self { limits, pace, counters: None, changes: Vec::new() }
    }

    pub(crate) const fn pace(&self) -> Pace {
        self.pace
    }

    /// Returns the first changes, in order.
    pub(crate) fn changes(&self) -> &[PaceChange] {
        &self.changes
    }

    /// Takes note of a batch that was committed, up to a block.
    pub(crate) fn committed(&mut self, after: Height, txs: u64, time: Duration) {
        let Some(limits) = self.limits.as_ref().filter(|_| time >= BATCH_TIME_MIN) else { return };
        let counters = Counters::read();
        let load = match (&self.counters, &counters) {
            (Some(before), Some(now)) => now.since(before),
            _ => HostLoad::default(),
        };
        self.counters = counters;
        let (pace, why) = self.pace.after(limits, &Seen { txs, time, load });
        self.pace = pace;
        let Some(why) = why else { return };
        tracing::debug!(height = after.get(), ?why, ?pace, ?load, "another pace");
        if self.changes.len() < CHANGES_MAX {
            self.changes.push(PaceChange { after, pace, why, load });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BatchLimits;

    const SECOND: Duration = Duration::from_secs(1);

    fn pacer(limits: Option<PaceLimits>) -> Pacer {
        let batch = BatchLimits { txs_max: 10_000, ..BatchLimits::default() };
        Pacer::new(Pace { batch, workers: 1 }, limits)
    }

    #[test]
    fn a_pace_without_limits_stays_and_a_short_batch_says_nothing() {
        let limits = PaceLimits { workers_max: 1, ..PaceLimits::default() };
        for (limits, time) in [(None, SECOND), (Some(limits), BATCH_TIME_MIN / 2)] {
            let mut pacer = pacer(limits);
            pacer.committed(Height(1), 10_000, time);
            assert_eq!((pacer.pace().batch.txs_max, pacer.changes()), (10_000, &[][..]));
        }
    }

    #[test]
    fn changes_are_remembered_with_the_block_before_them_and_no_more_than_a_report_shows() {
        let mut pacer = pacer(Some(PaceLimits { workers_max: 1, ..PaceLimits::default() }));
        pacer.committed(Height(7), 10_000, SECOND);
        let [change] = pacer.changes() else { panic!("one change: {:?}", pacer.changes()) };
        assert_eq!((change.after, change.pace), (Height(7), pacer.pace()));
        assert_eq!((change.why, pacer.pace().batch.txs_max), (Why::RoomForMore, 20_000));
        for height in 0..80 {
            let time = if height % 2 == 0 { 60 * SECOND } else { SECOND };
            pacer.committed(Height(height), 10_000, time);
        }
        assert_eq!(pacer.changes().len(), CHANGES_MAX);
    }
}
