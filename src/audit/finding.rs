//! A finding: one place where what is stored is not what it must be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{Digest, Height, Seq, TxId, encode_hex};

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An event does not follow from the event before it.
    ChainLink,
    /// Events are missing or cannot be read.
    EventLost,
    /// The bytes of an event are not canonical.
    EventBytes,
    /// The transaction index does not hold what the log does.
    TxIndex,
    /// An order contradicts the log before it.
    OrderRule,
    /// The witness and the log disagree.
    Witness,
    /// A block row cannot be read.
    RowLost,
    /// The log orders a block that the block table lacks, although it has later ones.
    BlockMissing,
    /// A block row names an order that the log does not have.
    OrderMissing,
    /// A block row does not match its own digest.
    RowDigest,
    /// A block row does not follow from the row before it.
    ParentLink,
    /// A block row names another order event than the log has for it: position, height or chain digest.
    OrderLink,
    /// The header of a block row is not the one that was ordered.
    Header,
    /// The stored transaction list is not the one that was ordered.
    TxList,
    /// The counts of a block row are not those of its receipts.
    Counts,
    /// The large parts of a block are missing, or cannot be read.
    Body,
    /// Stored receipts do not match the digest beside them.
    ReceiptsDigest,
    /// A stored change set does not match the digest beside it.
    ChangesDigest,
    /// A receipt is not what execution gives.
    Receipt,
    /// The change of a key is not what execution gives.
    Change,
    /// A block could not be executed again.
    Execution,
    /// A block did something else than its header says.
    HeaderCheck,
    /// The digest of the whole state after a block is another.
    StateDigest,
    /// A key of the state table is not what history gives.
    StateEntry,
    /// The state table, scanned as a whole, does not match the accumulated digest beside it.
    StateLanes,
    /// A table cannot be read to its end.
    Table,
    /// Pages or indexes of a database are damaged, whether or not a table shows it.
    Structure,
    /// The confirmed mempool is not what the log gives.
    Mempool,
    /// A row about a quarantined transaction is not what the log's verdicts give.
    Quarantine,
}

/// A transaction of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxPlace {
    /// Its index in the block.
    pub index: u32,
    /// Its identity.
    pub id: TxId,
}

/// One place where what is stored is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub what: What,
    /// The block, where one is concerned.
    pub height: Option<Height>,
    /// The event, where one is concerned.
    pub seq: Option<Seq>,
    /// The transaction that is to blame, where one is known.
    pub tx: Option<TxPlace>,
    /// The key in hexadecimal, where one is concerned.
    pub key: Option<String>,
    /// What had to be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// How many more findings of this kind the same block has, that are not named one by one.
    pub more: u64,
}

impl Finding {
    /// Makes a finding without a place.
    #[must_use]
    pub fn new(what: What, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self { what, height: None, seq: None, tx: None, key: None, expected, found, more: 0 }
    }

    /// Makes a finding about two digests.
    #[must_use]
    pub fn digests(what: What, expected: Digest, found: Digest) -> Self {
        Self::new(what, expected.to_string(), found.to_string())
    }

    /// Names the block.
    #[must_use]
    pub const fn at_block(mut self, height: Height) -> Self {
        self.height = Some(height);
        self
    }

    /// Names the event.
    #[must_use]
    pub const fn at_event(mut self, seq: Seq) -> Self {
        self.seq = Some(seq);
        self
    }

    /// Names the transaction, where one is known.
    #[must_use]
    pub const fn in_tx(mut self, tx: Option<TxPlace>) -> Self {
        self.tx = tx;
        self
    }

    /// Names the key.
    #[must_use]
    pub fn at_key(mut self, key: &[u8]) -> Self {
        self.key = Some(encode_hex(key));
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(height) = self.height {
            write!(f, "block {}, ", height.get())?;
        }
        if let Some(seq) = self.seq {
            write!(f, "event {}, ", seq.get())?;
        }
        if let Some(TxPlace { index, id }) = self.tx {
            write!(f, "transaction {index} ({id}), ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "key {key}, ")?;
        }
        write!(f, "{}: expected {}, found {}", self.what, self.expected, self.found)?;
        match self.more {
            0 => Ok(()),
            more => write!(f, " (and {more} more of this kind in the block)"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChainLink => "chain link",
            Self::EventLost => "lost events",
            Self::EventBytes => "event bytes",
            Self::TxIndex => "transaction index",
            Self::OrderRule => "order",
            Self::Witness => "witness",
            Self::RowLost => "lost block rows",
            Self::BlockMissing => "missing block row",
            Self::OrderMissing => "block without an order",
            Self::RowDigest => "block digest",
            Self::ParentLink => "parent link",
            Self::OrderLink => "link to the log",
            Self::Header => "header",
            Self::TxList => "transaction list",
            Self::Counts => "counts",
            Self::Body => "block body",
            Self::ReceiptsDigest => "receipts digest",
            Self::ChangesDigest => "change set digest",
            Self::Receipt => "receipt",
            Self::Change => "change",
            Self::Execution => "execution",
            Self::HeaderCheck => "header check",
            Self::StateDigest => "state digest",
            Self::StateEntry => "state entry",
            Self::StateLanes => "state table digest",
            Self::Table => "unreadable table",
            Self::Structure => "structure of a database",
            Self::Mempool => "mempool",
            Self::Quarantine => "quarantine",
        })
    }
}

/// How many findings are kept; all are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Collects findings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) kept: Vec<Finding>,
    pub(crate) count: u64,
}

impl Findings {
    /// Adds one.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.count = self.count.saturating_add(1).saturating_add(finding.more);
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
        }
    }

    /// Adds several.
    pub(crate) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }

    /// Adds what was collected elsewhere.
    pub(crate) fn join(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        let room = FINDINGS_MAX.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_kept_up_to_a_limit_in_order_and_all_are_counted() {
        let of = |what, count: usize| {
            let mut findings = Findings::default();
            findings.extend((0..count).map(|_| Finding::new(what, "", "")));
            findings
        };
        for (first, second) in [(0, 3), (3, 0), (600, 400), (600, 401), (1_000, 5), (1_200, 2_000)]
        {
            let mut findings = of(What::StateEntry, first);
            findings.join(of(What::Table, second));
            let all = std::iter::repeat_n(What::StateEntry, first);
            let all = all.chain(std::iter::repeat_n(What::Table, second)).take(FINDINGS_MAX);
            let kept = findings.kept.iter().map(|finding| finding.what);
            assert!(kept.eq(all), "{first} and {second}");
            assert_eq!(findings.count, (first + second) as u64);
        }
        let mut findings = of(What::Change, 1);
        findings.join(Findings {
            kept: vec![Finding { more: 7, ..Finding::new(What::Change, "", "") }],
            count: 8,
        });
        assert_eq!((findings.count, findings.kept.len()), (9, 2));
    }
}
