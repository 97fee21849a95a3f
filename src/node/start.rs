//! The start of a node: opens it, recovers it, and puts its actors to work, on a thread that can be watched and stopped.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, oneshot, watch};

use crate::exec::{
    Committed, Estimate, Examined, HaltCause, Intake, Quarantine, Recovery, RecoveryOptions,
    Rehearsed, Report, StopSignal, examine_opened,
};
use crate::machine::Registry;
use crate::mempool::Mempool;
use crate::node::append::Appender;
use crate::node::confirm::Confirmer;
use crate::node::figures::{Gauge, raise};
use crate::node::gather::Gathering;
use crate::node::mailbox::Mailbox;
use crate::node::reader::Reader;
use crate::node::readiness::{Monitor, Progress};
use crate::node::sequence::Sequencing;
use crate::node::service::Inner;
use crate::node::supervise::Supervisor;
use crate::node::vitals::Mailboxes;
use crate::node::{Down, Node, NodeOptions, Phase, StartError, Vitals};
use crate::plan::Work;
use crate::reproduce::with_failure_bundles;
use crate::store::{Store, StoreError};
use crate::types::Height;

/// What a node that is up was brought up from.
pub type Started = (Node, Report, Mempool);

/// A node that is being opened. Dropping it asks the node to stop.
pub struct Starting {
    vitals: Vitals,
    stop: StopSignal,
    answer: oneshot::Receiver<Result<Started, StartError>>,
    is_answered: bool,
}

impl Starting {
    /// Returns what can be told of the node while it starts, and after it.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        self.vitals.clone()
    }

    /// Returns what asks the start to stop, between two blocks.
    #[must_use]
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    /// Waits until the node is up; returns it with the report of its recovery and the transactions that wait.
    ///
    /// # Errors
    /// [`StartError`] where it does not come up.
    pub async fn ready(mut self) -> Result<Started, StartError> {
        let answer = (&mut self.answer).await;
        self.is_answered = true;
        answer
            .unwrap_or_else(|_| Err(StartError::Thread("the start ended without an answer".into())))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.is_answered {
            self.stop.request();
        }
    }
}

/// Starts a node on a thread of its own, on which it is opened as well.
pub(super) fn start(
    open: impl FnOnce() -> Result<Store, StoreError> + Send + 'static,
    registry: Registry,
    options: NodeOptions,
) -> Starting {
    let clock = Arc::clone(&options.recovery.executor.clock);
    let vitals = Vitals {
        monitor: Monitor::new(clock, options.metrics.clone()),
        gauge: Arc::default(),
        metrics: options.metrics.clone(),
        mailboxes: Mailboxes {
            append: Arc::new(Mailbox::new(options.queue_kib.max(1))),
            confirm: Arc::new(Mailbox::new(1)),
            sequence: Arc::new(Mailbox::new(1)),
            read: Arc::new(Mailbox::new(options.questions_max.max(1))),
        },
    };
    let stop = options.recovery.stop.clone();
    let (reply, answer) = oneshot::channel();
    let start = Start { vitals: vitals.clone(), options, is_up: Arc::default() };
    let thread = std::thread::Builder::new().name("start".to_owned()).spawn(move || {
        let monitor = start.vitals.monitor.clone();
        let started = catch_unwind(AssertUnwindSafe(|| start.run(open, &registry)));
        let started =
            started.unwrap_or_else(|_| Err(StartError::Thread("the start panicked".into())));
        if let Err(error) = &started {
            let phase = match error {
                StartError::Halted(halt, _) if halt.cause == HaltCause::Stopped => Phase::Stopping,
                StartError::Halted(..) => Phase::Halted,
                _ => Phase::Failed,
            };
            monitor.enter(phase, Work::default(), Some(error.to_string()));
        }
        // Where nobody waits any more, the node is dropped, which ends it.
        drop(reply.send(started));
    });
    if let Err(error) = thread {
        let detail = Some(format!("no thread can be started: {error}"));
        vitals.monitor.enter(Phase::Failed, Work::default(), detail);
    }
    Starting { vitals, stop, answer, is_answered: false }
}

/// A start at work.
struct Start {
    vitals: Vitals,
    options: NodeOptions,
    /// Set once the node is up: from then on a committed block is no progress of the recovery.
    is_up: Arc<AtomicBool>,
}

impl Start {
    fn run(
        mut self,
        open: impl FnOnce() -> Result<Store, StoreError>,
        registry: &Registry,
    ) -> Result<Started, StartError> {
        let store = open().map_err(|error| StartError::Refused(error.into()))?;
        let node = examine_opened(store, registry).map_err(StartError::Refused)?;
        let (head, height) = watch::channel(None);
        self.found(&node, &head);
        if self.options.recovery.on_failure.is_none() {
            self.options.recovery = with_failure_bundles(self.options.recovery, &node);
        }
        if node.backlog.blocks > 0 {
            let estimate = Estimate::of(&node, &self.options.recovery)?;
            tracing::info!(?estimate, "what the recovery may cost");
            self.vitals.monitor.expects(estimate);
        }
        self.listen(head, Work { blocks: node.backlog.blocks, txs: node.backlog.txs });
        let recovery = Recovery::new(node, self.options.recovery.clone());
        let (node, report) = recovery.run().map_err(|error| StartError::Store(error.0))?;
        if let Some(halt) = report.halt.clone() {
            return Err(StartError::Halted(halt, Box::new(report)));
        }
        let mempool = node.backlog.mempool.clone();
        let held = crate::codec::count(Quarantine::of(&node)?.len());
        self.is_up.store(true, Ordering::Relaxed);
        let monitor = self.vitals.monitor.clone();
        let node = self.employ(node, height)?;
        monitor.up(held);
        Ok((node, report, mempool))
    }

    /// Sets the figures to what was found on disk.
    fn found(&self, node: &Examined, head: &watch::Sender<Option<Height>>) {
        let gauge = &self.vitals.gauge;
        gauge.log_head_seq.store(node.log_head.seq, Ordering::Relaxed);
        gauge.ordered_blocks.store(node.backlog.blocks, Ordering::Relaxed);
        gauge.ordered_txs.store(node.backlog.txs, Ordering::Relaxed);
        gauge.mempool.store(node.backlog.mempool.len(), Ordering::Relaxed);
        if let Some(row) = &node.checkpoint {
            confirmed_to(gauge, head, row.order.height);
        }
    }

    /// Subscribes to what the engine does, on buses of this node's own; what was subscribed before is told as well.
    fn listen(&mut self, head: watch::Sender<Option<Height>>, work: Work) {
        let RecoveryOptions { rehearsed, committed, .. } = &mut self.options.recovery;
        let theirs = std::mem::take(rehearsed);
        let progress: RefCell<Option<Progress>> = RefCell::default();
        if work.blocks > 0 {
            progress.replace(Some(self.vitals.monitor.enter(Phase::Rehearsing, work, None)));
        }
        let (metrics, is_up) = (self.vitals.metrics.clone(), Arc::clone(&self.is_up));
        rehearsed.subscribe(move |block: &Rehearsed| {
            metrics.rehearsed(1);
            if is_up.load(Ordering::Relaxed) {
                progress.replace(None);
            } else if let Some(progress) = &mut *progress.borrow_mut() {
                progress.add_block(block.counts.txs);
            }
            theirs.publish(block);
        });
        let theirs = std::mem::take(committed);
        let (vitals, is_up) = (self.vitals.clone(), Arc::clone(&self.is_up));
        let progress: RefCell<Option<Progress>> = RefCell::default();
        committed.subscribe(move |block: &Committed| {
            vitals.metrics.committed(block.counts);
            raise(&vitals.gauge.confirmed_blocks, 1);
            raise(&vitals.gauge.confirmed_txs, block.counts.txs);
            confirmed_to(&vitals.gauge, &head, block.height);
            if !is_up.load(Ordering::Relaxed) {
                let mut progress = progress.borrow_mut();
                let enter = || vitals.monitor.enter(Phase::Committing, work, None);
                progress.get_or_insert_with(enter).add_block(block.counts.txs);
            }
            theirs.publish(block);
        });
    }

    /// Puts the actors to work.
    fn employ(
        self,
        node: Examined,
        head: watch::Receiver<Option<Height>>,
    ) -> Result<Node, StartError> {
        let Self { vitals, options, .. } = self;
        let Mailboxes { append, confirm, sequence, read } = vitals.mailboxes.clone();
        let supervisor = Arc::new(supervise(&vitals));
        let shrunk = Arc::new(Notify::new());
        let clock = Arc::clone(&options.recovery.executor.clock);
        let appender = Appender {
            intake: Intake::new(&node, Arc::clone(&clock)),
            mailbox: Arc::clone(&append),
            supervisor: Arc::clone(&supervisor),
            failed: None,
            gathering: Gathering::default(),
            gauge: Arc::clone(&vitals.gauge),
            metrics: vitals.metrics.clone(),
            confirm: Arc::clone(&confirm),
            sequence: Arc::clone(&sequence),
            block_txs: options.sequencer.as_ref().map_or(u64::MAX, |s| s.txs_max.into()),
            shrunk: Arc::clone(&shrunk),
        };
        let reader = Reader { store: Arc::clone(&node.store) };
        let machine = node.machine.version();
        // The limit of the recovery's whole time was for the start; a node that is up works for as long as it is up.
        let mut confirming = options.recovery.clone();
        confirming.limits.time_max = None;
        let confirmer = Confirmer {
            options: confirming,
            gauge: Arc::clone(&vitals.gauge),
            mailbox: confirm,
            sequence: Arc::clone(&sequence),
            monitor: vitals.monitor.clone(),
            metrics: vitals.metrics.clone(),
        };
        // Dropping it on a failure below ends the actors that were started before.
        let inner = Inner {
            vitals,
            options: options.clone(),
            supervisor: Arc::clone(&supervisor),
            head,
            shrunk,
            machine,
        };
        let started = (|| {
            supervisor.start("append", move || appender.run())?;
            let start = |actor, body: Box<dyn FnOnce() -> Result<(), Down> + Send>| {
                let takes_down = Arc::clone(&supervisor);
                supervisor.start(actor, move || {
                    if let Err(cause) = body() {
                        takes_down.take_down(cause);
                    }
                })
            };
            start("confirm", Box::new(move || confirmer.run(node)))?;
            supervisor.start("read", move || reader.run(&read))?;
            if let Some(sequencer) = options.sequencer {
                let gauge = Arc::clone(&inner.vitals.gauge);
                let sequencing = Sequencing { sequencer, mailbox: sequence, append, gauge, clock };
                start("sequence", Box::new(move || sequencing.run()))?;
            }
            Ok::<_, std::io::Error>(())
        })();
        started
            .map_err(|error| StartError::Thread(format!("no thread can be started: {error}")))?;
        Ok(Node(Arc::new(inner)))
    }
}

/// Makes the supervisor. A node that went down by itself goes on answering questions until its owner ends it.
fn supervise(vitals: &Vitals) -> Supervisor {
    let (mailboxes, monitor) = (vitals.mailboxes.clone(), vitals.monitor.clone());
    Supervisor::new(move |cause| {
        mailboxes.sequence.close();
        let (phase, detail) = match cause {
            Down::Stopped => (Phase::Stopping, None),
            Down::Halted(halt) => (Phase::Halted, Some(halt.reason.clone())),
            Down::Store(_) | Down::Actor { .. } => (Phase::Failed, Some(cause.to_string())),
        };
        if matches!(cause, Down::Stopped) {
            mailboxes.close();
        }
        monitor.enter(phase, Work::default(), detail);
    })
}

fn confirmed_to(gauge: &Gauge, head: &watch::Sender<Option<Height>>, height: Height) {
    gauge.blocks_end.store(height.get().saturating_add(1), Ordering::Relaxed);
    head.send_replace(Some(height));
}
