//! The pace of a recovery: how large the next batch may be and how many workers execute it. Pure.
//!
//! A larger batch writes less, since keys that change often are written once; a smaller one repeats less after a crash.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::BatchLimits;

/// What the pace may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceLimits {
    /// Work that a crash may cost: how long executing and committing one batch may take, about.
    pub repeat_max: Duration,
    /// Bytes of the blocks of one batch, about.
    pub bytes_max: u64,
    /// Workers.
    pub workers_max: usize,
}

impl Default for PaceLimits {
    fn default() -> Self {
        let workers_max = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { repeat_max: Duration::from_secs(5), bytes_max: 64 << 20, workers_max }
    }
}

/// How the next batch is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// When the batch is full.
    pub batch: BatchLimits,
    /// How many workers execute.
    pub workers: usize,
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

/// Why a pace was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A crash would have less to repeat than it may.
    RoomForMore,
    /// A crash would have more to repeat than it may.
    TooMuchToRepeat,
    /// The machine is short of memory.
    MemoryShort,
    /// Others want the processors.
    OthersAtWork,
    /// The processors are free again.
    ProcessorsFree,
}

/// The smallest batch that a pace comes to, in transactions: below, a commit costs more than what is in it.
pub const TXS_MIN: u64 = 1_000;
/// The largest one: above, hardly any key changes once more.
pub const TXS_MAX: u64 = 1_000_000;
const BYTES_MIN: u64 = 4 << 20;
/// Waiting that a machine does even where nobody else is at work, in hundredths.
const WAITS_USUAL: u32 = 10;

impl Pace {
    /// Chooses the pace after a batch, and says why where it is another one.
    #[must_use]
    pub fn after(self, limits: &PaceLimits, seen: &Seen) -> (Self, Option<Why>) {
        let (batch, why) = self.next_batch(limits, seen);
        let (workers, of_workers) = self.next_workers(limits, seen.load);
        (Self { batch, workers }, of_workers.or(why))
    }

    fn next_batch(self, limits: &PaceLimits, seen: &Seen) -> (BatchLimits, Option<Why>) {
        let BatchLimits { txs_max, bytes_max } = self.batch;
        if seen.load.memory_waits > WAITS_USUAL && bytes_max > BYTES_MIN {
            let bytes_max = (bytes_max / 2).max(BYTES_MIN);
            return (BatchLimits { txs_max, bytes_max }, Some(Why::MemoryShort));
        }
        let bytes_max = bytes_max.saturating_mul(2).min(limits.bytes_max);
        if seen.txs == 0 {
            return (BatchLimits { txs_max, bytes_max }, None);
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        // As many as the time for repeating is enough for, at the speed of the last batch.
        let affordable = seen.txs.saturating_mul(millis(limits.repeat_max)) / millis(seen.time);
        let affordable = affordable.clamp(TXS_MIN, TXS_MAX);
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

    fn next_workers(self, limits: &PaceLimits, load: HostLoad) -> (usize, Option<Why>) {
        // Where nobody waits, all that others take is taken from what would be idle.
        let others = if load.cpu_waits > WAITS_USUAL { load.others } else { 0 };
        let hundredths = u32::try_from(limits.workers_max).unwrap_or(u32::MAX).saturating_mul(100);
        let taken = hundredths / 100 * others;
        // A worker is left to others once they take more than half a processor.
        let left = (hundredths.saturating_sub(taken)).saturating_add(49) / 100;
        let workers =
            usize::try_from(left).unwrap_or(usize::MAX).clamp(1, limits.workers_max.max(1));
        match workers.cmp(&self.workers) {
            std::cmp::Ordering::Less => (workers, Some(Why::OthersAtWork)),
            std::cmp::Ordering::Equal => (workers, None),
            std::cmp::Ordering::Greater => (workers, Some(Why::ProcessorsFree)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits =
        PaceLimits { repeat_max: Duration::from_secs(2), bytes_max: 128 << 20, workers_max: 4 };
    const IDLE: HostLoad = HostLoad { others: 0, cpu_waits: 0, memory_waits: 0 };

    fn pace(txs_max: u64, workers: usize) -> Pace {
        Pace { batch: BatchLimits { txs_max, bytes_max: 32 << 20 }, workers }
    }

    fn seen(txs: u64, millis: u64, load: HostLoad) -> Seen {
        Seen { txs, time: Duration::from_millis(millis), load }
    }

    #[test]
    fn a_batch_comes_to_what_may_be_repeated_and_stays_there() {
        // 100 transactions a millisecond: 200,000 in two seconds.
        let mut now = pace(20_000, 4);
        let mut sizes = Vec::new();
        for _ in 0..6 {
            let txs = now.batch.txs_max;
            let why;
            (now, why) = now.after(&LIMITS, &seen(txs, txs / 100, IDLE));
            sizes.push((now.batch.txs_max, why));
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
        let (slow, why) = now.after(&LIMITS, &seen(160_000, 8_000, IDLE));
        assert_eq!((slow.batch.txs_max, why), (40_000, Some(Why::TooMuchToRepeat)));
    }

    #[test]
    fn a_batch_is_never_too_small_nor_too_large() {
        let (small, _) = pace(5_000, 4).after(&LIMITS, &seen(10, 60_000, IDLE));
        assert_eq!(small.batch.txs_max, TXS_MIN);
        let (large, _) = pace(900_000, 4).after(&LIMITS, &seen(900_000, 1, IDLE));
        assert_eq!(large.batch.txs_max, 900_000, "a tenth more is not worth another size");
        let (large, _) = pace(700_000, 4).after(&LIMITS, &seen(700_000, 0, IDLE));
        assert_eq!(large.batch.txs_max, TXS_MAX);
        let empty = pace(5_000, 4).after(&LIMITS, &seen(0, 0, IDLE));
        assert_eq!((empty.0.batch.txs_max, empty.1), (5_000, None));
    }

    #[test]
    fn memory_that_is_short_halves_a_batch_until_it_is_there_again() {
        let short = HostLoad { memory_waits: WAITS_USUAL + 1, ..IDLE };
        let mut now = pace(20_000, 4);
        for expected in [16, 8, 4] {
            let why;
            (now, why) = now.after(&LIMITS, &seen(20_000, 2_000, short));
            assert_eq!((now.batch.bytes_max >> 20, why), (expected, Some(Why::MemoryShort)));
        }
        let (least, why) = now.after(&LIMITS, &seen(20_000, 2_000, short));
        assert_eq!((least.batch.bytes_max, why), (8 << 20, None), "not below what it can do with");
        let usual = HostLoad { memory_waits: WAITS_USUAL, ..IDLE };
        let (again, why) = now.after(&LIMITS, &seen(20_000, 2_000, usual));
        assert_eq!((again.batch.bytes_max >> 20, why), (8, None));
    }

    #[test]
    fn a_busy_machine_is_left_room_and_an_idle_one_is_used() {
        let load = |others, cpu_waits| HostLoad { others, cpu_waits, memory_waits: 0 };
        let workers = |now: usize, load| {
            let (next, why) = pace(20_000, now).after(&LIMITS, &seen(20_000, 2_000, load));
            (next.workers, why)
        };
        assert_eq!(workers(4, load(0, 90)), (4, None), "it waits for itself alone");
        assert_eq!(workers(4, load(50, WAITS_USUAL)), (4, None), "nobody waits");
        assert_eq!(workers(4, load(12, 50)), (4, None), "less than half a processor");
        assert_eq!(workers(4, load(25, 50)), (3, Some(Why::OthersAtWork)));
        assert_eq!(workers(4, load(50, 50)), (2, Some(Why::OthersAtWork)));
        assert_eq!(workers(4, load(100, 100)), (1, Some(Why::OthersAtWork)), "one is left");
        assert_eq!(workers(2, load(25, 50)), (3, Some(Why::ProcessorsFree)));
        assert_eq!(workers(1, IDLE), (4, Some(Why::ProcessorsFree)));
    }
}
