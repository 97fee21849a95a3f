//! The sequencing actor: orders a block of what waits, after a time or a number of transactions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::exec::{Clock, IntakeError, NewEvent, NextTxs};
use crate::node::append::Request;
use crate::node::figures::Gauge;
use crate::node::mailbox::Mailbox;
use crate::node::{Down, Sequencer, SubmitError};

/// Shortest and longest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
const INTERVAL_MAX: Duration = Duration::from_hours(24 * 365);

/// The actor.
pub(super) struct Sequencing {
    pub(super) sequencer: Sequencer,
    /// Told that a block's worth of transactions waits, and that blocks were confirmed.
    pub(super) mailbox: Arc<Mailbox<()>>,
    pub(super) append: Arc<Mailbox<Request>>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Sequencing {
    /// Works until the mailbox is closed or the appender takes nothing more.
    pub(super) fn run(self) -> Result<(), Down> {
        let interval = self.sequencer.interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
        let mut due = Instant::now() + interval;
        loop {
            let figures = self.gauge.read();
            let is_full = figures.mempool >= u64::from(self.sequencer.txs_max.max(1));
            let is_due = Instant::now() >= due;
            if is_due {
                due = Instant::now() + interval;
            }
            let has_room = figures.pending_blocks < self.sequencer.pending_blocks_max.max(1);
            if has_room && (is_full || is_due && figures.mempool > 0) {
                self.order()?;
            }
            if !self.mailbox.wait_until(due) {
                return Ok(());
            }
        }
    }

    fn order(&self) -> Result<(), Down> {
        let header = (self.sequencer.header)(self.clock.now());
        let txs_max = usize::try_from(self.sequencer.txs_max.max(1)).unwrap_or(usize::MAX);
        let next = NewEvent::Next { header, txs: NextTxs::Waiting { txs_max } };
        let (reply, answer) = oneshot::channel();
        if self.append.send_urgent(Request::Order(next, reply)).is_err() {
            // A full mailbox has room again soon; a closed one ends this actor's own, too.
            return Ok(());
        }
        match answer.blocking_recv() {
            Ok(Err(SubmitError::Refused(error)))
                if !matches!(*error, IntakeError::NothingWaits) =>
            {
                Err(Down::Actor { actor: "sequence", reason: error.to_string() })
            }
            // Where the node is down, this actor's mailbox is closed.
            _ => Ok(()),
        }
    }
}
