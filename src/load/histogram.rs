//! The histogram of latencies: counts in buckets that are a thirty-second of their value wide.

use serde::Serialize;

/// Buckets for each doubling of the value.
const STEPS: u64 = 32;

/// Counts of values; memory is that of the largest value's bucket, at most 15 KiB.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// A distribution of latencies, in microseconds; a share is exact to one thirty-second of its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half took no longer.
    pub p50_us: u64,
    /// 95 of 100 took no longer.
    pub p95_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest, exactly.
    pub max_us: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket.saturating_add(1), 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.total = self.total.saturating_add(1);
        self.max = self.max.max(value);
    }

    pub(super) fn latency(&self) -> Latency {
        Latency {
            count: self.total,
            p50_us: self.share(50),
            p95_us: self.share(95),
            p99_us: self.share(99),
            max_us: self.max,
        }
    }

    /// Returns the top of the bucket that so many of 100 values do not exceed.
    fn share(&self, percent: u64) -> u64 {
        let wanted = self.total.saturating_mul(percent).div_ceil(100);
        let mut seen = 0u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= wanted {
                return top(bucket).min(self.max);
            }
        }
        self.max
    }
}

/// Small values have a bucket each; above, a bucket is named by its doubling and its step within.
fn bucket(value: u64) -> usize {
    let doublings =
        u64::from((value / STEPS).checked_ilog2().map_or(0, |log| log.saturating_add(1)));
    let shift = doublings.saturating_sub(1);
    let within = value >> shift;
    usize::try_from(shift.saturating_mul(STEPS).saturating_add(within)).unwrap_or(usize::MAX)
}

/// Returns the largest value of a bucket.
fn top(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let shift = (bucket / STEPS).saturating_sub(1);
    let within = bucket.saturating_sub(shift.saturating_mul(STEPS));
    let top = (u128::from(within) + 1) << shift;
    u64::try_from(top.saturating_sub(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_whose_top_is_within_a_thirty_second() {
        let edges = (0..64).map(|bit| 1u64 << bit);
        for value in edges.flat_map(|edge| [edge - 1, edge, edge + 1]).chain([u64::MAX]) {
            let top = top(bucket(value));
            assert!(top >= value && top - value <= value / STEPS, "{value} is below {top}");
            assert!(bucket(value) < 1_920, "{value}");
        }
    }

    #[test]
    fn shares_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|value| histogram.add(value * 10));
        let latency = histogram.latency();
        for (found, expected) in
            [(latency.p50_us, 5_000), (latency.p95_us, 9_500), (latency.p99_us, 9_900)]
        {
            assert!((expected..=expected + expected / 32).contains(&found), "{latency:?}");
        }
        assert_eq!((latency.count, latency.max_us), (1_000, 10_000));
        assert_eq!(Histogram::default().latency(), Latency::default());
    }
}
