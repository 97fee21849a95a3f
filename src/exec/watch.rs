//! The watch: what is being executed since when, seen from another thread, and the signal to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shared between the thread that executes and the thread that watches it.
#[derive(Debug)]
pub struct Watch {
    epoch: Instant,
    /// Microseconds from `epoch` to the start of the step, plus one; zero between steps.
    started: AtomicU64,
    stop: AtomicBool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { epoch: Instant::now(), started: AtomicU64::new(0), stop: AtomicBool::new(false) }
    }
}

impl Watch {
    /// Marks the start of a step.
    pub(crate) fn begin(&self) {
        self.started.store(self.now().saturating_add(1), Ordering::Relaxed);
    }

    /// Marks the end of a step, and takes back a stop that came too late for it.
    pub(crate) fn end(&self) {
        self.started.store(0, Ordering::Relaxed);
        self.stop.store(false, Ordering::Relaxed);
    }

    /// Returns how long the present step has been running; `None` between steps.
    #[must_use]
    pub fn running(&self) -> Option<Duration> {
        let started = self.started.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(self.now().saturating_sub(started)))
    }

    /// Makes the present step fail at its next read or write.
    pub fn stop_step(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) const fn stop_flag(&self) -> &AtomicBool {
        &self.stop
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
