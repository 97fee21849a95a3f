//! How often a transient failure is tried again, and after how long.

use std::time::Duration;

use crate::codec::Writer;
use crate::types::{Digest, Height};

/// Capped exponential backoff with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one counted; at least 1.
    pub attempts_max: u32,
    /// Pause after the first attempt, before jitter.
    pub pause_first: Duration,
    /// Longest pause, before jitter.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            pause_first: Duration::from_millis(10),
            pause_max: Duration::from_secs(1),
        }
    }
}

impl RetryPolicy {
    /// Returns the pause after an attempt (the first is 1): between half and all of the capped exponential.
    ///
    /// The jitter is drawn from what is tried, not from a random source: two nodes that wait for one resource hold
    /// different blocks, and one node that repeats a recovery repeats its pauses.
    #[must_use]
    pub fn pause(&self, attempt: u32, height: Height, step: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let whole = self.pause_first.saturating_mul(1 << doublings).min(self.pause_max);
        let mut seed = Writer::default();
        seed.u32(attempt).u64(height.get()).u64(step);
        let Digest([byte, ..]) = Digest::of(&seed.finish());
        let half = whole / 2;
        half + half * u32::from(byte) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_are_spread() {
        let policy = RetryPolicy::default();
        let pause = |attempt, height| policy.pause(attempt, Height(height), 0);
        for attempt in 1..40 {
            for height in 0..50 {
                let whole = Duration::from_millis(10 << (attempt - 1).min(7)).min(policy.pause_max);
                let drawn = pause(attempt, height);
                assert!(drawn >= whole / 2 && drawn <= whole, "{attempt} {height} {drawn:?}");
            }
        }
        assert_ne!(pause(1, 1), pause(1, 2));
        assert_eq!(pause(3, 7), pause(3, 7));
    }
}
