//! A rehearsed block: what was executed with all that it gave.

use crate::block::{OrderRef, Receipts, Status};
use crate::codec::{CodecError, Reader};
use crate::event::decode_seqs;
use crate::exec::sealed::SealedBlock;
use crate::exec::{Dependencies, Executed, PendingBlock};
use crate::state::{self, ChangeSet};
use crate::store::QuarantineWrite;
use crate::types::{Bytes, Height, Seq};

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
        let value = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::memory);
        let changes = self.changes.changes().iter();
        let changes = changes.map(|change| {
            size_of_val(change) + change.key.memory() + value(&change.before) + value(&change.after)
        });
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
        changes.sum::<usize>() + receipts.sum::<usize>() + rest + dependencies
    }

    /// Returns the canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        SealedBlock::of(self.clone()).encode()
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`RehearsedBlock::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let height = Height(reader.u64("height")?);
        let seq = read_seq(&mut reader)?;
        let order = OrderRef { height, seq, chain: reader.digest("chain")? };
        let header = reader.bytes("header")?.into();
        let txs = decode_seqs(&mut reader)?;
        let receipts = Receipts::decode(reader.bytes("receipts")?)?;
        let changes = ChangeSet::decode(reader.bytes("changes")?)?;
        let writers =
            changes.changes().iter().map(|_| read_writer(&mut reader)).collect::<Result<_, _>>()?;
        let received = decode_seqs(&mut reader)?;
        let pair = |reader: &mut Reader<'_>| Ok((read_seq(reader)?, read_seq(reader)?));
        let length = reader.count("settled count")?;
        let settled = (0..length).map(|_| pair(&mut reader)).collect::<Result<_, CodecError>>()?;
        let length = reader.count("quarantined count")?;
        let quarantined = (0..length)
            .map(|_| pair(&mut reader).map(|(tx, verdict)| QuarantineWrite { tx, height, verdict }))
            .collect::<Result<_, CodecError>>()?;
        let dependencies = reader.optional("dependencies")?;
        let dependencies = dependencies.map(|bytes| Dependencies::decode(&bytes)).transpose()?;
        reader.finish()?;
        Ok(Self {
            order,
            header,
            txs,
            receipts,
            changes,
            writers,
            received,
            settled,
            quarantined,
            dependencies,
        })
    }
}

fn read_seq(reader: &mut Reader<'_>) -> Result<Seq, CodecError> {
    let number = reader.u64("seq")?;
    Seq::new(number).ok_or_else(|| reader.invalid("seq", number))
}

fn read_writer(reader: &mut Reader<'_>) -> Result<state::Writer, CodecError> {
    Ok(match reader.varint("writer")? {
        0 => state::Writer::Patch,
        1 => state::Writer::Begin,
        2 => state::Writer::End,
        index => {
            let index = u32::try_from(index - 3);
            state::Writer::Tx(index.map_err(|_| reader.invalid("writer", u64::MAX))?)
        }
    })
}
