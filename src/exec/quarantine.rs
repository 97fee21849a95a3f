//! The quarantine: transactions that verdicts keep out, until an operator releases or discards them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{EventBody, Ruling, Tx, Verdict};
use crate::exec::{Clock, Examined, Intake, IntakeError, Logged, NewEvent};
use crate::store::StoreError;
use crate::types::{Bytes, Height, Seq, TxId, UnixMillis};

/// A transaction that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its position in the log.
    pub seq: Seq,
    /// Its identity.
    pub id: TxId,
    /// Its bytes.
    pub payload: Bytes,
    /// When it was logged, where the log knows.
    pub created: Option<UnixMillis>,
    /// The block that it was ordered in; `None` while that block is not confirmed.
    pub height: Option<Height>,
    /// Position of the verdict that keeps it out.
    pub verdict: Seq,
    /// Why it is kept out.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// What an operator decides about a held transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It returns to the mempool and may be ordered again.
    Release,
    /// It stays out for good.
    Discard,
}

impl From<Settlement> for Ruling {
    fn from(settlement: Settlement) -> Self {
        match settlement {
            Settlement::Release => Self::Release,
            Settlement::Discard => Self::Discard,
        }
    }
}

/// Why a transaction was not settled.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// Nothing keeps it out.
    #[error("the transaction at event {} is not held in quarantine", .0.get())]
    NotHeld(Seq),
    /// No transaction of the log has the identity.
    #[error("no transaction of the log is {0}")]
    Unknown(TxId),
    /// The verdict could not be logged.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The transactions of a node that are held.
pub struct Quarantine<'a> {
    node: &'a Examined,
    /// Position of each → its block, where that is confirmed, and its verdict.
    held: BTreeMap<Seq, (Option<Height>, Seq)>,
}

impl<'a> Quarantine<'a> {
    /// Finds what is held: by confirmed blocks and by later verdicts, less what was settled since.
    ///
    /// # Errors
    /// [`StoreError`] where the block table cannot be read.
    pub fn of(node: &'a Examined) -> Result<Self, StoreError> {
        let rows = node.store.main().held()?;
        // A later row replaces an earlier one of the same transaction: rows ascend by height.
        let mut held: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| (row.entry.tx, (Some(row.entry.height), row.entry.verdict)))
            .collect();
        for (tx, verdict, ruling) in node.backlog.verdicts.last() {
            match ruling {
                Ruling::Quarantine { .. } => {
                    let confirmed = held.get(&tx).filter(|(_, known)| *known == verdict);
                    held.insert(tx, (confirmed.and_then(|(height, _)| *height), verdict));
                }
                Ruling::Release | Ruling::Discard => drop(held.remove(&tx)),
            }
        }
        Ok(Self { node, held })
    }

    /// Returns the number of held transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Says whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Returns the held transactions in the order of their positions.
    ///
    /// # Errors
    /// As [`Quarantine::find`], at the first that cannot be read.
    pub fn iter(&self) -> impl Iterator<Item = Result<Held, QuarantineError>> {
        self.held.keys().map(|tx| self.find(*tx))
    }

    /// Returns a held transaction with the verdict that keeps it out.
    ///
    /// # Errors
    /// [`QuarantineError::NotHeld`]; [`QuarantineError::Store`] where the log cannot be read.
    pub fn find(&self, tx: Seq) -> Result<Held, QuarantineError> {
        let (height, verdict) = *self.held.get(&tx).ok_or(QuarantineError::NotHeld(tx))?;
        let log = self.node.store.log();
        let event = log.linked(tx)?;
        let body = event.decode().map_err(|error| log.codec(tx, error))?;
        let ruling = log.body(verdict)?;
        let EventBody::Tx(Tx { id, payload }) = body else {
            return Err(QuarantineError::NotHeld(tx));
        };
        let EventBody::Verdict(Verdict { ruling: Ruling::Quarantine { reason, attempts }, .. }) =
            ruling
        else {
            return Err(QuarantineError::NotHeld(tx));
        };
        let created = event.created;
        Ok(Held { seq: tx, id, payload, created, height, verdict, reason, attempts })
    }

    /// Finds the position of a transaction, held or not.
    ///
    /// # Errors
    /// [`QuarantineError::Unknown`]; [`QuarantineError::Store`] where the log cannot be read.
    pub fn position(&self, id: &TxId) -> Result<Seq, QuarantineError> {
        let found = self.node.store.log().find_tx(id)?;
        found.ok_or(QuarantineError::Unknown(*id))
    }

    /// Logs an operator's decision, durable when this returns.
    ///
    /// # Errors
    /// [`QuarantineError::NotHeld`], and then nothing is logged; [`QuarantineError::Intake`] where logging fails.
    pub fn settle(
        &mut self,
        tx: Seq,
        settlement: Settlement,
        clock: Arc<dyn Clock>,
    ) -> Result<Logged, QuarantineError> {
        if !self.held.contains_key(&tx) {
            return Err(QuarantineError::NotHeld(tx));
        }
        let mut intake = Intake::new(self.node, clock);
        let logged = intake.append(vec![NewEvent::Settle { tx, settlement }])?;
        self.held.remove(&tx);
        logged.first().copied().ok_or(QuarantineError::NotHeld(tx))
    }
}
