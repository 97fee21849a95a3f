//! The signal by which somebody else asks a recovery to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a recovery to stop between two blocks or two batches; clones are the same signal, which stays requested.
#[derive(Clone, Debug, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Asks for the stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Says whether somebody asked for it.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
