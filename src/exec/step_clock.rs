//! The clock that steps are timed by, which can stand still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Microseconds, but for those during which it stood still.
#[derive(Debug)]
pub(super) struct StepClock {
    epoch: Instant,
    /// Twice the microseconds that it stood still so far; or, while it does, twice what it shows, plus one. One word, so
    /// that whoever reads it sees either.
    word: AtomicU64,
}

/// The clock stands still until this is dropped.
pub(crate) struct Still<'a>(&'a StepClock);

impl Default for StepClock {
    fn default() -> Self {
        Self { epoch: Instant::now(), word: AtomicU64::new(0) }
    }
}

impl StepClock {
    pub(super) fn now(&self) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        let half = word / 2;
        if word % 2 == 1 { half } else { self.elapsed().saturating_sub(half) }
    }

    /// Makes it stand still. Only one caller at a time does that.
    pub(super) fn stand_still(&self) -> Still<'_> {
        if !planted!("waiting_for_a_commit_counted") {
            self.word.store(self.now().saturating_mul(2).saturating_add(1), Ordering::Release);
        }
        Still(self)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        let stood = self.0.elapsed().saturating_sub(self.0.now());
        self.0.word.store(stood.saturating_mul(2), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_does_not_pass_while_the_clock_stands_still() {
        let clock = StepClock::default();
        let pause = Duration::from_millis(2);
        let mut before = clock.now();
        for _ in 0..3 {
            let still = clock.stand_still();
            let shown = clock.now();
            std::thread::sleep(pause);
            assert_eq!(clock.now(), shown);
            drop(still);
            let lost = clock.elapsed() - clock.now();
            assert!(clock.now() >= shown && shown >= before && lost >= 2_000, "{lost}");
            before = clock.now();
        }
        assert!(clock.elapsed() - clock.now() >= 6_000);
        std::thread::sleep(pause);
        assert!(clock.now() >= before + 2_000);
    }
}
