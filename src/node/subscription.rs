//! Subscriptions: confirmed blocks in order, from any height on, and the node's phases.
//!
//! A subscription holds no block: it reads the next one from the block table when it is asked. So one that is never
//! read costs nothing, and one that starts at an old height catches up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::node::figures::Gauge;
use crate::node::{BlockView, Node, QueryError, Readiness};
use crate::types::Height;

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A block was confirmed. Each comes at least once, in the order of their numbers.
    Block(Box<BlockView>),
    /// The node entered a phase.
    Phase(Box<Readiness>),
    /// So many phases passed while nobody listened.
    MissedPhases(u64),
}

/// A stream of notices.
pub struct Subscription {
    node: Node,
    next: Height,
    head: watch::Receiver<Option<Height>>,
    lifecycle: broadcast::Receiver<Readiness>,
    gauge: Arc<Gauge>,
}

impl Subscription {
    pub(super) fn new(
        node: Node,
        from: Height,
        head: watch::Receiver<Option<Height>>,
        lifecycle: broadcast::Receiver<Readiness>,
        gauge: Arc<Gauge>,
    ) -> Self {
        gauge.subscribers.fetch_add(1, Ordering::Relaxed);
        Self { node, next: from, head, lifecycle, gauge }
    }

    /// Returns the height to resume from: every block below it was handed out.
    #[must_use]
    pub const fn position(&self) -> Height {
        self.next
    }

    /// Waits for the next block, whatever phases the node enters meanwhile.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn next_block(&mut self) -> Result<BlockView, QueryError> {
        loop {
            if let Notice::Block(block) = self.next().await? {
                return Ok(*block);
            }
        }
    }

    /// Waits for the next notice. A caller that gives up misses nothing.
    ///
    /// # Errors
    /// [`QueryError::Down`] once the node is down: what it confirmed while it ended is told by the next one, from
    /// [`Subscription::position`] on; [`QueryError`] where a block cannot be read.
    pub async fn next(&mut self) -> Result<Notice, QueryError> {
        loop {
            match self.lifecycle.try_recv() {
                Ok(phase) => return Ok(Notice::Phase(Box::new(phase))),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                    return Ok(Notice::MissedPhases(missed));
                }
                Err(_) => {}
            }
            if self.head.borrow_and_update().is_some_and(|head| head >= self.next)
                && let Some(block) = self.node.next_block(self.next).await?
            {
                self.next = Height(block.row.order.height.get().saturating_add(1));
                return Ok(Notice::Block(Box::new(block)));
            }
            tokio::select! {
                phase = self.lifecycle.recv() => match phase {
                    Ok(phase) => return Ok(Notice::Phase(Box::new(phase))),
                    Err(RecvError::Lagged(missed)) => return Ok(Notice::MissedPhases(missed)),
                    Err(RecvError::Closed) => {}
                },
                _ = self.head.changed() => {}
                cause = self.node.down() => if self.head.borrow().is_none_or(|head| head < self.next) {
                    return Err(QueryError::Down(cause));
                },
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.gauge.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}
