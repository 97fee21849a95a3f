//! The brake: says whether one recovery has to end before its work does, and why.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::exec::options::RecoveryLimits;
use crate::exec::{HaltCause, StopSignal};

/// Time that the present block is given to end by itself once the recovery has to.
const GRACE: Duration = Duration::from_secs(1);

/// The signal and the limits of one recovery, seen from each of its threads.
#[derive(Debug)]
pub(crate) struct Brake {
    signal: StopSignal,
    limits: RecoveryLimits,
    began: Instant,
    /// Microseconds from `began` to the last progress.
    progress: AtomicU64,
    /// The first cause that was seen, and when: later progress does not take it back.
    pulled: OnceLock<(HaltCause, Instant)>,
}

/// How long a recovery has had to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It does not have to, or the present block may still end by itself.
    Lasts,
    /// The present step is to fail at its next read or write.
    Ends,
    /// The thread that executes it is to be given up on.
    Gone,
}

impl Brake {
    /// Starts the clocks of a recovery.
    pub(crate) fn new(signal: StopSignal, limits: RecoveryLimits) -> Self {
        let (progress, pulled) = (AtomicU64::new(0), OnceLock::new());
        Self { signal, limits, began: Instant::now(), progress, pulled }
    }

    /// Returns why the recovery has to end; `None` while it may go on.
    pub(crate) fn cause(&self) -> Option<HaltCause> {
        if let Some((cause, _)) = self.pulled.get() {
            return Some(*cause);
        }
        let cause = self.look()?;
        Some(self.pulled.get_or_init(|| (cause, Instant::now())).0)
    }

    /// Says whether the recovery has to end.
    pub(crate) fn is_pulled(&self) -> bool {
        self.cause().is_some()
    }

    /// Takes note that a block was rehearsed or committed, or a verdict was logged.
    pub(crate) fn progress(&self) {
        self.progress.store(micros(self.began.elapsed()), Ordering::Relaxed);
    }

    /// Says how the step that is being executed is to be treated.
    pub(crate) fn patience(&self) -> Patience {
        let _ = self.cause();
        match self.pulled.get().map(|(_, since)| since.elapsed()) {
            Some(time) if time > GRACE * 2 => Patience::Gone,
            Some(time) if time > GRACE => Patience::Ends,
            _ => Patience::Lasts,
        }
    }

    /// Returns why the recovery ended, and the same for people.
    pub(crate) fn reason(&self) -> (HaltCause, String) {
        let cause = self.cause().unwrap_or(HaltCause::Stopped);
        let limit = |limit: Option<Duration>| limit.unwrap_or_default();
        let text = match cause {
            HaltCause::TimeLimit => {
                format!("the time limit of {:?} was reached", limit(self.limits.time_max))
            }
            HaltCause::Stalled => {
                let most = limit(self.limits.stall_max);
                format!("no block was rehearsed or committed for {most:?}")
            }
            _ => "a stop was requested".to_owned(),
        };
        (cause, text)
    }

    fn look(&self) -> Option<HaltCause> {
        if self.signal.is_requested() {
            return Some(HaltCause::Stopped);
        }
        let time = self.began.elapsed();
        if self.limits.time_max.is_some_and(|most| time >= most) {
            return Some(HaltCause::TimeLimit);
        }
        let idle = micros(time).saturating_sub(self.progress.load(Ordering::Relaxed));
        self.limits.stall_max.is_some_and(|most| idle >= micros(most)).then_some(HaltCause::Stalled)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
