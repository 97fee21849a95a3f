//! The gate: whether the node is ready, found out by one task for all clients.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::load::{LoadError, Target, api};

/// Time between two looks at a node that is away.
const LOOK: Duration = Duration::from_millis(5);

/// What is known of the node.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// How often it became ready.
    life: usize,
    is_ready: bool,
    /// Since when it is ready or away; a restart counts.
    since: Instant,
}

/// Lets clients through while the node is ready.
#[derive(Debug)]
pub(super) struct Gate {
    known: watch::Sender<Known>,
}

impl Gate {
    /// Makes a gate before a node of which nothing is known.
    pub(super) fn new() -> Self {
        let known = Known { life: 0, is_ready: false, since: Instant::now() };
        Self { known: watch::Sender::new(known) }
    }

    /// Tells that a connection broke that was made in this life of the node.
    ///
    /// Connections of one life break together: only the first one says something new.
    pub(super) fn lost(&self, life: usize) {
        self.known.send_if_modified(|known| {
            let is_news = known.is_ready && known.life == life;
            if is_news {
                *known = Known { is_ready: false, since: Instant::now(), ..*known };
            }
            is_news
        });
    }

    /// Tells that the node was started again: it has its whole time to become ready.
    pub(super) fn restarted(&self) {
        self.known.send_modify(|known| {
            *known = Known { is_ready: false, since: Instant::now(), ..*known };
        });
    }

    /// Waits until the node is ready and returns the number of its life, from 1.
    pub(super) async fn ready(&self) -> usize {
        let mut watch = self.known.subscribe();
        // The sender lives as long as this does.
        watch.wait_for(|known| known.is_ready).await.map_or(0, |known| known.life)
    }

    /// Returns how often the node became ready.
    pub(super) fn lives(&self) -> usize {
        self.known.borrow().life
    }

    /// Looks at the node whenever it is away; never returns unless it stays away.
    pub(super) async fn keep(
        &self,
        target: &Target,
        limit: Duration,
        patience: Duration,
    ) -> LoadError {
        let mut watch = self.known.subscribe();
        loop {
            let away = watch.wait_for(|known| !known.is_ready).await.map(|known| *known);
            let since = away.map_or_else(|_| Instant::now(), |known| known.since);
            match api::readyz(target, limit).await {
                Ok(()) => self.opened(since),
                Err(last) if since.elapsed() >= patience => {
                    let waited_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    let (target, last) = (target.to_string(), last.to_string());
                    return LoadError::Unreachable { target, waited_ms, last };
                }
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// A node that was restarted while it was looked at was seen before that, and is looked at again.
    fn opened(&self, seen_since: Instant) {
        self.known.send_if_modified(|known| {
            let is_same = !known.is_ready && known.since == seen_since;
            if is_same {
                let life = known.life.saturating_add(1);
                *known = Known { life, is_ready: true, since: Instant::now() };
            }
            is_same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_life_break_once() {
        let gate = Gate::new();
        let since = |gate: &Gate| gate.known.borrow().since;
        gate.opened(since(&gate));
        assert_eq!(gate.lives(), 1);
        gate.lost(1);
        assert!(!gate.known.borrow().is_ready);
        let before = since(&gate);
        gate.restarted();
        gate.opened(before);
        assert_eq!(gate.lives(), 1, "what was seen before the restart says nothing");
        gate.opened(since(&gate));
        gate.lost(1);
        assert!(gate.known.borrow().is_ready, "an old connection says nothing of the new life");
        assert_eq!(gate.lives(), 2);
    }
}
