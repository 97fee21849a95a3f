//! Rows of the block table and their bodies.

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::block::{BlockRow, Counts, OrderRef, Receipts};
use crate::codec::{CodecError, Reader, Writer};
use crate::event::{decode_seqs, encode_seqs};
use crate::state::ChangeSet;
use crate::store::{Packed, tag};
use crate::types::{Bytes, Digest, Height, Seq, UnixMillis};

/// The large parts of a block, as canonical bytes; the largest of them compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBody {
    /// Positions of the transactions.
    pub txs: Vec<u8>,
    /// Receipts.
    pub receipts: Packed,
    /// Change set.
    pub changes: Packed,
    /// Which transactions read what earlier ones wrote, where that was recorded. It speeds up another execution and
    /// changes no result, so that nothing vouches for it.
    pub dependencies: Option<Vec<u8>>,
}

impl BlockBody {
    /// Returns the canonical bytes of a block's transactions.
    #[must_use]
    pub fn encode_txs(txs: &[Seq]) -> Vec<u8> {
        let mut writer = Writer::default();
        encode_seqs(&mut writer, txs);
        writer.finish()
    }

    /// Reads the positions of the transactions.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that are never written.
    pub fn tx_seqs(&self) -> Result<Vec<Seq>, CodecError> {
        Self::decode_txs(&self.txs)
    }

    /// Reads what [`BlockBody::encode_txs`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that are never written.
    pub(crate) fn decode_txs(bytes: &[u8]) -> Result<Vec<Seq>, CodecError> {
        let mut reader = Reader::new(bytes);
        let txs = decode_seqs(&mut reader)?;
        reader.finish()?;
        Ok(txs)
    }

    /// Returns the canonical bytes of the receipts, which their digest is over.
    ///
    /// # Errors
    /// [`CodecError::Frame`] where they are compressed and cannot be unpacked.
    pub fn receipts_bytes(&self) -> Result<Cow<'_, [u8]>, CodecError> {
        self.receipts.open("receipts")
    }

    /// Returns the canonical bytes of the change set, which its digest is over.
    ///
    /// # Errors
    /// As [`BlockBody::receipts_bytes`].
    pub fn changes_bytes(&self) -> Result<Cow<'_, [u8]>, CodecError> {
        self.changes.open("change set")
    }

    /// Reads the receipts.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that are never written.
    pub fn receipts(&self) -> Result<Receipts, CodecError> {
        Receipts::decode(&self.receipts_bytes()?)
    }

    /// Reads the change set.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that are never written.
    pub fn changes(&self) -> Result<ChangeSet, CodecError> {
        ChangeSet::decode(&self.changes_bytes()?)
    }
}

/// A block to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockWrite {
    /// Its row.
    pub row: BlockRow,
    /// Its large parts.
    pub body: BlockBody,
}

/// A transaction that a verdict kept out of a block that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineWrite {
    /// Position of the transaction.
    pub tx: Seq,
    /// The block.
    pub height: Height,
    /// Position of the verdict.
    pub verdict: Seq,
}

const COLUMNS: &str = "height, order_seq, order_chain, parent, header, txs, applied, rejected, \
     quarantined, receipts_digest, changes_digest, digest, committed, state_digest, tag";

/// Which of several rows to find.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Find {
    /// The row with the greatest height.
    Last,
    /// The first row at or above a height.
    AtOrAbove(Height),
    /// The last row at or below a height.
    AtOrBelow(Height),
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// What it says.
    pub row: BlockRow,
    /// The digest that stands beside it.
    pub digest: Digest,
    /// Whether its tag vouches for that digest and for what the digest leaves out.
    pub tag_holds: bool,
}

pub(crate) fn find(sql: &Connection, which: Find) -> rusqlite::Result<Option<StoredRow>> {
    let (tail, height) = match which {
        Find::Last => ("WHERE height >= ?1 ORDER BY height DESC", 0),
        // No row has such a number, and none could be asked for.
        Find::AtOrAbove(height) if height > Height::MAX => return Ok(None),
        Find::AtOrAbove(height) => ("WHERE height >= ?1 ORDER BY height", height.get()),
        Find::AtOrBelow(height) => {
            ("WHERE height <= ?1 ORDER BY height DESC", height.min(Height::MAX).get())
        }
    };
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM block {tail} LIMIT 1"))?
        .query_row([height], read_row)
        .optional()
        .map(Option::flatten)
}

/// `None` where the position of the order is no position.
fn read_row(row: &Row<'_>) -> rusqlite::Result<Option<StoredRow>> {
    let Some(seq) = Seq::new(row.get(1)?) else { return Ok(None) };
    let digest = |column| row.get(column).map(Digest);
    let block = BlockRow {
        order: OrderRef { height: Height(row.get(0)?), seq, chain: digest(2)? },
        parent: digest(3)?,
        header: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        counts: Counts {
            txs: row.get(5)?,
            applied: row.get(6)?,
            rejected: row.get(7)?,
            quarantined: row.get(8)?,
        },
        receipts_digest: digest(9)?,
        changes_digest: digest(10)?,
        committed: UnixMillis(row.get(12)?),
        state_digest: row.get::<_, Option<[u8; 32]>>(13)?.map(Digest),
    };
    let digest = digest(11)?;
    let tag_holds = row.get::<_, i64>(14)? == tag::of_row(&block, &digest);
    Ok(Some(StoredRow { row: block, digest, tag_holds }))
}

pub(crate) fn read_body(sql: &Connection, height: Height) -> rusqlite::Result<Option<BlockBody>> {
    sql.prepare_cached(
        "SELECT txs, receipts, receipts_length, changes, changes_length, dependencies FROM block_body
         WHERE height = ?1",
    )?
    .query_row([height.get()], |row| {
        let (receipts, changes) =
            (Packed::kept(row.get(1)?, row.get(2)?), Packed::kept(row.get(3)?, row.get(4)?));
        Ok(BlockBody { txs: row.get(0)?, receipts, changes, dependencies: row.get(5)? })
    })
    .optional()
}

pub(crate) fn insert(sql: &Connection, block: &BlockWrite) -> rusqlite::Result<()> {
    let BlockWrite { row, body } = block;
    let digest = row.digest();
    sql.prepare_cached(&format!(
        "INSERT INTO block ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
    ))?
    .execute(params![
        row.order.height.get(),
        row.order.seq.get(),
        row.order.chain.0,
        row.parent.0,
        &*row.header,
        row.counts.txs,
        row.counts.applied,
        row.counts.rejected,
        row.counts.quarantined,
        row.receipts_digest.0,
        row.changes_digest.0,
        digest.0,
        row.committed.0,
        row.state_digest.map(|digest| digest.0),
        tag::of_row(row, &digest),
    ])?;
    if planted!("bodies_in_a_transaction_of_their_own") {
        sql.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
    }
    sql.prepare_cached(
        "INSERT INTO block_body
         (height, txs, receipts, receipts_length, changes, changes_length, dependencies)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        row.order.height.get(),
        body.txs,
        body.receipts.bytes(),
        body.receipts.length(),
        body.changes.bytes(),
        body.changes.length(),
        body.dependencies
    ])
    .map(drop)
}

/// Notes the digest of the whole state after a block that was just written.
pub(crate) fn set_state_digest(
    sql: &Connection,
    row: &BlockRow,
    digest: Digest,
) -> rusqlite::Result<()> {
    let row = BlockRow { state_digest: Some(digest), ..row.clone() };
    let tag = tag::of_row(&row, &row.digest());
    sql.prepare_cached("UPDATE block SET state_digest = ?2, tag = ?3 WHERE height = ?1")?
        .execute(params![row.order.height.get(), digest.0, tag])
        .map(drop)
}
