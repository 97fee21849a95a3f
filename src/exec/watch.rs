//! The watch: what is being executed since when, seen from another thread, and the signal to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::types::{Height, Seq};

/// Shared between the thread that executes and the thread that watches it.
#[derive(Debug)]
pub struct Watch {
    epoch: Instant,
    /// Microseconds from `epoch` to the start of the step, plus one; zero between steps.
    started: AtomicU64,
    height: AtomicU64,
    /// Position of the transaction; zero where the step is none.
    seq: AtomicU64,
    /// Number of the present step, so that a stop that comes too late for it cannot hit the next one.
    step: AtomicU64,
    /// Number of the step that is to stop.
    stop: AtomicU64,
    /// Whether every step is to stop from now on.
    is_closed: AtomicBool,
}

/// A step that is being executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its block.
    pub height: Height,
    /// Position of its transaction; `None` for a hook of the block.
    pub seq: Option<Seq>,
    /// For how long.
    pub time: Duration,
    /// Its number, for [`Watch::stop`].
    pub step: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            started: AtomicU64::new(0),
            height: AtomicU64::new(0),
            seq: AtomicU64::new(0),
            step: AtomicU64::new(1),
            stop: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        }
    }
}

impl Watch {
    /// Marks the start of a step.
    pub(crate) fn begin(&self, height: Height, seq: Option<Seq>) {
        self.height.store(height.get(), Ordering::Relaxed);
        self.seq.store(seq.map_or(0, Seq::get), Ordering::Relaxed);
        self.started.store(self.now().saturating_add(1), Ordering::Release);
    }

    /// Marks the end of a step.
    pub(crate) fn end(&self) {
        self.started.store(0, Ordering::Release);
        self.step.fetch_add(1, Ordering::Release);
    }

    /// Says whether the present step is to stop.
    pub(crate) fn must_stop(&self) -> bool {
        self.is_closed() || self.stop.load(Ordering::Relaxed) == self.step.load(Ordering::Relaxed)
    }

    /// Returns the present step; `None` between steps.
    #[must_use]
    pub fn running(&self) -> Option<Running> {
        let step = self.step.load(Ordering::Acquire);
        let started = self.started.load(Ordering::Acquire).checked_sub(1)?;
        let running = Running {
            height: Height(self.height.load(Ordering::Relaxed)),
            seq: Seq::new(self.seq.load(Ordering::Relaxed)),
            time: Duration::from_micros(self.now().saturating_sub(started)),
            step,
        };
        fence(Ordering::Acquire);
        // Where the step has ended meanwhile, its time must not be held against the one after it.
        (self.step.load(Ordering::Relaxed) == step).then_some(running)
    }

    /// Makes a step fail at its next read or write; without effect once it has ended.
    pub fn stop(&self, step: u64) {
        self.stop.store(step, Ordering::Relaxed);
    }

    /// Makes the present step and all later ones fail at their next read or write; nothing is tried again.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Makes the present step fail at its next read or write where it takes longer than `limit`.
    pub(crate) fn stop_late(&self, limit: Duration) {
        if let Some(late) = self.running().filter(|running| running.time > limit) {
            self.stop(late.step);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Runs code whose steps `watch` sees, while another thread stops each one that takes longer than `limit` at its next
/// read or write. A step that neither reads nor writes any more is not stopped by this.
pub(crate) fn watched<R>(watch: &Watch, limit: Duration, body: impl FnOnce() -> R) -> R {
    beside(pause(limit), || watch.stop_late(limit), body)
}

/// Returns how often somebody looks whether a step takes longer than `limit`.
pub(crate) fn pause(limit: Duration) -> Duration {
    (limit / 4).clamp(Duration::from_millis(1), Duration::from_millis(100))
}

/// Runs code while another thread calls `look` again and again, with a pause between.
pub(crate) fn beside<R>(pause: Duration, look: impl Fn() + Send, body: impl FnOnce() -> R) -> R {
    std::thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        let watching = std::thread::Builder::new().name("watch".to_owned());
        // Where no thread can be had, the steps run unwatched rather than not at all.
        let _watching = watching.spawn_scoped(scope, move || {
            while waiting.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                look();
            }
        });
        let result = body();
        drop(done);
        result
    })
}
