//! The watch: what is being executed since when, seen from another thread, and the signal to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::codec::count;
use crate::exec::step_clock::{StepClock, Still};
use crate::types::{Height, Seq};

/// Shared between the threads that execute and the thread that watches them.
#[derive(Debug)]
pub struct Watch {
    clock: StepClock,
    /// One for each thread that executes; the first is that of the thread whose steps count.
    lanes: Box<[Lane]>,
    /// Whether every step is to stop from now on.
    is_closed: AtomicBool,
}

/// What one thread executes; apart from the others by two cache lines, or each step would cost them a miss.
#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    /// Time of the clock at the start of the step, plus one; zero between steps.
    started: AtomicU64,
    height: AtomicU64,
    /// Position of the transaction; zero where the step is none.
    seq: AtomicU64,
    is_ahead: AtomicBool,
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
    /// Whether it is executed ahead of its turn, on a state that need not be the one before it: nothing that it
    /// does says anything about its transaction.
    pub is_ahead: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Watch {
    /// Makes a watch over as many threads, at least one.
    pub(crate) fn new(threads: usize) -> Self {
        let lane = |number| Lane {
            started: AtomicU64::new(0),
            height: AtomicU64::new(0),
            seq: AtomicU64::new(0),
            is_ahead: AtomicBool::new(false),
            step: AtomicU64::new(number),
            stop: AtomicU64::new(0),
        };
        // The steps of a lane are numbered so that a number names its lane; zero names no step.
        let threads = count(threads.max(1));
        let lanes = (0..threads).map(|number| lane(number.saturating_add(threads))).collect();
        Self { clock: StepClock::default(), lanes, is_closed: AtomicBool::new(false) }
    }

    /// Marks the start of a step whose turn it is.
    pub(crate) fn begin(&self, height: Height, seq: Option<Seq>) {
        self.begin_on(0, height, seq, false);
    }

    /// Marks the end of a step whose turn it is.
    pub(crate) fn end(&self) {
        self.end_on(0);
    }

    /// Says whether the present step whose turn it is is to stop.
    pub(crate) fn must_stop(&self) -> bool {
        self.must_stop_on(0)
    }

    /// Marks the start of a step on a thread.
    pub(crate) fn begin_on(&self, thread: usize, height: Height, seq: Option<Seq>, is_ahead: bool) {
        let Some(lane) = self.lanes.get(thread) else { return };
        lane.height.store(height.get(), Ordering::Relaxed);
        lane.seq.store(seq.map_or(0, Seq::get), Ordering::Relaxed);
        lane.is_ahead.store(is_ahead, Ordering::Relaxed);
        lane.started.store(self.clock.now().saturating_add(1), Ordering::Release);
    }

    /// Marks the end of the step on a thread.
    pub(crate) fn end_on(&self, thread: usize) {
        let Some(lane) = self.lanes.get(thread) else { return };
        lane.started.store(0, Ordering::Release);
        lane.step.fetch_add(count(self.lanes.len()), Ordering::Release);
    }

    /// Says whether the present step on a thread is to stop.
    pub(crate) fn must_stop_on(&self, thread: usize) -> bool {
        let is_stopped =
            |lane: &Lane| lane.stop.load(Ordering::Relaxed) == lane.step.load(Ordering::Relaxed);
        self.is_closed() || self.lanes.get(thread).is_some_and(is_stopped)
    }

    /// Returns the step that has been running for longest; `None` between steps.
    #[must_use]
    pub fn running(&self) -> Option<Running> {
        self.lanes.iter().filter_map(|lane| self.running_on(lane)).max_by_key(|step| step.time)
    }

    /// Makes a step fail at its next read or write; without effect once it has ended.
    pub fn stop(&self, step: u64) {
        let lane = step.checked_rem(count(self.lanes.len())).and_then(|lane| lane.try_into().ok());
        let lane = lane.and_then(|lane: usize| self.lanes.get(lane));
        if let Some(lane) = lane {
            lane.stop.store(step, Ordering::Relaxed);
        }
    }

    fn running_on(&self, lane: &Lane) -> Option<Running> {
        let step = lane.step.load(Ordering::Acquire);
        let started = lane.started.load(Ordering::Acquire).checked_sub(1)?;
        let running = Running {
            height: Height(lane.height.load(Ordering::Relaxed)),
            seq: Seq::new(lane.seq.load(Ordering::Relaxed)),
            time: Duration::from_micros(self.clock.now().saturating_sub(started)),
            step,
            is_ahead: lane.is_ahead.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        // Where the step has ended meanwhile, its time must not be held against the one after it.
        (lane.step.load(Ordering::Relaxed) == step).then_some(running)
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
        let running = self.lanes.iter().filter_map(|lane| self.running_on(lane));
        for late in running.filter(|running| running.time > limit) {
            self.stop(late.step);
        }
    }

    /// Counts no time against any step from now on, until the answer is dropped: steps may have to wait meanwhile for
    /// what is none of their doing.
    pub(crate) fn stand_still(&self) -> Still<'_> {
        self.clock.stand_still()
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
