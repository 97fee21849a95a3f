//! A rehearsed block: what was executed with all that it gave.

use crate::block::{OrderRef, Receipts, Status};
use crate::codec::CodecError;
use crate::exec::sealed::SealedBlock;
use crate::exec::{Dependencies, Executed, PendingBlock};
use crate::state::{self, ChangeSet};
use crate::store::QuarantineWrite;
use crate::types::{Bytes, Seq};

/// What the rehearsal of one block gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RehearsedBlock {
    /// Where its order stands.
    pub order: OrderRef,
    /// The machine's own header bytes.
    pub header: Bytes,
    /// Positions of its transactions.
    pub txs: Vec<Seq>,
    /// The receipts.
    pub receipts: Receipts,
    /// The net changes.
    pub changes: ChangeSet,
    /// The step that wrote each change last.
    pub writers: Vec<state::Writer>,
    /// Transactions that joined the mempool since the order before.
    pub received: Vec<Seq>,
    /// Quarantined transactions that were settled since the order before, with the verdict.
    pub settled: Vec<(Seq, Seq)>,
    /// Transactions that verdicts kept out.
    pub quarantined: Vec<QuarantineWrite>,
    /// Which transactions read what others wrote, where that was looked at.
    pub dependencies: Option<Dependencies>,
}

impl RehearsedBlock {
    /// Joins what was to be executed with what it gave.
    #[must_use]
    pub fn new(block: PendingBlock, executed: Executed) -> Self {
        Self {
            txs: block.input.txs.iter().map(|tx| tx.seq).collect(),
            order: block.order,
            header: block.input.header,
            receipts: executed.receipts,
            changes: executed.changes,
            writers: executed.writers,
            received: block.received,
            settled: block.settled,
            quarantined: block.quarantined,
            dependencies: executed.dependencies,
        }
    }

    /// Returns the step that wrote a key last, where it was changed.
    #[must_use]
    pub fn writer_of(&self, key: &[u8]) -> Option<state::Writer> {
        self.writers.get(self.changes.position(key)?).copied()
    }

    /// Returns about how many bytes of memory it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let reason = |status: &Status| match status {
            Status::Applied => 0,
            Status::Rejected(reason) | Status::Quarantined(reason) => reason.len(),
        };
        let receipts = self.receipts.0.iter();
        let receipts =
            receipts.map(|one| size_of_val(one) + one.output.memory() + reason(&one.status));
        let dependencies = self.dependencies.as_ref().map_or(0, Dependencies::memory);
        let pairs = 2 * self.settled.len() + 3 * self.quarantined.len();
        let seqs = 2 * self.txs.len() + self.received.len() + pairs;
        let rest = self.header.len() + 8 * (self.writers.len() + seqs) + 256;
        self.changes.memory() + receipts.sum::<usize>() + rest + dependencies
    }

    /// Returns the bytes of the block as the sandbox database keeps it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        SealedBlock::of(self).encode()
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`RehearsedBlock::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        SealedBlock::decode(bytes)?.open()
    }
}
