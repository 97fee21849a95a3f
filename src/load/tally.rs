//! The tally: what all clients together have done so far, by the life of the node that they did it with.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::load::histogram::{Histogram, Latency};

/// Counts that clients add to and others watch.
#[derive(Debug, Default)]
pub(super) struct Tally {
    acknowledged: AtomicU64,
    retries: AtomicU64,
    resubmissions: AtomicU64,
    in_flight: AtomicU64,
    /// By life; held for the time of an addition.
    lives: Mutex<Vec<Life>>,
    latencies: Mutex<Latencies>,
}

/// What one life of the node saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    /// Transactions that it acknowledged.
    pub(super) acknowledged: u64,
    /// Submissions that it left without an answer.
    pub(super) cut_off: u64,
}

#[derive(Debug, Default)]
struct Latencies {
    undisturbed: Histogram,
    disturbed: Histogram,
}

/// A submission that waits for its answer.
pub(super) struct Flight<'a>(&'a Tally);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Tally {
    /// Counts a submission as in flight until what is returned is dropped.
    pub(super) fn take_off(&self) -> Flight<'_> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Flight(self)
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts transactions that a life of the node acknowledged.
    pub(super) fn acknowledge(&self, life: usize, count: u64) {
        self.acknowledged.fetch_add(count, Ordering::Relaxed);
        self.in_life(life, |life| life.acknowledged = life.acknowledged.saturating_add(count));
    }

    /// Counts a submission that a life of the node left without an answer.
    pub(super) fn cut_off(&self, life: usize) {
        self.in_life(life, |life| life.cut_off = life.cut_off.saturating_add(1));
    }

    /// Adds how long an acknowledgement took, apart where the node went away meanwhile.
    pub(super) fn measure(&self, took: Duration, is_disturbed: bool) {
        let mut latencies = guard(&self.latencies);
        let Latencies { undisturbed, disturbed } = &mut *latencies;
        let histogram = if is_disturbed { disturbed } else { undisturbed };
        histogram.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn resubmit(&self) {
        self.resubmissions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    pub(super) fn resubmissions(&self) -> u64 {
        self.resubmissions.load(Ordering::Relaxed)
    }

    /// Returns what these lives of the node saw together.
    pub(super) fn within(&self, lives: Range<usize>) -> Life {
        let (skipped, length) = (lives.start, lives.len());
        let all = guard(&self.lives);
        all.iter().skip(skipped).take(length).fold(Life::default(), |sum, life| Life {
            acknowledged: sum.acknowledged.saturating_add(life.acknowledged),
            cut_off: sum.cut_off.saturating_add(life.cut_off),
        })
    }

    /// Returns the latencies of what went through at once, and of what the node went away under.
    pub(super) fn latencies(&self) -> (Latency, Latency) {
        let latencies = guard(&self.latencies);
        (latencies.undisturbed.latency(), latencies.disturbed.latency())
    }

    fn in_life(&self, life: usize, change: impl FnOnce(&mut Life)) {
        let mut lives = guard(&self.lives);
        if lives.len() <= life {
            lives.resize(life.saturating_add(1), Life::default());
        }
        if let Some(life) = lives.get_mut(life) {
            change(life);
        }
    }
}

/// A client that panicked while it added left whole numbers behind.
pub(super) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_life_has_its_own_counts() {
        let tally = Tally::default();
        tally.acknowledge(1, 5);
        tally.acknowledge(3, 7);
        tally.cut_off(3);
        for (lives, acknowledged, cut_off) in
            [(0..usize::MAX, 12, 1), (1..3, 5, 0), (3..4, 7, 1), (3..3, 0, 0), (4..9, 0, 0)]
        {
            let within = tally.within(lives.clone());
            let found = (within.acknowledged, within.cut_off);
            assert_eq!(found, (acknowledged, cut_off), "{lives:?}");
        }
        assert_eq!(tally.acknowledged(), 12);
    }

    #[test]
    fn a_submission_is_in_flight_until_it_is_answered() {
        let tally = Tally::default();
        let flights = [tally.take_off(), tally.take_off()];
        assert_eq!(tally.in_flight(), 2);
        drop(flights);
        assert_eq!(tally.in_flight(), 0);
    }
}
