//! Work for the next block, done on another thread while the present one is executed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exec::panic_guard;
use crate::machine::{BlockInput, StateMachine};

/// What a machine prepares for a block; told to stop when it is dropped, since the block is then opened as it is.
pub(crate) struct Prepared {
    is_due: Arc<AtomicBool>,
}

impl Prepared {
    /// Starts what the machine has to do, where there is anything.
    pub(crate) fn start(machine: &dyn StateMachine, block: &BlockInput) -> Option<Self> {
        let work = machine.prepare(block)?;
        let is_due = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_due);
        rayon::spawn(move || {
            let body = || work(&|| told.load(Ordering::Relaxed));
            // Whatever is wrong with the block is found out, and attributed, when it is opened.
            let _ = panic_guard::run(|| catch_unwind(AssertUnwindSafe(body)));
        });
        Some(Self { is_due })
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.is_due.store(true, Ordering::Relaxed);
    }
}
