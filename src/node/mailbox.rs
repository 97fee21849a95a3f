//! Mailboxes: bounded queues from asynchronous callers to a thread that owns something.
//!
//! Room is counted in units, so that what waits is bounded by its size and not by its number alone. The queue is
//! locked for a moment, never across an await.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded queue with one reader, which is a thread.
pub(super) struct Mailbox<T> {
    letters: Mutex<Letters<T>>,
    arrived: Condvar,
    room: Arc<Semaphore>,
    units: u32,
    /// Room for letters that must not wait behind those for which there is none.
    urgent: Arc<Semaphore>,
}

/// Urgent letters that may wait.
const URGENT_MAX: usize = 256;

struct Letters<T> {
    queue: VecDeque<Letter<T>>,
    is_closed: bool,
}

/// Something that was sent, with the room that it takes until it is dropped.
pub(super) struct Letter<T> {
    pub(super) content: T,
    /// When its sender asked for room.
    pub(super) sent: Instant,
    pub(super) room: Room,
}

/// Room in a mailbox, given back when it is dropped.
pub(super) struct Room(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

/// Closes a mailbox when it is dropped, however the thread that holds it ends, and drops what is in it, so that no
/// sender waits for an answer that never comes.
pub(super) struct ClosesOnDrop<T>(pub(super) Arc<Mailbox<T>>);

impl<T> Drop for ClosesOnDrop<T> {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().queue.clear();
    }
}

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// There is no room now.
    Full,
    /// There never is so much room.
    TooLarge,
    /// Nobody reads any more.
    Closed,
}

impl<T> Mailbox<T> {
    /// Makes a mailbox with room for so many units.
    pub(super) fn new(units: u32) -> Self {
        let letters = Letters { queue: VecDeque::new(), is_closed: false };
        let room = Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX)));
        let urgent = Arc::new(Semaphore::new(URGENT_MAX));
        Self { letters: Mutex::new(letters), arrived: Condvar::new(), room, units, urgent }
    }

    /// Sends when there is room. A caller that gives up before has sent nothing.
    pub(super) async fn send(&self, content: T, units: u32) -> Result<(), NotSent> {
        let sent = Instant::now();
        self.fits(units)?;
        let room = Arc::clone(&self.room).acquire_many_owned(units);
        let room = room.await.map_err(|_| NotSent::Closed)?;
        self.push(Letter { content, sent, room: Room(room) })
    }

    /// Sends if there is room now.
    pub(super) fn try_send(&self, content: T, units: u32) -> Result<(), NotSent> {
        use tokio::sync::TryAcquireError::{Closed, NoPermits};
        let sent = Instant::now();
        self.fits(units)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(units);
        let room = room.map_err(|error| match error {
            NoPermits => NotSent::Full,
            Closed => NotSent::Closed,
        })?;
        self.push(Letter { content, sent, room: Room(room) })
    }

    /// Sends something small, for which room is kept.
    pub(super) fn send_urgent(&self, content: T) -> Result<(), NotSent> {
        let sent = Instant::now();
        let room = Arc::clone(&self.urgent).try_acquire_owned().map_err(|_| NotSent::Full)?;
        self.push(Letter { content, sent, room: Room(room) })
    }

    /// Waits for letters and returns as many as `takes` says, in order; `None` once it is closed and empty.
    ///
    /// `takes` is asked for each letter after the first whether it belongs to those before it.
    pub(super) fn receive(
        &self,
        mut takes: impl FnMut(&Letter<T>) -> bool,
    ) -> Option<Vec<Letter<T>>> {
        let mut letters = self.lock();
        loop {
            if let Some(first) = letters.queue.pop_front() {
                // The first is always taken; its weight is counted all the same.
                takes(&first);
                let mut taken = vec![first];
                while letters.queue.front().is_some_and(&mut takes) {
                    taken.extend(letters.queue.pop_front());
                }
                return Some(taken);
            }
            if letters.is_closed {
                return None;
            }
            letters = self.arrived.wait(letters).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for a first letter, and then for a time until there are so many; returns how many there are and leaves them.
    pub(super) fn gather(&self, expected: usize, time: Duration) -> usize {
        let mut letters = self.lock();
        let mut deadline = None;
        loop {
            let found = letters.queue.len();
            if letters.is_closed || found >= expected {
                return found;
            }
            letters = if found == 0 {
                self.arrived.wait(letters).unwrap_or_else(PoisonError::into_inner)
            } else {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + time);
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return found;
                }
                let waited = self.arrived.wait_timeout(letters, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Returns how many letters wait.
    pub(super) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Waits for letters until a time and drops them; says whether the mailbox is still open.
    pub(super) fn wait_until(&self, deadline: Instant) -> bool {
        let mut letters = self.lock();
        loop {
            let has_letters = !letters.queue.is_empty();
            letters.queue.clear();
            let left = deadline.saturating_duration_since(Instant::now());
            if letters.is_closed || has_letters || left.is_zero() {
                return !letters.is_closed;
            }
            let waited = self.arrived.wait_timeout(letters, left);
            letters = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes no further letters; those that are there are still received.
    pub(super) fn close(&self) {
        self.room.close();
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    /// Returns the units that are taken, and how many there are.
    pub(super) fn depth(&self) -> (u32, u32) {
        let free = u32::try_from(self.room.available_permits()).unwrap_or(self.units);
        (self.units.saturating_sub(free), self.units)
    }

    fn fits(&self, units: u32) -> Result<(), NotSent> {
        if units > self.units { Err(NotSent::TooLarge) } else { Ok(()) }
    }

    fn push(&self, letter: Letter<T>) -> Result<(), NotSent> {
        let mut letters = self.lock();
        if letters.is_closed {
            return Err(NotSent::Closed);
        }
        letters.queue.push_back(letter);
        self.arrived.notify_one();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Letters<T>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_letters_take_until_they_are_dropped() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.try_send("large", 11), Err(NotSent::TooLarge));
        assert_eq!(mailbox.try_send("first", 6), Ok(()));
        assert_eq!(mailbox.try_send("second", 6), Err(NotSent::Full));
        assert_eq!(mailbox.try_send("third", 4), Ok(()));
        assert_eq!(mailbox.depth(), (10, 10));
        let received = mailbox.receive(|_| true).expect("it is open");
        assert_eq!(
            received.iter().map(|letter| letter.content).collect::<Vec<_>>(),
            ["first", "third"]
        );
        assert_eq!(
            mailbox.try_send("fourth", 1),
            Err(NotSent::Full),
            "they are still being worked on"
        );
        drop(received);
        assert_eq!(mailbox.depth(), (0, 10));
    }

    #[test]
    fn a_closed_mailbox_hands_out_what_it_holds() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.try_send(1, 1), Ok(()));
        assert_eq!(mailbox.try_send(2, 1), Ok(()));
        mailbox.close();
        assert_eq!(mailbox.try_send(3, 1), Err(NotSent::Closed));
        for expected in [1, 2] {
            let mut seen = 0;
            let received = mailbox.receive(|_| {
                seen += 1;
                seen == 1
            });
            let received = received.expect("there is one left");
            assert_eq!(
                received.iter().map(|letter| letter.content).collect::<Vec<_>>(),
                [expected]
            );
        }
        assert!(mailbox.receive(|_| true).is_none());
        assert!(!mailbox.wait_until(Instant::now()));
    }

    #[test]
    fn letters_are_gathered_until_a_time() {
        let (mailbox, long) = (Mailbox::new(10), Duration::from_hours(1));
        std::thread::scope(|scope| {
            scope.spawn(|| mailbox.try_send(1, 1));
            assert_eq!(mailbox.gather(1, Duration::ZERO), 1, "the first is waited for");
        });
        assert_eq!(mailbox.gather(2, Duration::ZERO), 1, "only one is there");
        assert_eq!(mailbox.gather(2, Duration::from_millis(1)), 1, "no other came");
        std::thread::scope(|scope| {
            scope.spawn(|| mailbox.try_send(2, 1));
            assert_eq!(mailbox.gather(2, long), 2);
        });
        assert_eq!(mailbox.len(), 2);
        mailbox.close();
        assert_eq!(mailbox.gather(3, long), 2, "nobody else can write");
    }

    #[tokio::test]
    async fn a_sender_that_gives_up_has_sent_nothing() {
        let mailbox = Arc::new(Mailbox::new(1));
        mailbox.send(1, 1).await.expect("there is room");
        let waiting = tokio::spawn({
            let mailbox = Arc::clone(&mailbox);
            async move { mailbox.send(2, 1).await }
        });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.is_err(), "it was given up");
        let received = mailbox.receive(|_| true).expect("it is open");
        assert_eq!(received.len(), 1);
        drop(received);
        assert_eq!(mailbox.depth(), (0, 1));
    }
}
