//! A rehearsed block as it waits for its commit: canonical bytes, and what the commit asks of them.

use std::collections::HashSet;

use crate::block::{Counts, OrderRef};
use crate::codec::{CodecError, Writer, count};
use crate::exec::{Dependencies, RehearsedBlock};
use crate::state;
use crate::store::{BlockBody, QuarantineWrite};
use crate::types::{Bytes, Digest, Seq};

/// All that the commit of one block needs, in less than half of the memory that its changes take as values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedBlock {
    pub(crate) order: OrderRef,
    pub(crate) header: Bytes,
    pub(crate) counts: Counts,
    pub(crate) body: BlockBody,
    pub(crate) receipts_digest: Digest,
    pub(crate) changes_digest: Digest,
    /// Transactions that join the confirmed mempool with it, and those that leave.
    pub(crate) joins: Vec<Seq>,
    pub(crate) leaves: Vec<Seq>,
    pub(crate) settled: Vec<(Seq, Seq)>,
    pub(crate) quarantined: Vec<QuarantineWrite>,
    /// The steps that wrote each change last, as bytes.
    writers: Vec<u8>,
    /// Positions of what was received, as bytes.
    received: Vec<u8>,
}

impl SealedBlock {
    /// Turns a rehearsed block into bytes.
    pub(crate) fn of(block: RehearsedBlock) -> Self {
        let body = BlockBody {
            txs: BlockBody::encode_txs(&block.txs),
            receipts: block.receipts.encode(),
            changes: block.changes.encode(),
            dependencies: block.dependencies.as_ref().map(Dependencies::encode),
        };
        // What was received and ordered by the same block was waiting neither before it nor after.
        let ordered: HashSet<Seq, foldhash::fast::RandomState> =
            block.txs.iter().copied().collect();
        let received: HashSet<Seq, foldhash::fast::RandomState> =
            block.received.iter().copied().collect();
        let joins = block.received.iter().filter(|seq| !ordered.contains(seq)).copied().collect();
        let leaves = block.txs.iter().filter(|seq| !received.contains(seq)).copied().collect();
        Self {
            counts: block.receipts.counts(),
            receipts_digest: Digest::of(&body.receipts),
            changes_digest: Digest::of(&body.changes),
            body,
            joins,
            leaves,
            writers: encode_writers(&block.writers),
            received: BlockBody::encode_txs(&block.received),
            order: block.order,
            header: block.header,
            settled: block.settled,
            quarantined: block.quarantined,
        }
    }

    /// Returns about how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        let Self { body, joins, leaves, settled, quarantined, writers, received, .. } = self;
        let parts = [&body.txs, &body.receipts, &body.changes, writers, received];
        let bytes: usize = parts.iter().map(|part| part.capacity()).sum();
        let seqs = joins.len() + leaves.len() + 2 * settled.len() + 3 * quarantined.len();
        let dependencies = body.dependencies.as_ref().map_or(0, Vec::capacity);
        size_of::<Self>() + self.header.memory() + bytes + 8 * seqs + dependencies
    }

    /// Returns the canonical bytes of the whole block, for the sandbox database.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { order, body, .. } = self;
        let mut writer = Writer::with_capacity(self.memory());
        writer.u64(order.height.get()).u64(order.seq.get()).raw(&order.chain.0);
        writer.bytes(&self.header).raw(&body.txs);
        writer.bytes(&body.receipts).bytes(&body.changes);
        writer.raw(&self.writers).raw(&self.received);
        writer.varint(count(self.settled.len()));
        for (tx, verdict) in &self.settled {
            writer.u64(tx.get()).u64(verdict.get());
        }
        writer.varint(count(self.quarantined.len()));
        for entry in &self.quarantined {
            writer.u64(entry.tx.get()).u64(entry.verdict.get());
        }
        writer.optional(body.dependencies.as_deref());
        writer.finish()
    }

    /// Returns the block that was sealed.
    pub(crate) fn open(&self) -> Result<RehearsedBlock, CodecError> {
        RehearsedBlock::decode(&self.encode())
    }

    /// Says whether another execution of the block had the same receipts and changes.
    pub(crate) fn has_effects_of(&self, other: &Self) -> bool {
        self.receipts_digest == other.receipts_digest && self.changes_digest == other.changes_digest
    }
}

fn encode_writers(writers: &[state::Writer]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(writers.len().saturating_mul(2));
    for step in writers {
        writer.varint(match step {
            state::Writer::Patch => 0,
            state::Writer::Begin => 1,
            state::Writer::End => 2,
            state::Writer::Tx(index) => u64::from(*index) + 3,
        });
    }
    writer.finish()
}
