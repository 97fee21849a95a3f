//! The watch: what is being executed since when, seen from another thread, and the signal to stop it.

use std::sync::atomic::{AtomicU64, Ordering, fence};
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
        self.stop.load(Ordering::Relaxed) == self.step.load(Ordering::Relaxed)
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

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Runs code whose steps `watch` sees, while another thread stops each one that takes longer than `limit` at its next
/// read or write. A step that neither reads nor writes any more is not stopped by this.
pub(crate) fn watched<R>(watch: &Watch, limit: Duration, body: impl FnOnce() -> R) -> R {
    let pause = (limit / 4).clamp(Duration::from_millis(1), Duration::from_millis(100));
    std::thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        let watching = std::thread::Builder::new().name("watch".to_owned());
        // Where no thread can be had, the steps run unwatched rather than not at all.
        let _watching = watching.spawn_scoped(scope, move || {
            while waiting.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                if let Some(late) = watch.running().filter(|running| running.time > limit) {
                    watch.stop(late.step);
                }
            }
        });
        let result = body();
        drop(done);
        result
    })
}
