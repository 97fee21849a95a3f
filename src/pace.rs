//! The pace of a recovery: how large the next batch may be, and how many workers execute. Pure.
//!
//! A larger batch writes less, since keys that change often are written once; a smaller one repeats less after a crash.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::BatchLimits;

/// What a batch may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceLimits {
    /// Work that a crash may cost: how long executing and committing one batch may take, about.
    pub repeat_max: Duration,
    /// Bytes of the blocks of one batch, about.
    pub bytes_max: u64,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self { repeat_max: Duration::from_secs(5), bytes_max: 64 << 20 }
    }
}

/// What the last batch cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Transactions.
    pub txs: u64,
    /// How long it took to execute them, as far as that was done for this batch alone, and to commit them.
    pub time: Duration,
    /// What else the machine did meanwhile.
    pub load: HostLoad,
}

/// What a machine does besides, as shares of the time, in hundredths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLoad {
    /// Of all processors: what other processes took.
    pub others: u32,
    /// In which some task waited for a processor.
    pub cpu_waits: u32,
    /// In which some task waited for memory.
    pub memory_waits: u32,
}

/// Why the next batch is of another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A crash would have less to repeat than it may.
    RoomForMore,
    /// A crash would have more to repeat than it may.
    TooMuchToRepeat,
    /// The machine is short of memory.
    MemoryShort,
}

/// The smallest batch that a pace comes to, in transactions: below, a commit costs more than what is in it.
pub const TXS_MIN: u64 = 1_000;
/// The largest one: above, hardly any key changes once more.
pub const TXS_MAX: u64 = 1_000_000;
const BYTES_MIN: u64 = 4 << 20;
/// Waiting that a machine does even where nobody else is at work, in hundredths.
const WAITS_USUAL: u32 = 10;

/// Chooses how large the next batch may be, and says why where that is another size.
#[must_use]
pub fn batch_after(
    BatchLimits { txs_max, bytes_max }: BatchLimits,
    limits: &PaceLimits,
    seen: &Seen,
) -> (BatchLimits, Option<Why>) {
    if seen.load.memory_waits > WAITS_USUAL && bytes_max > BYTES_MIN {
        let bytes_max = (bytes_max / 2).max(BYTES_MIN);
        return (BatchLimits { txs_max, bytes_max }, Some(Why::MemoryShort));
    }
    let bytes_max = bytes_max.saturating_mul(2).min(limits.bytes_max);
    if seen.txs == 0 {
        return (BatchLimits { txs_max, bytes_max }, None);
    }
    // As many as the time for repeating is enough for, at the speed of the last batch.
    let affordable = affordable(limits, seen.txs, millis(seen.time));
    if affordable < txs_max {
        let batch = BatchLimits { txs_max: affordable, bytes_max };
        return (batch, Some(Why::TooMuchToRepeat));
    }
    // One batch that was fast by chance is not enough to grow by more; nor by a little.
    let grown = affordable.min(txs_max.saturating_mul(2));
    if grown > txs_max.saturating_add(txs_max / 4) {
        return (BatchLimits { txs_max: grown, bytes_max }, Some(Why::RoomForMore));
    }
    (BatchLimits { txs_max, bytes_max }, None)
}

/// Chooses how large the first batch after a rehearsal may be, and says why where that is another size: committing what
/// was rehearsed is taken to cost no more than rehearsing it.
#[must_use]
pub fn first_batch(
    batch: BatchLimits,
    limits: &PaceLimits,
    rehearsed: &Seen,
) -> (BatchLimits, Option<Why>) {
    // Less than a batch says too little.
    if rehearsed.txs <= batch.txs_max || rehearsed.load.memory_waits > WAITS_USUAL {
        return (batch, None);
    }
    let affordable = affordable(limits, rehearsed.txs, millis(rehearsed.time).saturating_mul(2));
    if affordable <= batch.txs_max {
        return (batch, None);
    }
    let batch = BatchLimits { txs_max: affordable, bytes_max: limits.bytes_max };
    (batch, Some(Why::RoomForMore))
}

/// Chooses how many of some workers execute: all of them, but for the processors that others want.
#[must_use]
pub fn workers_beside(load: HostLoad, workers_max: usize) -> usize {
    // Where nobody waits, all that others take is taken from what would be idle.
    let others = if load.cpu_waits > WAITS_USUAL { load.others } else { 0 };
    let workers = u32::try_from(workers_max).unwrap_or(u32::MAX);
    // A worker is left to others once they take half of its processor.
    let taken = workers.saturating_mul(others).saturating_add(50) / 100;
    usize::try_from(workers.saturating_sub(taken)).unwrap_or(usize::MAX).max(1)
}

/// Returns how many transactions may be repeated, where so many took so many milliseconds, at least one.
fn affordable(limits: &PaceLimits, txs: u64, millis_taken: u64) -> u64 {
    let affordable = txs.saturating_mul(millis(limits.repeat_max)) / millis_taken;
    affordable.clamp(TXS_MIN, TXS_MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits =
        PaceLimits { repeat_max: Duration::from_secs(2), bytes_max: 128 << 20 };
    const IDLE: HostLoad = HostLoad { others: 0, cpu_waits: 0, memory_waits: 0 };

    fn batch(txs_max: u64) -> BatchLimits {
        BatchLimits { txs_max, bytes_max: 32 << 20 }
    }

    fn after(
        now: BatchLimits,
        txs: u64,
        millis: u64,
        load: HostLoad,
    ) -> (BatchLimits, Option<Why>) {
        batch_after(now, &LIMITS, &Seen { txs, time: Duration::from_millis(millis), load })
    }

    #[test]
    fn a_batch_comes_to_what_may_be_repeated_and_stays_there() {
        // 100 transactions a millisecond: 200,000 in two seconds.
        let mut now = batch(20_000);
        let mut sizes = Vec::new();
        for _ in 0..6 {
            let why;
            (now, why) = after(now, now.txs_max, now.txs_max / 100, IDLE);
            sizes.push((now.txs_max, why));
        }
        let grown = Some(Why::RoomForMore);
        assert_eq!(
            sizes,
            [
                (40_000, grown),
                (80_000, grown),
                (160_000, grown),
                // A quarter more is not worth another size.
                (160_000, None),
                (160_000, None),
                (160_000, None)
            ]
        );
        // A slow disk: what took eight seconds shrinks at once.
        let (slow, why) = after(now, 160_000, 8_000, IDLE);
        assert_eq!((slow.txs_max, why), (40_000, Some(Why::TooMuchToRepeat)));
    }

    #[test]
    fn the_first_batch_is_as_large_as_its_rehearsal_was_fast() {
        let first = |txs, millis, load| {
            first_batch(
                batch(20_000),
                &LIMITS,
                &Seen { txs, time: Duration::from_millis(millis), load },
            )
        };
        // 100 transactions a millisecond, and as long again to commit them: 100,000 in two seconds.
        let larger = BatchLimits { txs_max: 100_000, bytes_max: LIMITS.bytes_max };
        assert_eq!(first(1_000_000, 10_000, IDLE), (larger, Some(Why::RoomForMore)));
        assert_eq!(first(1_000_000, 1, IDLE).0.txs_max, TXS_MAX);
        assert_eq!(first(1_000_000, 1_000_000, IDLE), (batch(20_000), None), "a slow machine");
        assert_eq!(first(20_000, 1, IDLE), (batch(20_000), None), "less than a batch");
        let short = HostLoad { memory_waits: WAITS_USUAL + 1, ..IDLE };
        assert_eq!(first(1_000_000, 1, short), (batch(20_000), None));
    }

    #[test]
    fn a_batch_is_never_too_small_nor_too_large() {
        let next = |now, txs, millis| after(batch(now), txs, millis, IDLE).0.txs_max;
        assert_eq!(next(5_000, 10, 60_000), TXS_MIN);
        assert_eq!(next(900_000, 900_000, 1), 900_000, "a tenth more is not worth another size");
        assert_eq!(next(700_000, 700_000, 0), TXS_MAX);
        assert_eq!(next(5_000, 0, 0), 5_000);
    }

    #[test]
    fn memory_that_is_short_halves_a_batch_until_it_is_there_again() {
        let short = HostLoad { memory_waits: WAITS_USUAL + 1, ..IDLE };
        let mut now = batch(20_000);
        for expected in [16, 8, 4] {
            let why;
            (now, why) = after(now, 20_000, 2_000, short);
            assert_eq!((now.bytes_max >> 20, why), (expected, Some(Why::MemoryShort)));
        }
        let (least, why) = after(now, 20_000, 2_000, short);
        assert_eq!((least.bytes_max, why), (8 << 20, None), "not below what it can do with");
        let usual = HostLoad { memory_waits: WAITS_USUAL, ..IDLE };
        let (again, why) = after(now, 20_000, 2_000, usual);
        assert_eq!((again.bytes_max >> 20, why), (8, None));
        let most = after(BatchLimits { bytes_max: 100 << 20, ..now }, 20_000, 2_000, IDLE);
        assert_eq!(most.0.bytes_max, LIMITS.bytes_max);
    }

    #[test]
    fn a_busy_machine_is_left_room_and_an_idle_one_is_used() {
        let workers =
            |others, cpu_waits| workers_beside(HostLoad { others, cpu_waits, memory_waits: 0 }, 4);
        assert_eq!(workers(0, 90), 4, "it waits for itself alone");
        assert_eq!(workers(50, WAITS_USUAL), 4, "nobody waits");
        assert_eq!(workers(12, 50), 4, "less than half a processor");
        assert_eq!(workers(13, 50), 3);
        assert_eq!(workers(50, 50), 2);
        assert_eq!(workers(100, 100), 1, "one is left");
        assert_eq!(workers_beside(IDLE, 0), 1);
    }
}
