//! The block table's one connection, taken in turns.
//!
//! A batch is written in stretches. Between two of them the connection goes to whoever waits for it and knows what of the
//! batch is not committed yet; everybody else waits for its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::state::StateDigest;
use crate::store::StoreError;
use crate::store::batch::Batch;
use crate::store::main_db::Main;

/// The block table, shared.
pub(super) struct Turns {
    main: Mutex<Main>,
    /// How often a turn between two stretches was asked for, and how often it was given.
    asked: AtomicU64,
    given: AtomicU64,
    /// Told when a batch that was written is committed or taken back.
    ended: Condvar,
}

/// A batch whose rows are written and not committed. Where it is dropped, it is taken back.
pub struct Staged<'a> {
    turns: &'a Turns,
    batch: &'a Batch,
}

impl Turns {
    pub(super) const fn new(main: Main) -> Self {
        let (asked, given) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { main: Mutex::new(main), asked, given, ended: Condvar::new() }
    }

    /// Takes the block table while no batch is half-written.
    pub(super) fn committed(&self) -> MutexGuard<'_, Main> {
        let main = self.main.lock().unwrap_or_else(PoisonError::into_inner);
        if planted!("uncommitted_rows_shown_to_all") {
            return main;
        }
        let main = self.ended.wait_while(main, |main| main.is_amid_batch());
        main.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the block table as it is.
    pub(super) fn as_it_is(&self) -> MutexGuard<'_, Main> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let main = self.main.lock().unwrap_or_else(PoisonError::into_inner);
        self.given.fetch_add(1, Ordering::Relaxed);
        main
    }

    /// Writes the rows of a batch.
    pub(super) fn stage<'a>(&'a self, batch: &'a Batch) -> Result<Staged<'a>, StoreError> {
        self.committed().begin()?;
        let staged = Staged { turns: self, batch };
        for stretch in batch.stretches() {
            self.as_it_is().write(&stretch)?;
            self.give_way();
        }
        Ok(staged)
    }

    /// Lets those go first who wait by now, and nobody who comes later: the lock by itself would go to the thread that
    /// runs, which is this one.
    fn give_way(&self) {
        let asked = self.asked.load(Ordering::Relaxed);
        while self.given.load(Ordering::Relaxed) < asked {
            std::thread::yield_now();
        }
    }
}

impl Staged<'_> {
    /// Commits the batch, with the accumulator under the state digest after its last block.
    ///
    /// # Errors
    /// [`StoreError`]; unless it is [`Problem::OutcomeUnknown`](crate::store::Problem::OutcomeUnknown), nothing of the
    /// batch took effect.
    pub fn commit(self, lanes: &StateDigest) -> Result<(), StoreError> {
        self.turns.as_it_is().commit(self.batch, lanes)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        self.turns.as_it_is().end_batch();
        self.turns.ended.notify_all();
    }
}
