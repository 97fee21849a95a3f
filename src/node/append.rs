//! The appending actor: owns the intake, and joins what waits into one durable transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::codec::count;
use crate::event::Kind;
use crate::exec::{Answer, Intake, Logged, NewEvent};
use crate::node::figures::{Gauge, raise};
use crate::node::gather::Gathering;
use crate::node::mailbox::{ClosesOnDrop, Letter, Mailbox};
use crate::node::supervise::Supervisor;
use crate::node::{Down, SubmitError};
use crate::store::Problem;
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
    pub(super) gathering: Gathering,
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
            if let Some((expected, time)) = self.gathering.wait() {
                self.gathering.came(expected, mailbox.gather(expected, time));
            }
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
            let (lot, answers) = match content {
                Request::Log(events, reply) => (events, Answers::Log(reply)),
                Request::Order(event, reply) => (vec![event], Answers::Order(reply)),
                Request::Mempool(after, limit, reply) => {
                    let mempool = &self.intake.backlog().mempool;
                    let page = mempool.after(after).take(limit).collect();
                    // Nobody may be waiting any more; so below.
                    drop(reply.send((mempool.len(), page)));
                    continue;
                }
                Request::Waits(seq, reply) => {
                    let _ = reply.send(self.intake.backlog().mempool.contains(seq));
                    continue;
                }
            };
            if let Some(cause) = &cause {
                answers.refuse(SubmitError::Down(cause.clone()));
            } else {
                lots.push(lot);
                waiting.push((answers, sent));
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
        let (txs, mempool) = (self.intake.backlog().txs, self.intake.backlog().mempool.len());
        let clock = Instant::now();
        // CRASH: before this returns nobody was answered; after it all of what it logged is durable.
        let answers = match self.intake.append_lots(lots) {
            Ok(answers) => answers,
            Err(error) => {
                let is_unknown = matches!(error.problem, Problem::OutcomeUnknown(_));
                let down = Down::Store(error);
                let unlogged =
                    if is_unknown { SubmitError::OutcomeUnknown } else { SubmitError::Down };
                for (answers, _) in waiting {
                    answers.refuse(unlogged(down.clone()));
                }
                return Err(down);
            }
        };
        let took = clock.elapsed();
        self.gathering.wrote(waiting.len(), self.mailbox.len(), took);
        let ordered_txs = self.intake.backlog().txs.saturating_sub(txs);
        self.count(took, &kinds, &answers, ordered_txs, mempool);
        let height = self.intake.backlog().last_ordered.unwrap_or_default();
        for ((reply, sent), answer) in waiting.into_iter().zip(answers) {
            if answer.is_ok() {
                self.metrics.acknowledged(sent.elapsed());
            }
            let answer = answer.map_err(|error| SubmitError::Refused(Arc::new(error)));
            reply.send(answer, height, ordered_txs);
        }
        Ok(())
    }

    /// Brings the figures up to what was logged, and wakes whom it concerns; `mempool` waited before.
    fn count(
        &self,
        took: Duration,
        kinds: &[Vec<Kind>],
        answers: &[Answer],
        ordered_txs: u64,
        mempool: u64,
    ) {
        let lots = kinds
            .iter()
            .zip(answers)
            .filter_map(|(kinds, answer)| Some((kinds, answer.as_ref().ok()?)));
        let new: Vec<Kind> = lots
            .flat_map(|(kinds, logged)| kinds.iter().zip(logged))
            .filter_map(|(kind, logged)| logged.is_new.then_some(*kind))
            .collect();
        if new.is_empty() {
            return;
        }
        self.metrics.appended(took, new.len());
        let waiting = self.intake.backlog().mempool.len();
        self.gauge.log_head_seq.fetch_max(self.intake.head().seq, Ordering::Relaxed);
        // Before anybody is woken: what is confirmed is never shown as waiting.
        self.gauge.mempool.store(waiting, Ordering::Relaxed);
        for kind in [Kind::Patch, Kind::Tx, Kind::Order, Kind::Verdict] {
            let number = count(new.iter().filter(|found| **found == kind).count());
            if number == 0 {
                continue;
            }
            self.metrics.events(kind, number);
            if kind == Kind::Order {
                raise(&self.gauge.ordered_blocks, number);
                raise(&self.gauge.ordered_txs, ordered_txs);
                self.metrics.ordered(number);
            }
            if matches!(kind, Kind::Order | Kind::Verdict) {
                // There is a block to confirm, or what is held has changed. A letter that waits already says the same.
                let _ = self.confirm.try_send((), 1);
            }
        }
        if waiting < mempool {
            self.shrunk.notify_waiters();
        }
        if waiting >= self.block_txs {
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
    /// Answers; an order is told its block, which it ended its group with.
    fn send(self, answer: Result<Vec<Logged>, SubmitError>, height: Height, txs: u64) {
        // Nobody may be waiting any more.
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

    fn refuse(self, error: SubmitError) {
        self.send(Err(error), Height::GENESIS, 0);
    }
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
