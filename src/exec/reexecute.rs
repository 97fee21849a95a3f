//! The second execution: blocks of a rehearsal are executed once more and compared.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::block::OrderRef;
use crate::exec::above::AboveCheckpoint;
use crate::exec::ahead::Ahead;
use crate::exec::commit::CommitError;
use crate::exec::sealed::{Effects, SealedBlock};
use crate::exec::{BlockReader, Dependencies, Executor, PendingBlock, RehearsedBlock, Watch};
use crate::state::ChangeSet;
use crate::store::StoreError;
use crate::types::{Height, TxId, encode_hex};

/// Executes the blocks of a rehearsal once more on the state of the checkpoint.
pub(crate) struct Reexecution {
    executor: Executor,
    blocks: Ahead,
    state: AboveCheckpoint,
}

impl Reexecution {
    /// Starts at the checkpoint, whose next blocks `reader` gives; it works on a thread of its own or not.
    ///
    /// INVARIANT: that thread may read of main.db, and have the state keep, what a batch has written that is not committed.
    /// Nothing is executed meanwhile, all that the batch wrote is put into the state again once it is committed, and a batch that
    /// fails ends the recovery.
    pub(crate) fn new(
        executor: Executor,
        reader: BlockReader,
        state: AboveCheckpoint,
        works_apart: bool,
    ) -> Self {
        let blocks = Ahead::of(reader, &executor, &state, works_apart);
        Self { executor, blocks, state }
    }

    /// Returns the watch over the step that is being executed.
    pub(crate) const fn watch(&self) -> &Arc<Watch> {
        self.executor.watch()
    }

    /// Takes note that every block that was executed is committed.
    pub(crate) fn committed(&mut self) -> Result<(), StoreError> {
        self.state.hand_out();
        self.state.committed()
    }

    /// Executes the next block and compares what it gives with its rehearsal.
    pub(crate) fn repeat(&mut self, sealed: &SealedBlock) -> Result<(), CommitError> {
        let OrderRef { height, seq, .. } = sealed.order;
        let pending = self.blocks.next_block()?.filter(|pending| pending.order.seq == seq);
        let Some(mut pending) = pending else {
            return Err(Box::new(Difference {
                height,
                what: "the order".to_owned(),
                tx: None,
                key: None,
                expected: format!("event {}", seq.get()),
                found: "another event of the log".to_owned(),
            })
            .into());
        };
        if !sealed.quarantined.is_empty() {
            obey(&mut pending, &self.opened(sealed)?);
        }
        let PendingBlock { input, rulings, .. } = &pending;
        let dependencies = sealed.body.dependencies.as_ref();
        let known = dependencies.and_then(|bytes| Dependencies::decode(bytes).ok());
        let executed = self.executor.execute_known(input, rulings, &self.state, known.as_ref())?;
        self.state.apply(&executed.changes)?;
        let ids: Vec<_> = pending.input.txs.iter().map(|tx| tx.id).collect();
        let again = RehearsedBlock::new(pending, executed);
        let is_same = sealed.effects == Effects::of_block(&again);
        if is_same || planted!("second_execution_not_compared") {
            return Ok(());
        }
        match difference(&self.opened(sealed)?, &again, &ids) {
            Some(difference) => Err(Box::new(difference).into()),
            None => Ok(()),
        }
    }

    fn opened(&self, block: &SealedBlock) -> Result<RehearsedBlock, StoreError> {
        block.open().map_err(|error| self.state.codec(block.order.height, error))
    }
}

/// Keeps the transactions out that a rehearsal kept out: verdicts that it had logged itself came after the reader of
/// the second execution was made.
fn obey(pending: &mut PendingBlock, rehearsed: &RehearsedBlock) {
    for entry in &rehearsed.quarantined {
        let at = rehearsed.txs.iter().position(|tx| *tx == entry.tx);
        let receipt = at.and_then(|at| rehearsed.receipts.0.get(at));
        if let Some(crate::block::Status::Quarantined(reason)) = receipt.map(|r| &r.status) {
            pending.rulings.insert(entry.tx, reason.clone());
        }
    }
}

/// Finds the first receipt, or else the first change, in which two executions of a block differ.
pub(crate) fn difference(
    first: &RehearsedBlock,
    second: &RehearsedBlock,
    ids: &[TxId],
) -> Option<Difference> {
    let height = first.order.height;
    let tx = |index: usize| u32::try_from(index).ok().zip(ids.get(index).copied());
    let receipts = first.receipts.0.iter().zip(&second.receipts.0).enumerate();
    if let Some((index, (expected, found))) = receipts.into_iter().find(|(_, (a, b))| a != b) {
        return Some(Difference {
            height,
            what: "the receipt".to_owned(),
            tx: tx(index),
            key: None,
            expected: format!("{:?} {}", expected.status, encode_hex(&expected.output)),
            found: format!("{:?} {}", found.status, encode_hex(&found.output)),
        });
    }
    let key = first.changes.first_difference(&second.changes)?;
    let writer = second.writer_of(key).or_else(|| first.writer_of(key));
    let value = |set: &ChangeSet| match set.find(key) {
        None => "no change".to_owned(),
        Some(change) => {
            change.after.as_ref().map_or_else(|| "deleted".to_owned(), |value| encode_hex(value))
        }
    };
    Some(Difference {
        height,
        what: "a change".to_owned(),
        tx: match writer {
            Some(crate::state::Writer::Tx(index)) => {
                tx(usize::try_from(index).unwrap_or(usize::MAX))
            }
            _ => None,
        },
        key: Some(encode_hex(key)),
        expected: value(&first.changes),
        found: value(&second.changes),
    })
}

/// Two executions of one block gave different results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("block {}: {what} differs between two executions{}{}: {expected} against {found}", height.get(), tx_text(*.tx), key_text(.key.as_ref()))]
pub struct Difference {
    /// The block.
    pub height: Height,
    /// What differs.
    pub what: String,
    /// Index and identity of the transaction, where one is known.
    pub tx: Option<(u32, TxId)>,
    /// The key, in hexadecimal, where a change differs.
    pub key: Option<String>,
    /// What the first execution gave.
    pub expected: String,
    /// What the second gave.
    pub found: String,
}

fn tx_text(tx: Option<(u32, TxId)>) -> String {
    tx.map_or(String::new(), |(index, id)| format!(" in transaction {index} ({id})"))
}

fn key_text(key: Option<&String>) -> String {
    key.map_or(String::new(), |key| format!(" at key {key}"))
}
