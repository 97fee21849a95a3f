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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread::{scope, yield_now};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::machine::MachineVersion;
    use crate::state::{Change, ChangeSet, StateRead as _};
    use crate::store::file_system::FileSystem;
    use crate::types::{Bytes, Seq};

    /// Rows enough for a dozen stretches.
    const ROWS: u32 = 12 * 1_024;
    /// Time after which what is waited for does not come.
    const WAIT_MAX: Duration = Duration::from_mins(1);

    fn empty() -> (tempfile::TempDir, Turns) {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let file = scratch.path().join("main.db");
        let machine = MachineVersion { id: "none".to_owned(), version: 1 };
        Main::create(&FileSystem, &file, &machine).expect("a block table");
        let main = Main::open(&FileSystem, &file).expect("a block table");
        (scratch, Turns::new(main))
    }

    fn key(number: u32) -> Bytes {
        Bytes::from(number.to_be_bytes().as_slice())
    }

    fn batch() -> Batch {
        let change = |number| Change { key: key(number), before: None, after: Some(key(number)) };
        let net = ChangeSet::new((0..ROWS).map(change).collect());
        Batch { net, machine_version: 1, ..Batch::default() }
    }

    /// A batch whose last row cannot be written.
    fn wrong() -> Batch {
        Batch { received: vec![Seq::FIRST, Seq::FIRST], ..batch() }
    }

    /// Says of the first and the last row of the batch whether it is there.
    fn ends(main: &Main) -> [bool; 2] {
        [0, ROWS - 1].map(|number| main.get(&key(number)).expect("a table").is_some())
    }

    fn await_that(what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < WAIT_MAX, "in vain: {what}");
            yield_now();
        }
    }

    /// Asks for the block table in another thread while a batch is staged, and ends the batch then.
    fn check_ended(end: impl FnOnce(Staged<'_>), expected: [bool; 2]) {
        let (_scratch, turns) = empty();
        let batch = batch();
        let staged = turns.stage(&batch).expect("rows");
        let asks = AtomicBool::new(false);
        scope(|scope| {
            let other = scope.spawn(|| {
                asks.store(true, Ordering::Release);
                let main = turns.committed();
                (main.is_amid_batch(), ends(&main))
            });
            await_that("the other thread asks", || asks.load(Ordering::Acquire));
            for _ in 0..20_000 {
                assert!(!other.is_finished(), "it was answered amid the batch");
                yield_now();
            }
            assert_eq!(ends(&turns.as_it_is()), [true; 2], "whoever knows better is answered");
            end(staged);
            assert_eq!(other.join().expect("an answer"), (false, expected));
        });
    }

    #[test]
    fn a_batch_is_seen_when_it_is_committed_and_all_of_it() {
        check_ended(|staged| staged.commit(&StateDigest::default()).expect("a commit"), [true; 2]);
    }

    #[test]
    fn a_batch_that_is_dropped_is_never_seen() {
        check_ended(|staged| drop(staged), [false; 2]);
    }

    #[test]
    fn a_batch_that_cannot_be_written_leaves_nothing_and_blocks_nobody() {
        let (_scratch, turns) = empty();
        let (wrong, batch) = (wrong(), batch());
        assert!(turns.stage(&wrong).is_err(), "one event waits twice");
        assert_eq!(ends(&turns.committed()), [false; 2]);
        assert!(turns.committed().unordered().expect("a table").is_empty());
        let staged = turns.stage(&batch).expect("rows");
        staged.commit(&StateDigest::default()).expect("a commit");
        assert_eq!(ends(&turns.committed()), [true; 2]);
    }

    #[test]
    fn a_thread_that_panics_amid_a_batch_leaves_nothing_of_it() {
        let (_scratch, turns) = empty();
        let batch = batch();
        let panicked = scope(|scope| {
            let staging = scope.spawn(|| {
                let _staged = turns.stage(&batch).expect("rows");
                panic!("amid the batch");
            });
            staging.join().is_err()
        });
        assert!(panicked);
        assert_eq!(ends(&turns.committed()), [false; 2]);
    }

    #[test]
    fn a_second_batch_waits_for_the_first() {
        let (_scratch, turns) = empty();
        let (first, second) = (batch(), batch());
        let staged = turns.stage(&first).expect("rows");
        let asks = AtomicBool::new(false);
        scope(|scope| {
            let other = scope.spawn(|| {
                asks.store(true, Ordering::Release);
                turns.stage(&second).and_then(|staged| staged.commit(&StateDigest::default()))
            });
            await_that("the other thread asks", || asks.load(Ordering::Acquire));
            for _ in 0..20_000 {
                assert!(!other.is_finished(), "it did not wait");
                yield_now();
            }
            drop(staged);
            other.join().expect("an answer").expect("a commit");
        });
        assert_eq!(ends(&turns.committed()), [true; 2]);
    }

    #[test]
    fn whoever_asks_during_a_stretch_goes_before_the_next() {
        let (_scratch, turns) = empty();
        let order = Mutex::new(Vec::new());
        let went = |who: &'static str| order.lock().expect("no holder panics").push(who);
        for round in 0..20 {
            scope(|scope| {
                let stretch = turns.as_it_is();
                for _ in 0..2 {
                    scope.spawn(|| {
                        let _main = turns.as_it_is();
                        went("reader");
                    });
                }
                let (asked, given) = (&turns.asked, &turns.given);
                let waiting = || asked.load(Ordering::Relaxed) - given.load(Ordering::Relaxed);
                await_that("two ask", || waiting() == 2);
                drop(stretch);
                turns.give_way();
                let _main = turns.as_it_is();
                went("next stretch");
            });
            let order = std::mem::take(&mut *order.lock().expect("no holder panics"));
            assert_eq!(order, ["reader", "reader", "next stretch"], "round {round}");
        }
    }

    #[test]
    fn readers_are_answered_amid_a_batch_and_do_not_keep_it_from_its_end() {
        let (_scratch, turns) = empty();
        let batch = batch();
        let (is_over, parts) = (AtomicBool::new(false), AtomicU64::new(0));
        let began = Instant::now();
        let is_late = || began.elapsed() > WAIT_MAX;
        scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) && !is_late() {
                        // The last row comes last, so that this is a part of the batch.
                        if ends(&turns.as_it_is()) == [true, false] {
                            parts.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            while parts.load(Ordering::Relaxed) < 3 && !is_late() {
                drop(turns.stage(&batch).expect("rows"));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(!is_late(), "{parts:?} answers amid a batch");
        assert_eq!(ends(&turns.committed()), [false; 2]);
    }
}
