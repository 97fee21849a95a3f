//! The sequencing actor: orders a block of what waits, after a time or a number of transactions.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::exec::{Clock, IntakeError, NewEvent, NextTxs};
use crate::node::append::Request;
use crate::node::figures::Gauge;
use crate::node::mailbox::Mailbox;
use crate::node::{Sequencer, SubmitError};

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
    pub(super) fn run(self) {
        let mut due = Instant::now() + self.sequencer.interval;
        while self.mailbox.wait_until(due) {
            let figures = self.gauge.read();
            let is_full = figures.mempool >= u64::from(self.sequencer.txs_max);
            let is_due = Instant::now() >= due;
            if is_due {
                due = Instant::now() + self.sequencer.interval;
            }
            let has_room = figures.pending_blocks < self.sequencer.pending_blocks_max;
            if has_room && (is_full || is_due && figures.mempool > 0) && !self.order() {
                break;
            }
        }
    }

    /// Orders a block; says whether more can be ordered.
    fn order(&self) -> bool {
        let header = (self.sequencer.header)(self.clock.now());
        let txs_max = usize::try_from(self.sequencer.txs_max).unwrap_or(usize::MAX);
        let next = NewEvent::Next { header, txs: NextTxs::Waiting { txs_max } };
        let (reply, answer) = oneshot::channel();
        if self.append.try_send(Request::Order(next, reply), 1).is_err() {
            // A full mailbox has room again soon; a closed one ends this actor's own, too.
            return true;
        }
        match answer.blocking_recv() {
            Ok(Ok(_)) => true,
            // What waited is in a block that somebody else has ordered.
            Ok(Err(SubmitError::Refused(error))) => matches!(*error, IntakeError::NothingWaits),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}
