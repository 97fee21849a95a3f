//! Vitals: what can be told of a node at any time, also before it is up, without asking it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::node::append::Request;
use crate::node::figures::Gauge;
use crate::node::mailbox::Mailbox;
use crate::node::reader::Question;
use crate::node::readiness::Monitor;
use crate::node::{Figures, Readiness};
use crate::telemetry::{Gauges, Metrics};

/// What can be told of a node at any time. No method opens a file, and none waits for the engine.
#[derive(Clone)]
pub struct Vitals {
    pub(super) monitor: Monitor,
    pub(super) gauge: Arc<Gauge>,
    pub(super) metrics: Metrics,
    pub(super) mailboxes: Mailboxes,
}

/// The mailboxes of the actors.
#[derive(Clone)]
pub(super) struct Mailboxes {
    pub(super) append: Arc<Mailbox<Request>>,
    pub(super) confirm: Arc<Mailbox<()>>,
    pub(super) sequence: Arc<Mailbox<()>>,
    pub(super) read: Arc<Mailbox<Question>>,
}

impl Mailboxes {
    /// Ends the actors: the appender, the sequencer and the reader when they have done what waits, the confirmer after
    /// the appender.
    pub(super) fn close(&self) {
        self.append.close();
        self.sequence.close();
        self.read.close();
    }
}

impl Vitals {
    /// Returns what tells when the readiness changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Readiness> {
        self.monitor.watch()
    }

    /// Returns the readiness as it is now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.monitor.watch().borrow().clone()
    }

    /// Returns how far the node is.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.gauge.read()
    }

    /// Brings the gauges of the metrics up to now.
    pub fn measure(&self) {
        let (figures, readiness) = (self.figures(), self.readiness());
        self.metrics.gauges(&Gauges {
            log_head_seq: figures.log_head_seq,
            block_height: figures.block_height,
            lag_blocks: figures.pending_blocks,
            lag_txs: figures.pending_txs,
            mempool: figures.mempool,
            subscribers: figures.subscribers,
            quarantined: readiness.held,
            last_progress: Some(readiness.last_progress),
        });
        let Mailboxes { append, confirm, sequence, read } = &self.mailboxes;
        let depths = [
            ("append", append.depth()),
            ("confirm", confirm.depth()),
            ("sequence", sequence.depth()),
            ("read", read.depth()),
        ];
        for (mailbox, (depth, capacity)) in depths {
            self.metrics.mailbox(mailbox, depth.into(), capacity.into());
        }
    }
}
