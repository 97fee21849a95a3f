//! A rest: after something did not pay, it is not tried for a while, ever longer.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is to come and rests, in any unit.
#[derive(Debug)]
pub(super) struct Rest {
    left: AtomicU64,
    /// How many times as much rested as did not pay last; zero where the last one paid.
    times: AtomicU64,
    times_min: u64,
    times_max: u64,
}

impl Rest {
    /// Makes one in which, for each unit that did not pay, so many rest at least and at most.
    pub(super) const fn new(times_min: u64, times_max: u64) -> Self {
        Self { left: AtomicU64::new(0), times: AtomicU64::new(0), times_min, times_max }
    }

    /// Says whether so much rests, all of it; counts it.
    pub(super) fn has(&self, units: u64) -> bool {
        let left = self.left.load(Ordering::Relaxed).checked_sub(units.max(1));
        if let Some(left) = left {
            self.left.store(left, Ordering::Relaxed);
        }
        left.is_some()
    }

    /// Takes note of whether so much paid; where it did not, ever more rests.
    pub(super) fn paid(&self, paid: bool, units: u64) {
        if paid {
            self.times.store(0, Ordering::Relaxed);
            self.left.store(0, Ordering::Relaxed);
            return;
        }
        let times = self.times.load(Ordering::Relaxed).saturating_mul(2);
        let times = times.clamp(self.times_min, self.times_max);
        self.times.store(times, Ordering::Relaxed);
        self.left.store(times.saturating_mul(units), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rested(rest: &Rest, units: u64) -> usize {
        std::iter::repeat_with(|| rest.has(units)).take_while(|rests| *rests).count()
    }

    #[test]
    fn what_does_not_pay_is_tried_ever_more_rarely() {
        let rest = Rest::new(8, 256);
        assert_eq!(rested(&rest, 10), 0);
        for expected in [8, 16, 32, 64, 128, 256, 256] {
            rest.paid(false, 10);
            assert_eq!(rested(&rest, 10), expected);
        }
        rest.paid(true, 10);
        assert_eq!(rested(&rest, 10), 0);
        rest.paid(false, 10);
        assert_eq!(rested(&rest, 100), 0, "a small block that did not pay silences no large ones");
    }

    #[test]
    fn the_first_rest_may_be_short() {
        let rest = Rest::new(1, 32);
        let lots = |paid| {
            rest.paid(paid, 1);
            rested(&rest, 1)
        };
        assert_eq!([false; 7].map(lots), [1, 2, 4, 8, 16, 32, 32]);
        assert_eq!([true, false, false].map(lots), [0, 1, 2]);
    }
}
