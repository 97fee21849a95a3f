//! The appending actor: owns the intake, and joins what waits into one durable transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::{Notify, oneshot};

use crate::event::Kind;
use crate::exec::{Answer, Intake, Logged, NewEvent};
use crate::node::figures::{Gauge, raise};
use crate::node::mailbox::{ClosesOnDrop, Letter, Mailbox};
use crate::node::supervise::Supervisor;
use crate::node::{Down, SubmitError};
use crate::store::{Problem, StoreError};
use crate::telemetry::Metrics;
use crate::types::{Height, Seq};

/// Events that one durable transaction takes, unless a single lot holds more.
const GROUP_EVENTS_MAX: usize = 10_000;

/// What callers ask of the actor.
pub(super) enum Request {
    /// Log events, all or none.
    Log(Vec<NewEvent>, Reply<Vec<Logged>>),
    /// Log the order of the next block.
    Order(NewEvent, Reply<Ordered>),
    /// Say what waits after a position, at most so many, and how many wait altogether.
    Mempool(u64, usize, oneshot::Sender<(u64, Vec<Seq>)>),
    /// Say whether a transaction waits.
    Waits(Seq, oneshot::Sender<bool>),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, SubmitError>>;

/// A block that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Its number.
    pub height: Height,
    /// Position of its order in the log.
    pub seq: Seq,
    /// Its transactions.
    pub txs: u64,
}

/// The actor.
pub(super) struct Appender {
    pub(super) intake: Intake,
    pub(super) mailbox: Arc<Mailbox<Request>>,
    pub(super) supervisor: Arc<Supervisor>,
    /// The failure after which nothing more is logged.
    pub(super) failed: Option<Down>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) metrics: Metrics,
    /// Told that a block was ordered.
    pub(super) confirm: Arc<Mailbox<()>>,
    /// Told that a block's worth of transactions waits.
    pub(super) sequence: Arc<Mailbox<()>>,
    pub(super) block_txs: u64,
    /// Told that the mempool has shrunk.
    pub(super) shrunk: Arc<Notify>,
}

impl Appender {
    /// Works until the mailbox is closed and empty. After a failure of the store nothing more is logged.
    pub(super) fn run(mut self) {
        // Whatever ends this actor: nothing will be logged or ordered any more.
        let _ends =
            (ClosesOnDrop(Arc::clone(&self.mailbox)), ClosesOnDrop(Arc::clone(&self.confirm)));
        let mailbox = Arc::clone(&self.mailbox);
        loop {
            let (mut events, mut ordered) = (0usize, false);
            let takes = |letter: &Letter<Request>| {
                // A block ends its group, so that what was counted before and after it is its own.
                let takes = !ordered && events < GROUP_EVENTS_MAX;
                events = events.saturating_add(letter.content.events());
                ordered |= matches!(letter.content, Request::Order(..));
                takes
            };
            let Some(group) = mailbox.receive(takes) else { return };
            if let Err(cause) = self.answer(group) {
                // It goes on refusing: nobody is left without an answer.
                self.failed = Some(cause.clone());
                self.supervisor.take_down(cause);
            }
        }
    }

    fn answer(&mut self, group: Vec<Letter<Request>>) -> Result<(), Down> {
        let mut lots = Vec::with_capacity(group.len());
        let mut waiting = Vec::with_capacity(group.len());
        // The room that a letter takes is given back when it is answered.
        let mut taken = Vec::with_capacity(group.len());
        // An owner who asks the node to stop has what waits logged; after any other cause nothing is.
        let cause = self.supervisor.cause().filter(|cause| !matches!(cause, Down::Stopped));
        let cause = self.failed.clone().or(cause);
        for Letter { content, sent, room } in group {
            taken.push(room);
            match (content, &cause) {
                (Request::Log(_, reply), Some(cause)) => {
                    // Nobody may be waiting any more; so below.
                    let _ = reply.send(Err(SubmitError::Down(cause.clone())));
                }
                (Request::Order(_, reply), Some(cause)) => {
                    let _ = reply.send(Err(SubmitError::Down(cause.clone())));
                }
                (Request::Log(events, reply), None) => {
                    lots.push(events);
                    waiting.push((Answers::Log(reply), sent));
                }
                (Request::Order(event, reply), None) => {
                    lots.push(vec![event]);
                    waiting.push((Answers::Order(reply), sent));
                }
                (Request::Mempool(after, limit, reply), _) => {
                    let mempool = &self.intake.backlog().mempool;
                    let _ = reply.send((mempool.len(), mempool.after(after).take(limit).collect()));
                }
                (Request::Waits(seq, reply), _) => {
                    let _ = reply.send(self.intake.backlog().mempool.contains(seq));
                }
            }
        }
        if lots.is_empty() { Ok(()) } else { self.log(lots, waiting) }
    }

    fn log(
        &mut self,
        lots: Vec<Vec<NewEvent>>,
        waiting: Vec<(Answers, Instant)>,
    ) -> Result<(), Down> {
        let kinds: Vec<Vec<Kind>> =
            lots.iter().map(|lot| lot.iter().map(NewEvent::kind).collect()).collect();
        let before = self.intake.backlog().txs;
        let clock = Instant::now();
        // CRASH: before this returns nobody was answered; after it all of what it logged is durable.
        let answers = match self.intake.append_lots(lots) {
            Ok(answers) => answers,
            Err(error) => return Err(fail(error, waiting)),
        };
        let took = clock.elapsed();
        let events = answers.iter().flatten().flatten().filter(|logged| logged.is_new).count();
        if events > 0 {
            self.metrics.appended(took, events);
        }
        let backlog = self.intake.backlog();
        let txs = backlog.txs.saturating_sub(before);
        self.count(&kinds, &answers, txs);
        let height = backlog.last_ordered.unwrap_or_default();
        for ((reply, sent), answer) in waiting.into_iter().zip(answers) {
            if answer.is_ok() {
                self.metrics.acknowledged(sent.elapsed());
            }
            reply.send(answer, height, txs);
        }
        Ok(())
    }

    /// Brings the figures up to what was logged, and wakes whom it concerns.
    fn count(&self, kinds: &[Vec<Kind>], answers: &[Answer], ordered_txs: u64) {
        let mut of_kind = [0u64; 5];
        for (kinds, answer) in kinds.iter().zip(answers) {
            for (kind, logged) in kinds.iter().zip(answer.iter().flatten()) {
                if logged.is_new
                    && let Some(number) = of_kind.get_mut(usize::from(kind.code()))
                {
                    *number += 1;
                }
            }
        }
        let backlog = self.intake.backlog();
        let figures = self.gauge.read();
        for kind in [Kind::Patch, Kind::Tx, Kind::Order, Kind::Verdict] {
            let number = of_kind.get(usize::from(kind.code())).copied().unwrap_or(0);
            if number > 0 {
                self.metrics.events(kind, number);
            }
        }
        let ordered = of_kind.get(usize::from(Kind::Order.code())).copied().unwrap_or(0);
        self.gauge.log_head_seq.fetch_max(self.intake.head().seq, Ordering::Relaxed);
        self.gauge.mempool.store(backlog.mempool.len(), Ordering::Relaxed);
        if of_kind.get(usize::from(Kind::Verdict.code())).is_some_and(|settled| *settled > 0) {
            // What is held has changed.
            let _ = self.confirm.try_send((), 1);
        }
        if ordered > 0 {
            raise(&self.gauge.ordered_blocks, ordered);
            raise(&self.gauge.ordered_txs, ordered_txs);
            self.metrics.ordered(ordered);
            // A letter that waits already says the same.
            let _ = self.confirm.try_send((), 1);
        }
        if backlog.mempool.len() < figures.mempool {
            self.shrunk.notify_waiters();
        }
        if backlog.mempool.len() >= self.block_txs {
            let _ = self.sequence.try_send((), 1);
        }
    }
}

/// Who is to be answered.
enum Answers {
    Log(Reply<Vec<Logged>>),
    Order(Reply<Ordered>),
}

impl Answers {
    fn send(self, answer: Answer, height: Height, txs: u64) {
        let answer = answer.map_err(|error| SubmitError::Refused(Arc::new(error)));
        match self {
            Self::Log(reply) => drop(reply.send(answer)),
            Self::Order(reply) => {
                let ordered = answer.map(|logged| {
                    let seq = logged.first().map_or(Seq::FIRST, |logged| logged.seq);
                    Ordered { height, seq, txs }
                });
                drop(reply.send(ordered));
            }
        }
    }

    fn fail(self, error: SubmitError) {
        match self {
            Self::Log(reply) => drop(reply.send(Err(error))),
            Self::Order(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// Answers everybody after a failure of the store, and returns it as the cause for which the node goes down.
fn fail(error: StoreError, waiting: Vec<(Answers, Instant)>) -> Down {
    let is_unknown = matches!(error.problem, Problem::OutcomeUnknown(_));
    let down = Down::Store(error);
    for (reply, _) in waiting {
        let down = down.clone();
        reply.fail(if is_unknown {
            SubmitError::OutcomeUnknown(down)
        } else {
            SubmitError::Down(down)
        });
    }
    down
}

impl Request {
    fn events(&self) -> usize {
        match self {
            Self::Log(events, _) => events.len(),
            Self::Order(..) => 1,
            Self::Mempool(..) | Self::Waits(..) => 0,
        }
    }
}
