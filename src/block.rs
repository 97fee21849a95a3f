//! Blocks: what was decided about an order, and the canonical bytes of receipts and block rows.

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, Reader, Writer, count};
use crate::types::{Bytes, Digest, Height, Seq, UnixMillis};

/// The result of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What became of it.
    pub status: Status,
    /// The machine's own result bytes; for the EVM the gas used and the logs.
    pub output: Bytes,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "reason")]
pub enum Status {
    /// Its effects are in the state.
    Applied,
    /// The machine refused it; it left no effects beyond those that the machine's rules charge.
    Rejected(String),
    /// It was not executed, by a logged verdict.
    Quarantined(String),
}

impl Receipt {
    /// Makes the receipt of an applied transaction.
    #[must_use]
    pub fn applied(output: impl Into<Bytes>) -> Self {
        Self { status: Status::Applied, output: output.into() }
    }

    /// Makes the receipt of a refused transaction.
    #[must_use]
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self { status: Status::Rejected(reason.into()), output: Bytes::default() }
    }

    /// Makes the receipt of a transaction that a verdict keeps out.
    #[must_use]
    pub fn quarantined(reason: impl Into<String>) -> Self {
        Self { status: Status::Quarantined(reason.into()), output: Bytes::default() }
    }
}

/// The receipts of a block in execution order, with their canonical bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts(pub Vec<Receipt>);

/// How many transactions of a block ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Transactions in the block.
    pub txs: u64,
    /// Those applied.
    pub applied: u64,
    /// Those refused by the machine.
    pub rejected: u64,
    /// Those kept out by a verdict.
    pub quarantined: u64,
}

impl Counts {
    /// Adds another block's counts.
    pub const fn add(&mut self, other: Self) {
        self.txs = self.txs.saturating_add(other.txs);
        self.applied = self.applied.saturating_add(other.applied);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.quarantined = self.quarantined.saturating_add(other.quarantined);
    }
}

impl Receipts {
    /// Counts the receipts by status.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { txs: count(self.0.len()), ..Counts::default() };
        for receipt in &self.0 {
            match receipt.status {
                Status::Applied => counts.applied += 1,
                Status::Rejected(_) => counts.rejected += 1,
                Status::Quarantined(_) => counts.quarantined += 1,
            }
        }
        counts
    }

    /// Returns the canonical bytes: the count, then `status u8 · reason (unless applied) · output` of each.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.0.len().saturating_mul(4).saturating_add(8));
        writer.varint(count(self.0.len()));
        for receipt in &self.0 {
            match &receipt.status {
                Status::Applied => writer.u8(0),
                Status::Rejected(reason) => writer.u8(1).bytes(reason.as_bytes()),
                Status::Quarantined(reason) => writer.u8(2).bytes(reason.as_bytes()),
            };
            writer.bytes(&receipt.output);
        }
        writer.finish()
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`Receipts::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let length = reader.count("receipt count")?;
        let receipts = (0..length)
            .map(|_| {
                let status = match reader.u8("status")? {
                    0 => Status::Applied,
                    1 => Status::Rejected(reader.text("reason")?),
                    2 => Status::Quarantined(reader.text("reason")?),
                    found => return Err(reader.invalid("status", found.into())),
                };
                Ok(Receipt { status, output: reader.bytes("output")?.into() })
            })
            .collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self(receipts))
    }
}

/// Where the order of a block stands in the log, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRef {
    /// Number of the block.
    pub height: Height,
    /// Position of its `Order` event.
    pub seq: Seq,
    /// Chain digest of its `Order` event.
    pub chain: Digest,
}

/// One confirmed block, as its row in the block table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRow {
    /// Number, and the place of its order in the log.
    pub order: OrderRef,
    /// Digest of the block before it in the table; [`Digest::ZERO`] for the first.
    pub parent: Digest,
    /// The machine's own header bytes.
    pub header: Bytes,
    /// How its transactions ended.
    pub counts: Counts,
    /// Digest of the canonical receipts.
    pub receipts_digest: Digest,
    /// Digest of the canonical change set.
    pub changes_digest: Digest,
    /// When the row was written.
    pub committed: UnixMillis,
    /// Digest of the whole state after the block; on the last block of each batch, where its commit sets it.
    pub state_digest: Option<Digest>,
}

impl BlockRow {
    /// Returns the block's own digest. It covers what the block is, and neither when nor in which batch it was written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut writer = Writer::with_capacity(256);
        writer.raw(b"rewake block 1").raw(&self.parent.0).u64(self.order.height.get());
        writer.u64(self.order.seq.get()).raw(&self.order.chain.0).bytes(&self.header);
        writer.u64(self.counts.txs).u64(self.counts.applied);
        writer.u64(self.counts.rejected).u64(self.counts.quarantined);
        writer.raw(&self.receipts_digest.0).raw(&self.changes_digest.0);
        if planted!("block_digest_over_the_clock") {
            writer.u64(self.committed.0);
        }
        Digest::of(&writer.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_read_as_they_were_written() {
        let receipts = Receipts(vec![
            Receipt::applied(*b"out"),
            Receipt::rejected("overdraft"),
            Receipt::quarantined("panicked"),
        ]);
        let bytes = receipts.encode();
        assert_eq!(Receipts::decode(&bytes), Ok(receipts.clone()));
        let counts = receipts.counts();
        assert_eq!((counts.txs, counts.applied, counts.rejected, counts.quarantined), (3, 1, 1, 1));
        let foreign = Receipts::decode(&[1, 9, 0]);
        assert!(matches!(foreign, Err(CodecError::Invalid { field: "status", .. })), "{foreign:?}");
    }

    #[test]
    fn counts_are_added_field_by_field() {
        let mut sum = Counts { txs: 1, applied: 2, rejected: 3, quarantined: 4 };
        sum.add(Counts { txs: 10, applied: 20, rejected: 30, quarantined: 40 });
        assert_eq!(sum, Counts { txs: 11, applied: 22, rejected: 33, quarantined: 44 });
    }

    #[test]
    fn the_digest_of_a_block_covers_what_it_is_and_not_when_it_was_written() {
        let row = BlockRow {
            order: OrderRef { height: Height(9), seq: Seq::FIRST, chain: Digest([1; 32]) },
            parent: Digest([2; 32]),
            header: Bytes::from(*b"head"),
            counts: Counts { txs: 3, applied: 1, rejected: 1, quarantined: 1 },
            receipts_digest: Digest([3; 32]),
            changes_digest: Digest([4; 32]),
            committed: UnixMillis(5),
            state_digest: None,
        };
        let order = |order| BlockRow { order, ..row.clone() };
        let counts = |counts| BlockRow { counts, ..row.clone() };
        let others = [
            order(OrderRef { height: Height(8), ..row.order.clone() }),
            order(OrderRef { seq: Seq::FIRST.next(), ..row.order.clone() }),
            order(OrderRef { chain: Digest([9; 32]), ..row.order.clone() }),
            BlockRow { parent: Digest([9; 32]), ..row.clone() },
            BlockRow { header: Bytes::from(*b"tail"), ..row.clone() },
            counts(Counts { txs: 4, ..row.counts }),
            counts(Counts { applied: 2, ..row.counts }),
            counts(Counts { rejected: 2, ..row.counts }),
            counts(Counts { quarantined: 2, ..row.counts }),
            BlockRow { receipts_digest: Digest([9; 32]), ..row.clone() },
            BlockRow { changes_digest: Digest([9; 32]), ..row.clone() },
        ];
        for other in others {
            assert_ne!(other.digest(), row.digest(), "{other:?}");
        }
        let committed = UnixMillis(6);
        let same = BlockRow { committed, state_digest: Some(Digest::ZERO), ..row.clone() };
        assert_eq!(same.digest(), row.digest());
    }
}
