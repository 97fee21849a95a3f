//! Says how long the appender waits for the clients that it has just answered, so that more of them share a write.
//!
//! Clients that submit one transaction after the other come back a moment after their answer. Whoever writes at once for
//! the first of them splits them into halves that wait for each other, and pays a durable write for each half.

use std::time::Duration;

/// Groups for which nobody is waited for after it was in vain.
const PAUSE_GROUPS: u32 = 64;
/// Longest wait, whatever a write costs.
const WAIT_MAX: Duration = Duration::from_micros(500);

/// What is known of the clients and of the cost of a write. Pure.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Letters that were answered with the last write, and those that came while it was made.
    known: usize,
    /// What that write took.
    took: Duration,
    /// Groups for which nobody will be waited for.
    pause: u32,
}

impl Gathering {
    /// Takes note of a write, before its letters are answered.
    pub(super) fn wrote(&mut self, letters: usize, waiting: usize, took: Duration) {
        self.known = letters.saturating_add(waiting);
        self.took = took;
    }

    /// Returns for how many letters, and how long, it is worth waiting; `None` where it is not.
    pub(super) fn wait(&mut self) -> Option<(usize, Duration)> {
        if self.pause > 0 {
            self.pause = self.pause.saturating_sub(1);
            return None;
        }
        // One client alone has nobody to share with; of many, the last few are not worth the time.
        let expected = self.known.saturating_sub(self.known / 8);
        (expected > 1).then(|| (expected, (self.took / 2).min(WAIT_MAX)))
    }

    /// Takes note of how many came in time.
    pub(super) fn came(&mut self, expected: usize, found: usize) {
        if found.saturating_mul(4) < expected.saturating_mul(3) {
            self.pause = PAUSE_GROUPS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_answered_is_waited_for_while_that_pays() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.wait(), None, "nobody was answered yet");
        gathering.wrote(1, 0, Duration::from_micros(300));
        assert_eq!(gathering.wait(), None, "one alone has nobody to share with");
        gathering.wrote(20, 12, Duration::from_micros(300));
        assert_eq!(gathering.wait(), Some((28, Duration::from_micros(150))));
        gathering.came(28, 21);
        gathering.wrote(21, 0, Duration::from_secs(1));
        assert_eq!(gathering.wait(), Some((19, WAIT_MAX)));
        gathering.came(19, 14);
        for _ in 0..PAUSE_GROUPS {
            assert_eq!(gathering.wait(), None, "they did not come");
        }
        assert!(gathering.wait().is_some(), "it is tried again");
    }
}
