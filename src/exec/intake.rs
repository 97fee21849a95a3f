//! The intake: what arrives becomes events. The only way by which a log grows, besides the verdicts of recovery.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::diff::{Backlog, OrderError};
use crate::event::{EventBody, Kind, Order, Patch, Ruling, Tx, Verdict};
use crate::exec::fold::fold_from;
use crate::exec::{Clock, Examined, Settlement};
use crate::store::{Log, LogHead, Store, StoreError, StoredEvent};
use crate::types::{Bytes, Height, Seq, TxId};

/// Largest payload of a transaction, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Something that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewEvent {
    /// A state change that no transaction causes.
    Patch(Patch),
    /// A transaction.
    Tx {
        /// Its identity.
        id: TxId,
        /// Its bytes, in the machine's own format.
        payload: Bytes,
    },
    /// A block that consensus fixed.
    Order {
        /// Its number.
        height: Height,
        /// The machine's own header bytes.
        header: Bytes,
        /// Its transactions in execution order; each was received before, or earlier in the same call.
        txs: Vec<TxId>,
    },
    /// The block after the last one that was ordered.
    Next {
        /// The machine's own header bytes.
        header: Bytes,
        /// Its transactions.
        txs: NextTxs,
    },
    /// An operator's decision about a quarantined transaction.
    Settle {
        /// Position of the transaction.
        tx: Seq,
        /// What was decided.
        settlement: Settlement,
    },
}

impl NewEvent {
    /// Returns the kind of the event that it becomes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Patch(_) => Kind::Patch,
            Self::Tx { .. } => Kind::Tx,
            Self::Order { .. } | Self::Next { .. } => Kind::Order,
            Self::Settle { .. } => Kind::Verdict,
        }
    }
}

/// The transactions of the next block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextTxs {
    /// These, in execution order.
    Named(Vec<TxId>),
    /// Those that wait, in the order of arrival: at least one, at most so many.
    Waiting {
        /// How many.
        txs_max: usize,
    },
}

/// What became of something that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its position in the log.
    pub seq: Seq,
    /// Whether it is new; a transaction that was received before keeps its first position.
    pub is_new: bool,
}

/// Why nothing of a call was logged.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The log cannot be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An order names a transaction that was never received.
    #[error("order of block {} names transaction {id}, which was never received", height.get())]
    UnknownTx {
        /// Number of the block.
        height: Height,
        /// The identity that was looked for.
        id: TxId,
    },
    /// An order contradicts what came before it.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A transaction that is to be settled is not held by a verdict: it would be executed twice, or lost.
    #[error("transaction at {} is not in quarantine", tx.get())]
    NotHeld {
        /// Position of the transaction.
        tx: Seq,
    },
    /// The next block was to hold what waits, and nothing does.
    #[error("no transaction waits for a block")]
    NothingWaits,
    /// A transaction bears the identity of another one.
    #[error("transaction {id} was received at {} with other bytes", seq.get())]
    PayloadDiffers {
        /// The identity.
        id: TxId,
        /// Position of the one that was received first.
        seq: Seq,
    },
    /// A payload is too large.
    #[error("transaction {id} has {bytes} bytes, more than {PAYLOAD_BYTES_MAX}")]
    PayloadTooLarge {
        /// The transaction.
        id: TxId,
        /// Its size.
        bytes: usize,
    },
}

/// Appends to the log of an open node.
pub struct Intake {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    backlog: Backlog,
    /// How far the backlog was folded.
    head: LogHead,
}

impl Intake {
    /// Opens the intake of a node that was examined.
    #[must_use]
    pub fn new(node: &Examined, clock: Arc<dyn Clock>) -> Self {
        let (store, backlog) = (Arc::clone(&node.store), node.backlog.clone());
        Self { store, clock, backlog, head: node.log_head }
    }

    /// Returns what the log holds beyond the checkpoint at which the node was examined.
    #[must_use]
    pub const fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Returns how far the log went when something was last logged here.
    #[must_use]
    pub const fn head(&self) -> LogHead {
        self.head
    }

    /// Finds the position of a transaction that was received before.
    ///
    /// # Errors
    /// [`StoreError`] where the log cannot be read.
    pub fn find(&self, id: &TxId) -> Result<Option<Seq>, StoreError> {
        self.store.log().find_tx(id)
    }

    /// Logs what arrived, all of it or nothing, durable when this returns.
    ///
    /// # Errors
    /// [`IntakeError`]; the log is as it was, unless the problem is that the outcome of a commit is unknown.
    pub fn append(&mut self, events: Vec<NewEvent>) -> Result<Vec<Logged>, IntakeError> {
        self.append_lots(vec![events])?.pop().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Logs what arrived in lots, in one durable transaction: each lot whole, or not at all where it is refused.
    ///
    /// A lot sees those before it.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of any lot is logged, unless the problem is that the outcome of a commit is
    /// unknown. An answer among the results is never [`IntakeError::Store`].
    pub fn append_lots(&mut self, lots: Vec<Vec<NewEvent>>) -> Result<Vec<Answer>, StoreError> {
        let mut log = self.store.log();
        // What is found in the log is acknowledged as well, so it must not only be what the kernel shows.
        log.arm()?;
        if log.head() != self.head {
            // A recovery or another intake has logged since.
            (_, self.head) = fold_from(|| &*log, self.head, &mut self.backlog)?;
        }
        let saved = self.backlog.marks();
        let mut staging = Staging {
            store: &self.store,
            head: log.head(),
            log: &mut log,
            backlog: &mut self.backlog,
            staged: Vec::new(),
            ids: HashMap::default(),
        };
        let answers: Result<Vec<_>, _> = lots
            .into_iter()
            .map(|lot| match staging.stage_lot(lot) {
                Err(IntakeError::Store(error)) => Err(error),
                answer => Ok(answer),
            })
            .collect();
        let appended = answers.and_then(|answers| {
            if !staging.staged.is_empty() {
                self.head = staging.log.append(self.clock.now(), &staging.staged)?.head;
            }
            Ok(answers)
        });
        if appended.is_err() {
            staging.undo_to(0);
            self.backlog.restore(&saved);
        }
        appended
    }
}

/// What became of a lot.
pub type Answer = Result<Vec<Logged>, IntakeError>;

/// Events that are checked and folded, and not logged yet.
struct Staging<'a> {
    store: &'a Store,
    log: &'a mut Log,
    backlog: &'a mut Backlog,
    head: LogHead,
    staged: Vec<EventBody>,
    ids: HashMap<TxId, Seq, RandomState>,
}

impl Staging<'_> {
    /// Stages a lot, or leaves everything as it was before.
    fn stage_lot(&mut self, lot: Vec<NewEvent>) -> Answer {
        let (before, saved) = (self.staged.len(), self.backlog.marks());
        let staged = lot.into_iter().map(|event| self.stage(event)).collect();
        if Answer::is_err(&staged) {
            self.undo_to(before);
            self.backlog.restore(&saved);
        }
        staged
    }

    fn stage(&mut self, event: NewEvent) -> Result<Logged, IntakeError> {
        let body = match event {
            // Whoever made it need not have sorted it, and bytes out of order could never be read back.
            NewEvent::Patch(Patch { label, replaces_state, entries }) => {
                EventBody::Patch(Patch::new(label, replaces_state, entries))
            }
            NewEvent::Settle { tx, settlement } => {
                let is_held = match self.backlog.verdicts.last_on(tx) {
                    Some(last) => matches!(last, Ruling::Quarantine { .. }),
                    None => self.is_held(tx)?,
                };
                if !is_held {
                    return Err(IntakeError::NotHeld { tx });
                }
                EventBody::Verdict(Verdict { tx, ruling: settlement.into() })
            }
            NewEvent::Tx { id, payload } => {
                if payload.len() > PAYLOAD_BYTES_MAX {
                    return Err(IntakeError::PayloadTooLarge { id, bytes: payload.len() });
                }
                if let Some((seq, is_same)) = self.known(&id, &payload)? {
                    // An identity that anybody may choose must not answer for bytes that were never logged.
                    let known = Logged { seq, is_new: false };
                    return is_same.then_some(known).ok_or(IntakeError::PayloadDiffers { id, seq });
                }
                self.ids.insert(id, self.next());
                EventBody::Tx(Tx { id, payload })
            }
            NewEvent::Order { height, header, txs: ids } => {
                let mut txs = Vec::with_capacity(ids.len());
                for id in ids {
                    let seq = self.find(&id)?;
                    txs.push(seq.ok_or(IntakeError::UnknownTx { height, id })?);
                }
                EventBody::Order(Order { height, header, txs })
            }
            NewEvent::Next { header, txs } => {
                let last = self.backlog.last_ordered;
                let height = last.map_or(Height::GENESIS, |last| Height(last.0.saturating_add(1)));
                match txs {
                    NextTxs::Named(txs) => {
                        return self.stage(NewEvent::Order { height, header, txs });
                    }
                    NextTxs::Waiting { txs_max } => {
                        let txs: Vec<_> = self.backlog.mempool.iter().take(txs_max).collect();
                        if txs.is_empty() {
                            return Err(IntakeError::NothingWaits);
                        }
                        EventBody::Order(Order { height, header, txs })
                    }
                }
            }
        };
        let seq = self.next();
        self.backlog.fold(seq, &body)?;
        self.staged.push(body);
        Ok(Logged { seq, is_new: true })
    }

    fn find(&mut self, id: &TxId) -> Result<Option<Seq>, StoreError> {
        match self.ids.get(id) {
            Some(seq) => Ok(Some(*seq)),
            None => self.log.find_tx(id),
        }
    }

    /// Returns the position of a transaction, logged or staged, and whether it has this payload.
    fn known(&mut self, id: &TxId, payload: &[u8]) -> Result<Option<(Seq, bool)>, StoreError> {
        if let Some(seq) = self.ids.get(id) {
            let staged = seq.get().checked_sub(self.head.next().get());
            let staged = staged.and_then(|at| self.staged.get(usize::try_from(at).ok()?));
            let is_same = matches!(staged, Some(EventBody::Tx(tx)) if *tx.payload == *payload);
            return Ok(Some((*seq, is_same)));
        }
        // The body of a transaction is its identity and its payload.
        let body = |event: &StoredEvent| event.body.get(size_of::<TxId>()..) == Some(payload);
        Ok(self.log.find_event(id)?.map(|event| (event.seq, body(&event))))
    }

    /// Says whether a verdict before the backlog holds a transaction.
    fn is_held(&self, tx: Seq) -> Result<bool, StoreError> {
        Ok(self.store.main().held()?.iter().any(|row| row.entry.tx == tx))
    }

    fn next(&self) -> Seq {
        let staged = crate::codec::count(self.staged.len());
        LogHead { seq: self.head.seq.saturating_add(staged), ..self.head }.next()
    }

    /// Takes back what was folded beyond a number of events, the last one first.
    fn undo_to(&mut self, length: usize) {
        while self.staged.len() > length
            && let Some(event) = self.staged.pop()
        {
            let seq = self.next();
            self.backlog.unfold(seq, &event);
            if let EventBody::Tx(tx) = event {
                self.ids.remove(&tx.id);
            }
        }
    }
}
