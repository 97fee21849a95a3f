//! Which transaction is executed by whom: the states of a block's transactions, shared by its threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::attempt::Ahead;
use crate::exec::Dependencies;
use crate::state::Touched;

/// How far ahead of the turn transactions are executed: the farther, the less do they see of those before them.
const AHEAD_MAX: usize = 64;

/// What is known of a transaction.
#[derive(Debug)]
pub(super) enum State {
    /// Nobody has begun it.
    Idle,
    /// A thread executes it ahead of its turn.
    Running,
    /// It was executed ahead of its turn.
    Done(Ahead),
    /// That was tried and failed.
    Failed,
    /// Its turn has come, or it is not to be executed.
    Taken,
}

/// What is to be done with the transaction whose turn has come.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is to be executed.
    Now,
    /// The same; it was executed in vain.
    Failed,
    /// It was executed; what that gave may be taken over.
    Done(Ahead),
    /// Another thread executes it.
    Running,
}

/// The transactions of one block.
pub(super) struct Queue<'a> {
    held: Mutex<Held>,
    changed: Condvar,
    /// Index of the first transaction.
    first: usize,
    known: Option<&'a Dependencies>,
}

struct Held {
    states: Vec<State>,
    /// The transaction whose turn it is.
    turn: usize,
    /// No transaction before this one is idle.
    next: usize,
    has_ended: bool,
}

impl<'a> Queue<'a> {
    pub(super) fn new(states: Vec<State>, first: usize, known: Option<&'a Dependencies>) -> Self {
        let held = Held { states, turn: 0, next: 0, has_ended: false };
        Self { held: Mutex::new(held), changed: Condvar::new(), first, known }
    }

    /// Gives the next transaction that can be executed ahead of its turn to the caller.
    pub(super) fn claim(&self) -> Option<usize> {
        self.claim_in(&mut self.held())
    }

    /// The same; waits for one. `None` once the block has ended.
    pub(super) fn claim_or_wait(&self) -> Option<usize> {
        let mut held = self.held();
        loop {
            if held.has_ended {
                return None;
            }
            if let Some(at) = self.claim_in(&mut held) {
                return Some(at);
            }
            held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Begins the turn of a transaction, before which everything is final.
    pub(super) fn take(&self, at: usize) -> Turn {
        let mut held = self.held();
        if held.turn != at {
            held.turn = at;
            self.changed.notify_all();
        }
        let Some(state) = held.states.get_mut(at) else { return Turn::Now };
        match std::mem::replace(state, State::Taken) {
            State::Idle | State::Taken => Turn::Now,
            State::Failed => Turn::Failed,
            State::Done(ahead) => Turn::Done(ahead),
            State::Running => {
                *state = State::Running;
                Turn::Running
            }
        }
    }

    /// Takes a transaction away from the thread that executes it; returns what it has published, where it has ended.
    pub(super) fn cancel(&self, at: usize) -> Option<Touched> {
        let mut held = self.held();
        match std::mem::replace(held.states.get_mut(at)?, State::Taken) {
            State::Done(ahead) => Some(ahead.touched),
            _ => None,
        }
    }

    /// Takes note of what an execution gave, and publishes it; unless it was taken away.
    pub(super) fn finish(&self, at: usize, result: Option<Ahead>, publish: impl FnOnce(&Touched)) {
        let mut held = self.held();
        let Some(state @ State::Running) = held.states.get_mut(at) else { return };
        *state = match result {
            Some(ahead) => {
                publish(&ahead.touched);
                State::Done(ahead)
            }
            None => State::Failed,
        };
        self.changed.notify_all();
    }

    /// Says whether a thread still executes a transaction ahead of its turn.
    pub(super) fn is_running(&self, at: usize) -> bool {
        matches!(self.held().states.get(at), Some(State::Running))
    }

    /// Returns once no thread executes a transaction any more.
    pub(super) fn wait_for(&self, at: usize) {
        let mut held = self.held();
        while matches!(held.states.get(at), Some(State::Running)) {
            held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends every thread home.
    pub(super) fn end(&self) {
        self.held().has_ended = true;
        self.changed.notify_all();
    }

    fn claim_in(&self, held: &mut Held) -> Option<usize> {
        held.next = held.next.max(held.turn);
        while held.states.get(held.next).is_some_and(|state| !matches!(state, State::Idle)) {
            held.next += 1;
        }
        let end = held.turn.saturating_add(AHEAD_MAX).min(held.states.len());
        let at = (held.next..end).find(|at| held.is_ready(*at, self.first, self.known))?;
        *held.states.get_mut(at)? = State::Running;
        Some(at)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Says whether nobody has begun a transaction and all that it is known to depend on was executed.
    fn is_ready(&self, at: usize, first: usize, known: Option<&Dependencies>) -> bool {
        if !matches!(self.states.get(at), Some(State::Idle)) {
            return false;
        }
        let Some(known) = known else { return true };
        known.of(first.saturating_add(at)).iter().all(|earlier| {
            let earlier = usize::try_from(*earlier).unwrap_or(usize::MAX);
            let Some(earlier) = earlier.checked_sub(first) else { return true };
            earlier < self.turn || matches!(self.states.get(earlier), Some(State::Done(..)))
        })
    }
}
