//! A batch: what is committed together, written in stretches so that nobody waits for all of it.

use rusqlite::Connection;

use crate::fail_point::Point;
use crate::state::{Change, ChangeSet, StateDigest};
use crate::store::blocks::{self, BlockWrite, QuarantineWrite};
use crate::store::connection::pass;
use crate::store::{entries, quarantine, waiting};
use crate::types::Seq;

/// Blocks with their net effects: one transaction, one checkpoint.
#[derive(Debug, Default)]
pub struct Batch {
    /// The blocks, ascending.
    pub blocks: Vec<BlockWrite>,
    /// What they change in the state together.
    pub net: ChangeSet,
    /// Transactions that join the confirmed mempool.
    pub received: Vec<Seq>,
    /// Transactions that leave it.
    pub ordered: Vec<Seq>,
    /// Transactions that verdicts kept out.
    pub quarantined: Vec<QuarantineWrite>,
    /// Quarantined transactions that were released or discarded, with the position of that verdict.
    pub settled: Vec<(Seq, Seq)>,
    /// Version of the machine that executed the blocks.
    pub machine_version: u32,
}

/// Blocks of one stretch. They are what takes longest, some 20 to 100 KiB each.
const BLOCKS: usize = 8;
/// Rows of one stretch that are small.
const ROWS: usize = 1_024;

/// Rows that are written while nobody reads: a few milliseconds.
pub(super) enum Stretch<'a> {
    Blocks(&'a [BlockWrite]),
    State(&'a [Change]),
    Ordered(&'a [Seq]),
    Received(&'a [Seq]),
    Quarantine(&'a Batch),
    /// Nothing more of a kind.
    Passed(Point),
}

impl Batch {
    /// Parts the rows into stretches, in the order in which they are written.
    pub(super) fn stretches(&self) -> impl Iterator<Item = Stretch<'_>> {
        let blocks = self.blocks.chunks(BLOCKS).map(Stretch::Blocks);
        let blocks = blocks.chain([Stretch::Passed(Point::CommitRows)]);
        let state = self.net.changes().chunks(ROWS).map(Stretch::State);
        let state = state.chain([Stretch::Passed(Point::CommitState)]);
        let ordered = self.ordered.chunks(ROWS).map(Stretch::Ordered);
        let received = self.received.chunks(ROWS).map(Stretch::Received);
        blocks.chain(state).chain(ordered).chain(received).chain([Stretch::Quarantine(self)])
    }

    /// Writes what stands for the whole batch.
    pub(super) fn finish(&self, sql: &Connection, lanes: &StateDigest) -> rusqlite::Result<()> {
        if let Some(last) = self.blocks.last() {
            blocks::set_state_digest(sql, &last.row, lanes.digest())?;
        }
        sql.prepare_cached("UPDATE main SET lanes = ?1, machine_version = ?2")?
            .execute(rusqlite::params![lanes.to_bytes(), self.machine_version])?;
        pass(Point::CommitStaged)
    }
}

impl Stretch<'_> {
    pub(super) fn write(&self, sql: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::Blocks(rows) => rows.iter().try_for_each(|block| blocks::insert(sql, block)),
            Self::State(changes) => entries::write(sql, changes),
            Self::Ordered(seqs) => waiting::write(sql, seqs, &[]),
            Self::Received(seqs) => waiting::write(sql, &[], seqs),
            Self::Quarantine(batch) => quarantine::write(sql, &batch.quarantined, &batch.settled),
            Self::Passed(point) => {
                pass(*point)?;
                if *point == Point::CommitRows
                    && planted!("block_rows_in_a_transaction_of_their_own")
                {
                    sql.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
                }
                Ok(())
            }
        }
    }
}
