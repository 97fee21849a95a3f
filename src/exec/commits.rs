//! The commits of a recovery, one after the other; each on a thread of its own where there is something to do meanwhile.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::exec::Watch;
use crate::exec::brake::{Brake, Patience};
use crate::exec::commit::{CommitError, Committer};
use crate::exec::sandbox::{Rehearsal, lock};
use crate::exec::watch::{beside, pause};
use crate::plan::BatchLimits;

/// Commits rehearsals that are handed over.
pub(super) struct Commits {
    parts: Parts,
    going: Option<Going>,
    /// How large batches are, as of when the last commit began.
    batch: BatchLimits,
}

/// What a thread needs to commit.
#[derive(Clone)]
struct Parts {
    committer: Arc<Mutex<Committer>>,
    step_time_max: Duration,
    brake: Arc<Brake>,
}

/// A commit that was begun.
enum Going {
    /// It ended before anything else began.
    Ended(Done),
    Apart(Arc<Mutex<Rehearsal>>, JoinHandle<Answer>),
}

/// How a commit ended, and the time that it took.
type Answer = (Result<(), CommitError>, Duration);

/// What a commit came to.
pub(super) struct Done {
    pub(super) result: Result<(), CommitError>,
    pub(super) time: Duration,
    /// What it left, where the recovery has to end.
    pub(super) left: Arc<Mutex<Rehearsal>>,
}

impl Commits {
    pub(super) fn new(committer: Committer, step_time_max: Duration, brake: Arc<Brake>) -> Self {
        let batch = committer.pacer().batch();
        let committer = Arc::new(Mutex::new(committer));
        Self { parts: Parts { committer, step_time_max, brake }, going: None, batch }
    }

    /// Returns the committer; waits for a commit that is going on.
    pub(super) fn committer(&self) -> MutexGuard<'_, Committer> {
        self.parts.committer()
    }

    /// Returns when a batch is full that is rehearsed now.
    pub(super) fn batch(&self) -> BatchLimits {
        match self.going {
            Some(_) => self.batch,
            None => self.committer().pacer().batch(),
        }
    }

    /// Commits a rehearsal.
    pub(super) fn run(&mut self, due: Rehearsal) {
        self.going = Some(Going::Ended(self.parts.run(Arc::new(Mutex::new(due)))));
    }

    /// Begins to commit a rehearsal on a thread of its own; `readers` watches those who read the state meanwhile.
    pub(super) fn start(&mut self, due: Rehearsal, readers: &Arc<Watch>) {
        self.batch = self.batch();
        let due = Arc::new(Mutex::new(due));
        let (parts, theirs, readers) = (self.parts.clone(), Arc::clone(&due), Arc::clone(readers));
        let body = move || parts.commit(&theirs, Some(readers));
        let started = std::thread::Builder::new().name("commit".to_owned()).spawn(body);
        self.going = Some(match started {
            Ok(thread) => Going::Apart(due, thread),
            Err(_) => Going::Ended(self.parts.run(due)),
        });
    }

    /// Waits for the end of the commit that was begun last; `None` where that was asked before.
    pub(super) fn finish(&mut self) -> Option<Done> {
        Some(match self.going.take()? {
            Going::Ended(done) => done,
            Going::Apart(left, thread) => {
                let answer = thread.join();
                let (result, time) = answer.unwrap_or_else(|panic| resume_unwind(panic));
                Done { result, time, left }
            }
        })
    }
}

impl Parts {
    fn committer(&self) -> MutexGuard<'_, Committer> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, due: Arc<Mutex<Rehearsal>>) -> Done {
        let (result, time) = self.commit(&due, None);
        Done { result, time, left: due }
    }

    fn commit(&self, due: &Mutex<Rehearsal>, readers: Option<Arc<Watch>>) -> Answer {
        let clock = Instant::now();
        let (mut committer, mut due) = (self.committer(), lock(due));
        committer.is_read_by(readers);
        let result = match committer.watch() {
            None => committer.commit(&mut due),
            Some(watch) => {
                let look = || self.look(&watch);
                beside(pause(self.step_time_max), look, || committer.commit(&mut due))
            }
        };
        (result, clock.elapsed())
    }

    /// Stops a step of the second execution that takes too long, or all of them where the recovery has to end.
    fn look(&self, watch: &Watch) {
        watch.stop_late(self.step_time_max);
        if self.brake.patience() != Patience::Lasts {
            watch.close();
        }
    }
}
