//! The confirming actor: brings the block table up to the log whenever a block was ordered, by the recovery's own code.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::exec::{Examined, HaltCause, Quarantine, Recovery, RecoveryOptions};
use crate::node::Down;
use crate::node::figures::Gauge;
use crate::node::mailbox::Mailbox;
use crate::node::readiness::Monitor;
use crate::telemetry::Metrics;

/// The actor.
pub(super) struct Confirmer {
    /// How blocks are executed and committed; its buses have their subscribers.
    pub(super) options: RecoveryOptions,
    pub(super) mailbox: Arc<Mailbox<()>>,
    /// Told that blocks were confirmed.
    pub(super) sequence: Arc<Mailbox<()>>,
    pub(super) monitor: Monitor,
    pub(super) gauge: Arc<Gauge>,
    pub(super) metrics: Metrics,
}

impl Confirmer {
    /// Works until the mailbox is closed; then what was ordered is confirmed, and everything is in its final place.
    pub(super) fn run(self, mut node: Examined) -> Result<(), Down> {
        loop {
            let open = self.mailbox.receive(|_| true).is_some();
            node.catch_up().map_err(Down::Store)?;
            if node.backlog.blocks > 0 {
                node = self.confirm(node)?;
            }
            // Verdicts of this thread are events, too.
            self.gauge.log_head_seq.fetch_max(node.log_head.seq, Ordering::Relaxed);
            let held = Quarantine::of(&node).map_err(Down::Store)?.len();
            self.monitor.holds(crate::codec::count(held));
            if !open {
                return node.store.settle().map_err(Down::Store);
            }
        }
    }

    fn confirm(&self, node: Examined) -> Result<Examined, Down> {
        let clock = Instant::now();
        let recovery = Recovery::new(node, self.options.clone());
        let (node, report) = recovery.advance().map_err(|error| Down::Store(error.0))?;
        self.metrics.commit_took(clock.elapsed());
        self.monitor.got_on();
        if let Some(halt) = report.halt {
            return Err(match halt.cause {
                HaltCause::Stopped => Down::Stopped,
                _ => Down::Halted(halt),
            });
        }
        // The sequencer may be waiting for fewer blocks to be pending; a letter that waits already says the same.
        let _ = self.sequence.try_send((), 1);
        Ok(node)
    }
}
