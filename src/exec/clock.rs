//! The clock, injected so that no result depends on the real one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::types::UnixMillis;

/// Tells the time and waits.
pub trait Clock: Send + Sync {
    /// Returns the time of day.
    fn now(&self) -> UnixMillis;

    /// Returns after a time.
    fn sleep(&self, time: Duration);
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
