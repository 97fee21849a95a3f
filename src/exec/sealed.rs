//! A rehearsed block as it waits for its commit: bytes, the larger parts compressed, and what the commit asks of them.

use std::collections::HashSet;

use crate::block::{Counts, OrderRef};
use crate::codec::{CodecError, Reader, Writer, count};
use crate::event::{decode_seqs, encode_seqs};
use crate::exec::{Dependencies, RehearsedBlock};
use crate::state;
use crate::store::{BlockBody, Packed, QuarantineWrite};
use crate::types::{Bytes, Digest, Height, Seq};

/// All that the commit of one block needs, in a small part of the memory that its changes take as values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedBlock {
    pub(crate) order: OrderRef,
    pub(crate) header: Bytes,
    pub(crate) counts: Counts,
    pub(crate) body: BlockBody,
    pub(crate) effects: Effects,
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
    pub(crate) fn of(block: &RehearsedBlock) -> Self {
        let (receipts, changes) = (block.receipts.encode(), block.changes.encode());
        let effects = Effects::of(&receipts, &changes);
        let body = BlockBody {
            txs: BlockBody::encode_txs(&block.txs),
            receipts: Packed::of(receipts),
            changes: Packed::of(changes),
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
            effects,
            body,
            joins,
            leaves,
            writers: encode_writers(&block.writers),
            received: BlockBody::encode_txs(&block.received),
            order: block.order.clone(),
            header: block.header.clone(),
            settled: block.settled.clone(),
            quarantined: block.quarantined.clone(),
        }
    }

    /// Returns about how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        let Self { body, joins, leaves, settled, quarantined, writers, received, .. } = self;
        let parts = [&body.txs, writers, received].map(Vec::capacity);
        let bytes = parts.iter().sum::<usize>() + body.receipts.memory() + body.changes.memory();
        let seqs = joins.len() + leaves.len() + 2 * settled.len() + 3 * quarantined.len();
        let dependencies = body.dependencies.as_ref().map_or(0, Vec::capacity);
        size_of::<Self>() + self.header.memory() + bytes + 8 * seqs + dependencies
    }

    /// Returns about how many bytes it would take if nothing of it were compressed, as where it has to be opened for its
    /// commit.
    pub(crate) fn opened_memory(&self) -> u64 {
        let parts = [&self.body.receipts, &self.body.changes];
        let saved = |part: &Packed| part.opened_len().saturating_sub(count(part.bytes().len()));
        count(self.memory()).saturating_add(parts.into_iter().map(saved).sum())
    }

    /// Returns the bytes of the whole block, for the sandbox database.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { order, counts, effects, body, .. } = self;
        let mut writer = Writer::with_capacity(self.memory());
        writer.u64(order.height.get()).u64(order.seq.get()).raw(&order.chain.0);
        writer.bytes(&self.header);
        for number in [counts.txs, counts.applied, counts.rejected, counts.quarantined] {
            writer.varint(number);
        }
        writer.raw(&effects.receipts.0).raw(&effects.changes.0).bytes(&body.txs);
        body.receipts.encode(&mut writer);
        body.changes.encode(&mut writer);
        writer.optional(body.dependencies.as_deref());
        writer.bytes(&self.writers).bytes(&self.received);
        encode_seqs(&mut writer, &self.joins);
        encode_seqs(&mut writer, &self.leaves);
        writer.varint(count(self.settled.len()));
        for (tx, verdict) in &self.settled {
            writer.u64(tx.get()).u64(verdict.get());
        }
        writer.varint(count(self.quarantined.len()));
        for entry in &self.quarantined {
            writer.u64(entry.tx.get()).u64(entry.verdict.get());
        }
        writer.finish()
    }

    /// Reads what [`SealedBlock::encode`] wrote; what is in its parts is not looked at.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let height = Height(reader.u64("height")?);
        let seq = read_seq(&mut reader)?;
        let order = OrderRef { height, seq, chain: reader.digest("chain")? };
        let header = reader.bytes("header")?.into();
        let counts = Counts {
            txs: reader.varint("transactions")?,
            applied: reader.varint("applied")?,
            rejected: reader.varint("rejected")?,
            quarantined: reader.varint("quarantined")?,
        };
        let effects = Effects {
            receipts: reader.digest("receipts digest")?,
            changes: reader.digest("changes digest")?,
        };
        let body = BlockBody {
            txs: reader.bytes("transactions")?.to_vec(),
            receipts: Packed::decode(&mut reader, "receipts")?,
            changes: Packed::decode(&mut reader, "change set")?,
            dependencies: reader.optional("dependencies")?.map(|bytes| bytes.to_vec()),
        };
        let (writers, received) =
            (reader.bytes("writers")?.to_vec(), reader.bytes("received")?.to_vec());
        let (joins, leaves) = (decode_seqs(&mut reader)?, decode_seqs(&mut reader)?);
        let pair = |reader: &mut Reader<'_>| Ok((read_seq(reader)?, read_seq(reader)?));
        let length = reader.count("settled count")?;
        let settled = (0..length).map(|_| pair(&mut reader)).collect::<Result<_, CodecError>>()?;
        let length = reader.count("quarantined count")?;
        let quarantined = (0..length)
            .map(|_| pair(&mut reader).map(|(tx, verdict)| QuarantineWrite { tx, height, verdict }))
            .collect::<Result<_, CodecError>>()?;
        reader.finish()?;
        Ok(Self {
            order,
            header,
            counts,
            body,
            effects,
            joins,
            leaves,
            settled,
            quarantined,
            writers,
            received,
        })
    }

    /// Returns the block that was sealed.
    pub(crate) fn open(&self) -> Result<RehearsedBlock, CodecError> {
        let changes = self.body.changes()?;
        Ok(RehearsedBlock {
            order: self.order.clone(),
            header: self.header.clone(),
            txs: self.body.tx_seqs()?,
            receipts: self.body.receipts()?,
            writers: decode_writers(&self.writers, changes.changes().len())?,
            changes,
            received: BlockBody::decode_txs(&self.received)?,
            settled: self.settled.clone(),
            quarantined: self.quarantined.clone(),
            dependencies: self
                .body
                .dependencies
                .as_deref()
                .map(Dependencies::decode)
                .transpose()?,
        })
    }
}

/// Digests of what a block gave: two executions with the same digests had the same receipts and changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) receipts: Digest,
    pub(crate) changes: Digest,
}

impl Effects {
    /// Computes them of canonical bytes.
    fn of(receipts: &[u8], changes: &[u8]) -> Self {
        Self { receipts: Digest::of(receipts), changes: Digest::of(changes) }
    }

    /// Computes those of a block that is not sealed.
    pub(crate) fn of_block(block: &RehearsedBlock) -> Self {
        Self::of(&block.receipts.encode(), &block.changes.encode())
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

fn decode_writers(bytes: &[u8], length: usize) -> Result<Vec<state::Writer>, CodecError> {
    let mut reader = Reader::new(bytes);
    let writers = (0..length).map(|_| read_writer(&mut reader)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(writers)
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

fn read_seq(reader: &mut Reader<'_>) -> Result<Seq, CodecError> {
    let number = reader.u64("seq")?;
    Seq::new(number).ok_or_else(|| reader.invalid("seq", number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::net::tests::block;

    #[test]
    fn a_block_counts_as_much_as_it_takes_once_it_is_opened() {
        let empty = block(&[], &[], None, None);
        assert!(empty.opened_memory() >= count(size_of::<SealedBlock>()), "it takes room itself");
        assert_eq!(empty.opened_memory(), count(empty.memory()));
        let value = [7; 10_000];
        let large = block(&[], &[], None, Some(&value));
        assert!(large.memory() < 2_000 && large.opened_memory() > 10_000, "{}", large.memory());
        let received: Vec<u64> = (1..=1_000).collect();
        assert!(block(&received, &[], None, None).opened_memory() > 8_000, "so does what joins");
    }

    #[test]
    fn a_sealed_block_is_read_as_it_was_written() {
        for after in [None, Some([7; 10_000].as_slice())] {
            let sealed = block(&[5, 6], &[3, 5], Some(b"1"), after);
            assert_eq!(SealedBlock::decode(&sealed.encode()).as_ref(), Ok(&sealed));
        }
    }
}
